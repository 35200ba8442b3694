#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/conformance/outbox_conformance.h"

// Webhooks: ModifyWebhook, DisableWebhook, LoadWebhooks, GetWebhook, ListWebhooks.

namespace postrider {
namespace {

// Every field that is not the outbox's own, each unlike its default.
Webhook Full(Webhook webhook = {}) {
  webhook.url = "https://receiver.test:8443/a?b=c";
  webhook.headers = {
      {"X-Team", "blue", false}, {"Authorization", "Bearer x", true}, {"E", "", false}};
  webhook.enabled = true;
  webhook.notification_types = {"B", "A"};
  webhook.retry_policy = {absl::Milliseconds(1500), 2.5, absl::Hours(1), absl::Hours(50), 7,
                          absl::Milliseconds(90500)};
  webhook.timeout = absl::Milliseconds(2500);
  webhook.max_concurrency = 3;
  webhook.rate_limit = {12.5, 4};
  webhook.order = DeliveryOrder::kOrdered;
  webhook.validation_state = ValidationState::kValid;
  webhook.disabled_reason = "because";
  webhook.secrets = {{std::string("\0raw\xff", 5)},
                     {"former", absl::FromUnixMicros(1706200000000001)}};
  webhook.failing_since = absl::FromUnixMicros(1706190000000001);
  return webhook;
}

void ExpectSame(const Webhook& a, const Webhook& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.tenant, b.tenant);
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.url, b.url);
  EXPECT_EQ(a.headers, b.headers);
  EXPECT_EQ(a.enabled, b.enabled);
  EXPECT_EQ(a.notification_types, b.notification_types);
  EXPECT_EQ(a.retry_policy, b.retry_policy);
  EXPECT_EQ(a.timeout, b.timeout);
  EXPECT_EQ(a.max_concurrency, b.max_concurrency);
  EXPECT_EQ(a.rate_limit, b.rate_limit);
  EXPECT_EQ(a.order, b.order);
  EXPECT_EQ(a.validation_state, b.validation_state);
  EXPECT_EQ(a.disabled_reason, b.disabled_reason);
  EXPECT_EQ(a.secrets, b.secrets);
  EXPECT_EQ(a.failing_since, b.failing_since);
  EXPECT_EQ(a.create_time, b.create_time);
  EXPECT_EQ(a.update_time, b.update_time);
  EXPECT_EQ(a.version, b.version);
}

TEST_P(OutboxConformanceTest, AWebhookIsKeptWhole) {
  const auto created = Modify("t1", "hook", [](std::optional<Webhook> old) {
    EXPECT_FALSE(old.has_value());
    return std::optional(Full());
  });
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_NE(created->id, WebhookId{});
  EXPECT_EQ(created->create_time, clock_.Now());
  EXPECT_EQ(created->update_time, clock_.Now());
  Webhook wanted = Full();
  wanted.id = created->id;
  wanted.tenant = "t1";
  wanted.name = "hook";
  wanted.create_time = wanted.update_time = clock_.Now();
  wanted.version = created->version;
  ExpectSame(*created, wanted);

  const auto events = listener_.Take();
  ASSERT_EQ(events.size(), 1u);
  ASSERT_TRUE(events[0].changed.has_value());
  ExpectSame(*events[0].changed, wanted);

  for (int round = 0; round < 2; ++round) {
    const auto read = GetWebhook("t1", "hook");
    ASSERT_TRUE(read.ok()) << read.status();
    ExpectSame(*read, wanted);
    const auto all = Load();
    ASSERT_EQ(all.size(), 1u);
    ExpectSame(all[0].webhook, wanted);
    EXPECT_FALSE(all[0].owed);
    const auto page = ListWebhooks("t1", "", 10);
    ASSERT_TRUE(page.ok());
    ASSERT_EQ(page->rows.size(), 1u);
    ExpectSame(page->rows[0], wanted);
    harness_->Reopen();
  }
}

TEST_P(OutboxConformanceTest, DefaultsAreKeptToo) {
  const auto created =
      Modify("default", "hook", [](std::optional<Webhook>) { return std::optional(Webhook{}); });
  ASSERT_TRUE(created.ok());
  harness_->Reopen();
  const auto read = GetWebhook("default", "hook");
  ASSERT_TRUE(read.ok());
  ExpectSame(*read, *created);
  EXPECT_EQ(read->failing_since, absl::InfiniteFuture());
  EXPECT_EQ(read->retry_policy, RetryPolicy{});
}

TEST_P(OutboxConformanceTest, AChangeKeepsTheIdAndRaisesTheVersion) {
  const auto created =
      Modify("default", "hook", [](std::optional<Webhook>) { return std::optional(Full()); });
  ASSERT_TRUE(created.ok());
  clock_.Advance(absl::Seconds(90));
  const auto changed = Modify("default", "hook", [&](std::optional<Webhook> old) {
    EXPECT_TRUE(old.has_value());
    if (old) ExpectSame(*old, *created);
    old->url = "http://elsewhere.test/";
    old->headers.clear();
    old->secrets.pop_back();
    old->failing_since = absl::InfiniteFuture();
    return old;
  });
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_GT(changed->version, created->version);
  Webhook wanted = *created;
  wanted.url = "http://elsewhere.test/";
  wanted.headers.clear();
  wanted.secrets.pop_back();
  wanted.failing_since = absl::InfiniteFuture();
  wanted.update_time = clock_.Now();
  wanted.version = changed->version;
  ExpectSame(*changed, wanted);
  harness_->Reopen();
  const auto read = GetWebhook("default", "hook");
  ASSERT_TRUE(read.ok());
  ExpectSame(*read, wanted);
}

TEST_P(OutboxConformanceTest, AnErrorOfModifyChangesNothing) {
  const Webhook webhook = Put("default", "hook");
  listener_.Take();
  const auto failed = Modify("default", "hook", [](std::optional<Webhook>) {
    return absl::AbortedError("the etag does not match");
  });
  EXPECT_EQ(failed.status(), absl::AbortedError("the etag does not match"));
  EXPECT_TRUE(listener_.Take().empty());
  const auto read = GetWebhook("default", "hook");
  ASSERT_TRUE(read.ok());
  ExpectSame(*read, webhook);
}

TEST_P(OutboxConformanceTest, ModifyRunsBetweenTwoWrites) {
  Put("default", "hook", [](Webhook& w) { w.max_concurrency = 1; });
  constexpr int kChanges = 50;
  std::atomic<int> answers{0};
  Await([&](std::function<void()> answered) {
    for (int i = 0; i < kChanges; ++i) {
      outbox().ModifyWebhook(
          "default", "hook",
          [](std::optional<Webhook> old) {
            ++old->max_concurrency;
            return old;
          },
          [&, answered](absl::StatusOr<Webhook> result) {
            EXPECT_TRUE(result.ok());
            if (++answers == kChanges) answered();
          });
    }
  });
  EXPECT_EQ(GetWebhook("default", "hook")->max_concurrency, 1 + kChanges);
}

TEST_P(OutboxConformanceTest, NamesAreTheTenantsOwn) {
  const Webhook a = Put("t1", "hook");
  const Webhook b = Put("t2", "hook");
  EXPECT_NE(a.id, b.id);
  ASSERT_TRUE(Delete("t1", "hook").ok());
  EXPECT_EQ(GetWebhook("t1", "hook").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(GetWebhook("t2", "hook").ok());
}

// ---- Deleting

TEST_P(OutboxConformanceTest, DeletingAnswersTheWebhookAsItWas) {
  const Webhook webhook = Put("default", "hook");
  listener_.Take();
  const auto gone = Delete("default", "hook");
  ASSERT_TRUE(gone.ok()) << gone.status();
  ExpectSame(*gone, webhook);
  const auto events = listener_.Take();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].deleted, webhook.id);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(GetWebhook("default", "hook").status().code(), absl::StatusCode::kNotFound);
    EXPECT_TRUE(Load().empty());
    EXPECT_TRUE(ListWebhooks("default", "", 10)->rows.empty());
    harness_->Reopen();
  }
  // The name is free again, the id is not.
  const Webhook next = Put("default", "hook");
  EXPECT_NE(next.id, webhook.id);
}

TEST_P(OutboxConformanceTest, DeletingCancelsWhatIsOwed) {
  const OwedDelivery owed = OweOne();
  const OwedDelivery delivered = [&] {
    PublishOne();
    return Owed(owed.webhook, owed.key()).rows.at(0);
  }();
  ASSERT_TRUE(Record({{Outcome(delivered, DeliveryState::kDelivered)}, {}}).ok());
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(Delete("default", "hook").ok());
  EXPECT_TRUE(Eventually([&] {
    return GetDelivery("default", owed.id)->delivery.state == DeliveryState::kCancelled;
  }));
  const auto read = GetDelivery("default", owed.id);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->delivery.end_time, clock_.Now());
  EXPECT_EQ(read->delivery.end_reason, EndReason::kChannelDeleted);
  EXPECT_EQ(read->delivery.webhook_name, "hook");
  EXPECT_EQ(GetDelivery("default", delivered.id)->delivery.state, DeliveryState::kDelivered);
  EXPECT_TRUE(Owed(owed.webhook).rows.empty());
  EXPECT_EQ(Retry("default", owed.id).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(OutboxConformanceTest, DeletingCancelsALongQueueAndTheNextWebhookOfTheNameIsApart) {
  const Webhook webhook = Put("default", "hook");
  std::vector<NewNotification> batch;
  for (int i = 0; i < 1500; ++i) {
    batch.push_back({"default", "T", std::make_shared<std::string>("{}"), ""});
  }
  Publish(std::move(batch));
  ASSERT_TRUE(Delete("default", "hook").ok());
  const Webhook next = Put("default", "hook");
  EXPECT_EQ(PublishOne().delivery_count, 1);
  EXPECT_TRUE(Eventually([&] {
    DeliveryFilter cancelled{
        .tenant = "default", .state = DeliveryState::kCancelled, .limit = 1000};
    return ListDeliveries(cancelled)->size() == 1500;
  }));
  EXPECT_EQ(Owed(next.id).rows.size(), 1u);
  DeliveryFilter by_name{
      .tenant = "default", .webhook_name = "hook", .state = DeliveryState::kPending, .limit = 1000};
  EXPECT_EQ(ListDeliveries(by_name)->size(), 1u);
}

TEST_P(OutboxConformanceTest, DeletionIsFinishedAfterReopening) {
  const OwedDelivery owed = OweOne();
  ASSERT_TRUE(Delete("default", "hook").ok());
  harness_->Reopen();
  EXPECT_TRUE(Eventually([&] {
    return GetDelivery("default", owed.id)->delivery.state == DeliveryState::kCancelled;
  }));
}

// ---- DisableWebhook

TEST_P(OutboxConformanceTest, DisablingKeepsWhatIsOwed) {
  const OwedDelivery owed = OweOne();
  const Webhook webhook = *GetWebhook("default", "hook");
  listener_.Take();
  ASSERT_TRUE(WaitStatus([&](auto done) {
                outbox().DisableWebhook(webhook.id, webhook.version, "410 Gone", std::move(done));
              }).ok());
  const auto events = listener_.Take();
  ASSERT_EQ(events.size(), 1u);
  ASSERT_TRUE(events[0].changed.has_value());
  EXPECT_FALSE(events[0].changed->enabled);
  EXPECT_EQ(events[0].changed->disabled_reason, "410 Gone");
  EXPECT_GT(events[0].changed->version, webhook.version);
  EXPECT_EQ(PublishOne().delivery_count, 0);
  for (int round = 0; round < 2; ++round) {
    const auto read = GetWebhook("default", "hook");
    EXPECT_FALSE(read->enabled);
    EXPECT_EQ(read->disabled_reason, "410 Gone");
    EXPECT_EQ(read->url, webhook.url);
    EXPECT_EQ(GetDelivery("default", owed.id)->delivery.state, DeliveryState::kPending);
    EXPECT_EQ(Owed(webhook.id).rows.size(), 1u);
    harness_->Reopen();
  }
  EXPECT_EQ(PublishOne().delivery_count, 0);
}

TEST_P(OutboxConformanceTest, DisablingLeavesAChangedWebhookAlone) {
  const Webhook webhook = Put("default", "hook");
  const Webhook changed = Put("default", "hook");
  listener_.Take();
  EXPECT_TRUE(WaitStatus([&](auto done) {
                outbox().DisableWebhook(webhook.id, webhook.version, "late", std::move(done));
              }).ok());
  EXPECT_TRUE(listener_.Take().empty());
  ExpectSame(*GetWebhook("default", "hook"), changed);
  ASSERT_TRUE(Delete("default", "hook").ok());
  listener_.Take();
  EXPECT_TRUE(WaitStatus([&](auto done) {
                outbox().DisableWebhook(changed.id, changed.version, "late", std::move(done));
              }).ok());
  EXPECT_TRUE(listener_.Take().empty());
}

// ---- Reads

TEST_P(OutboxConformanceTest, LoadTellsToWhomSomethingIsOwed) {
  const OwedDelivery owed = OweOne("busy");
  Put("default", "draft", [](Webhook& w) { w.enabled = false; });
  Put("t1", "idle");
  for (int round = 0; round < 2; ++round) {
    const auto all = Load();
    ASSERT_EQ(all.size(), 3u);
    for (const auto& starting : all) {
      EXPECT_EQ(starting.owed, starting.webhook.name == "busy") << starting.webhook.name;
    }
    harness_->Reopen();
  }
  ASSERT_TRUE(Record({{Outcome(owed, DeliveryState::kDelivered)}, {}}).ok());
  for (const auto& starting : Load()) EXPECT_FALSE(starting.owed);
}

TEST_P(OutboxConformanceTest, WebhooksAreListedByName) {
  for (const char* name : {"c", "a", "b.1", "b-1"}) Put("t1", name);
  Put("t2", "other");
  auto page = ListWebhooks("t1", "", 3);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->rows.size(), 3u);
  EXPECT_EQ(page->rows[0].name, "a");
  EXPECT_EQ(page->rows[1].name, "b-1");
  EXPECT_EQ(page->rows[2].name, "b.1");
  EXPECT_FALSE(page->next_after.empty());
  page = ListWebhooks("t1", page->next_after, 3);
  ASSERT_EQ(page->rows.size(), 1u);
  EXPECT_EQ(page->rows[0].name, "c");
  EXPECT_TRUE(page->next_after.empty());
  EXPECT_EQ(ListWebhooks("nobody", "", 3).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(ListWebhooks("default", "", 3)->rows.empty());
}

TEST_P(OutboxConformanceTest, AWebhookThatIsNotThere) {
  EXPECT_EQ(GetWebhook("default", "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetWebhook("nobody", "none").status().code(), absl::StatusCode::kNotFound);
}

TEST_P(OutboxConformanceTest, APageOfWebhooksIsBoundedByItsBytesToo) {
  constexpr int kWebhooks = 200;
  for (int i = 0; i < kWebhooks; ++i) {
    Put("default", absl::StrCat("hook", i), [](Webhook& webhook) {
      webhook.headers = {{"X-Large", std::string(16000, 'x'), false}};
    });
  }
  std::string after;
  int pages = 0;
  size_t webhooks = 0;
  do {
    const absl::StatusOr<WebhookPage> page = ListWebhooks("default", after, 1000);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->rows.size(), 140u);
    webhooks += page->rows.size();
    after = page->next_after;
    ++pages;
  } while (!after.empty());
  EXPECT_EQ(webhooks, size_t{kWebhooks});
  EXPECT_EQ(pages, 2);
}

}  // namespace
}  // namespace postrider
