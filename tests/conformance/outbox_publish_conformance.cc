#include <atomic>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/conformance/outbox_conformance.h"

// Publish: fan-out, tenants, idempotency keys.

namespace postrider {
namespace {

NewNotification New(std::string tenant, std::string type, std::string body, std::string key = "") {
  return {std::move(tenant), std::move(type), std::make_shared<std::string>(std::move(body)),
          std::move(key)};
}

TEST_P(OutboxConformanceTest, PublishOwesToEveryEnabledWebhookThatWantsTheType) {
  const Webhook all = Put("default", "all");
  const Webhook some = Put("default", "some", [](Webhook& w) {
    w.notification_types = {"A", "B"};
  });
  const Webhook other = Put("default", "other", [](Webhook& w) { w.notification_types = {"C"}; });
  const Webhook off = Put("default", "off", [](Webhook& w) { w.enabled = false; });
  const Webhook foreign = Put("foreign", "all");

  EXPECT_EQ(PublishOne("default", "A").delivery_count, 2);
  EXPECT_EQ(PublishOne("default", "D").delivery_count, 1);
  EXPECT_EQ(PublishOne("foreign", "A").delivery_count, 1);
  EXPECT_EQ(Owed(all.id).rows.size(), 2u);
  EXPECT_EQ(Owed(some.id).rows.size(), 1u);
  EXPECT_EQ(Owed(other.id).rows.size(), 0u);
  EXPECT_EQ(Owed(off.id).rows.size(), 0u);
  EXPECT_EQ(Owed(foreign.id).rows.size(), 1u);

  // The routing follows each change at once.
  Put("default", "off");
  Put("default", "all", [](Webhook& w) { w.notification_types = {"Z"}; });
  ASSERT_TRUE(Delete("default", "some").ok());
  EXPECT_EQ(PublishOne("default", "A").delivery_count, 1);
  EXPECT_EQ(Owed(off.id).rows.size(), 1u);
  EXPECT_EQ(Owed(all.id).rows.size(), 2u);
}

TEST_P(OutboxConformanceTest, RoutingIsTheSameAfterReopening) {
  Put("default", "all");
  Put("default", "some", [](Webhook& w) { w.notification_types = {"A"}; });
  Put("default", "off", [](Webhook& w) { w.enabled = false; });
  harness_->Reopen();
  EXPECT_EQ(PublishOne("default", "A").delivery_count, 2);
  EXPECT_EQ(PublishOne("default", "B").delivery_count, 1);
}

TEST_P(OutboxConformanceTest, PublishTellsTheListenerBeforeTheCaller) {
  const Webhook webhook = Put("default", "hook");
  listener_.Take();
  std::vector<OwedDelivery> heard;
  const auto results = Wait<std::vector<absl::StatusOr<Published>>>(
      [&](Outbox::Done<std::vector<absl::StatusOr<Published>>> done) {
        outbox().Publish({New("default", "T", "{\"a\":1}"), New("default", "T", "{\"b\":2}")},
                         [&, done = std::move(done)](auto r) mutable {
                           heard = listener_.TakeOwed();
                           std::move(done)(std::move(r));
                         });
      });
  ASSERT_TRUE(results.ok());
  ASSERT_EQ(heard.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE((*results)[i].ok());
    EXPECT_EQ(heard[i].notification, (*results)[i]->id);
    EXPECT_EQ(heard[i].webhook, webhook.id);
    EXPECT_EQ(heard[i].due, clock_.Now());
    EXPECT_EQ(heard[i].attempts, 0);
    EXPECT_EQ(heard[i].budget_attempts, 0);
    EXPECT_EQ(heard[i].budget_start, absl::InfiniteFuture());
  }
  EXPECT_EQ(*heard[0].body, "{\"a\":1}");
  EXPECT_EQ(*heard[1].body, "{\"b\":2}");

  // What was heard is what stands on disk.
  const OwedPage page = Owed(webhook.id);
  ASSERT_EQ(page.rows.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(page.rows[i].key(), heard[i].key());
    EXPECT_EQ(page.rows[i].notification, heard[i].notification);
    EXPECT_EQ(page.rows[i].budget_start, heard[i].budget_start);
    EXPECT_EQ(*page.rows[i].body, *heard[i].body);
  }
}

TEST_P(OutboxConformanceTest, DeliveriesOfANotificationShareItsBody) {
  Put("default", "a");
  Put("default", "b");
  listener_.Take();
  PublishOne();
  const auto heard = listener_.TakeOwed();
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[0].body.get(), heard[1].body.get());
}

TEST_P(OutboxConformanceTest, BodiesAreKeptByteForByte) {
  const Webhook webhook = Put("default", "hook");
  std::string body(256 * 1024, 'x');
  for (size_t i = 0; i < body.size(); i += 7) body[i] = static_cast<char>(i);
  body += std::string("\0 end \xf0\x9f\x90\xb4", 10);
  const Published published = PublishOne("default", "T", body);
  harness_->Reopen();
  const auto read = GetNotification("default", published.id);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->body == body);
  const OwedPage page = Owed(webhook.id);
  ASSERT_EQ(page.rows.size(), 1u);
  EXPECT_TRUE(*page.rows[0].body == body);
}

TEST_P(OutboxConformanceTest, EachNotificationOfABatchFailsAlone) {
  PublishOne("default", "T", "{}", "key");
  const auto results = Publish({New("nobody", "T", "{}"), New("default", "T", "{}"),
                                New("default", "X", "{}", "key"), New("default", "T", "{}", "key"),
                                New("default", "T", "{}", "other")});
  ASSERT_EQ(results.size(), 5u);
  EXPECT_EQ(results[0].status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(results[1].ok());
  EXPECT_EQ(results[2].status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(results[3].ok());
  EXPECT_TRUE(results[3]->duplicate);
  ASSERT_TRUE(results[4].ok());
  EXPECT_FALSE(results[4]->duplicate);
  EXPECT_LT(results[1]->id, results[4]->id);
}

TEST_P(OutboxConformanceTest, AnEmptyBatchIsAnswered) { EXPECT_TRUE(Publish({}).empty()); }

TEST_P(OutboxConformanceTest, ALargeBatchIsAnsweredInOrder) {
  const Webhook webhook = Put("default", "hook");
  std::vector<NewNotification> batch;
  for (int i = 0; i < 1000; ++i) batch.push_back(New("default", "T", std::to_string(i)));
  const auto results = Publish(std::move(batch));
  const OwedPage page = Owed(webhook.id);
  ASSERT_EQ(page.rows.size(), 1000u);
  for (size_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(results[i].ok());
    EXPECT_EQ(page.rows[i].notification, results[i]->id);
    EXPECT_EQ(*page.rows[i].body, std::to_string(i));
  }
}

TEST_P(OutboxConformanceTest, ManyWritesAtOnceAreAllAnswered) {
  const Webhook webhook = Put("default", "hook");
  constexpr int kWrites = 500;
  std::set<NotificationId> ids;
  std::atomic<int> answers{0};
  Mutex mutex;
  Await([&](std::function<void()> answered) {
    for (int i = 0; i < kWrites; ++i) {
      outbox().Publish({New("default", "T", "{}")}, [&, answered](auto results) {
        {
          MutexLock lock(&mutex);
          if (results.ok() && (*results)[0].ok()) ids.insert((*results)[0]->id);
        }
        // The last one ends the wait, and with it the life of the mutex.
        if (++answers == kWrites) answered();
      });
    }
  });
  EXPECT_EQ(ids.size(), static_cast<size_t>(kWrites));
  EXPECT_EQ(Owed(webhook.id).rows.size(), static_cast<size_t>(kWrites));
}

// ---- Tenants

TEST_P(OutboxConformanceTest, DefaultIsKnownWithoutAWebhook) {
  EXPECT_EQ(PublishOne("default").delivery_count, 0);
}

TEST_P(OutboxConformanceTest, ATenantIsKnownForeverOnceAWebhookWasConfigured) {
  const auto refused = Publish({New("t1", "T", "{}")});
  EXPECT_EQ(refused[0].status().code(), absl::StatusCode::kNotFound);
  Put("t1", "draft", [](Webhook& w) { w.enabled = false; });
  EXPECT_EQ(PublishOne("t1").delivery_count, 0);
  ASSERT_TRUE(Delete("t1", "draft").ok());
  EXPECT_EQ(PublishOne("t1").delivery_count, 0);
  harness_->Reopen();
  EXPECT_EQ(PublishOne("t1").delivery_count, 0);
}

TEST_P(OutboxConformanceTest, AFailedConfigurationMakesNoTenantKnown) {
  const auto failed = Modify("t1", "hook", [](std::optional<Webhook>) {
    return absl::FailedPreconditionError("not valid");
  });
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Publish({New("t1", "T", "{}")})[0].status().code(), absl::StatusCode::kNotFound);
}

// ---- Idempotency keys

TEST_P(OutboxConformanceTest, TheSameKeyGivesTheFirstNotification) {
  const Webhook webhook = Put("default", "hook");
  const Published first = PublishOne("default", "T", "{}", "key");
  EXPECT_FALSE(first.duplicate);
  Put("default", "second");
  listener_.Take();
  for (int round = 0; round < 2; ++round) {
    const Published again = PublishOne("default", "T", "{}", "key");
    EXPECT_TRUE(again.duplicate);
    EXPECT_EQ(again.id, first.id);
    EXPECT_EQ(again.delivery_count, 1);
    EXPECT_TRUE(listener_.TakeOwed().empty());
    harness_->Reopen();
  }
  // At least 24 h.
  clock_.Advance(absl::Hours(24) - absl::Seconds(1));
  EXPECT_TRUE(PublishOne("default", "T", "{}", "key").duplicate);
  EXPECT_EQ(Owed(webhook.id).rows.size(), 1u);
}

TEST_P(OutboxConformanceTest, TheSameKeyTwiceInOneBatch) {
  const Webhook webhook = Put("default", "hook");
  const auto results = Publish({New("default", "T", "{}", "key"), New("default", "T", "{}", "key"),
                                New("default", "T", "{\"x\":0}", "key")});
  ASSERT_TRUE(results[0].ok());
  ASSERT_TRUE(results[1].ok());
  EXPECT_FALSE(results[0]->duplicate);
  EXPECT_TRUE(results[1]->duplicate);
  EXPECT_EQ(results[1]->id, results[0]->id);
  EXPECT_EQ(results[1]->delivery_count, 1);
  EXPECT_EQ(results[2].status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Owed(webhook.id).rows.size(), 1u);
}

TEST_P(OutboxConformanceTest, TheSameKeyWithAnotherContentIsRefused) {
  PublishOne("default", "T", "{}", "key");
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Publish({New("default", "U", "{}", "key")})[0].status().code(),
              absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(Publish({New("default", "T", "{ }", "key")})[0].status().code(),
              absl::StatusCode::kAlreadyExists);
    harness_->Reopen();
  }
}

TEST_P(OutboxConformanceTest, KeysAreTheTenantsOwn) {
  Put("t1", "hook");
  const Published first = PublishOne("default", "T", "{}", "key");
  const Published other = PublishOne("t1", "U", "{\"x\":1}", "key");
  EXPECT_FALSE(other.duplicate);
  EXPECT_NE(other.id, first.id);
}

TEST_P(OutboxConformanceTest, WithoutAKeyNothingIsADuplicate) {
  const Published first = PublishOne();
  const Published second = PublishOne();
  EXPECT_FALSE(second.duplicate);
  EXPECT_NE(first.id, second.id);
}

// ---- Ids

TEST_P(OutboxConformanceTest, IdsGrowAlsoWhenTheClockIsSetBack) {
  const Published first = PublishOne();
  clock_.SetWall(clock_.Now() - absl::Hours(3));
  const Published second = PublishOne();
  harness_->Reopen();
  const Published third = PublishOne();
  EXPECT_LT(first.id, second.id);
  EXPECT_LT(second.id, third.id);
}

TEST_P(OutboxConformanceTest, AWrongClockMarksNothingThatComesAfter) {
  Put("default", "hook");
  const absl::Time right = clock_.Now();
  const Published before = PublishOne();
  clock_.SetWall(right + absl::Hours(24 * 3652));
  const Published wrong = PublishOne();
  for (const bool restart : {false, true}) {
    clock_.SetWall(right + absl::Minutes(restart ? 2 : 1));
    if (restart) harness_->Reopen();
    const absl::Time now = clock_.Now();
    const Published after = PublishOne();
    EXPECT_GT(after.id, wrong.id);
    EXPECT_EQ(GetNotification("default", after.id)->create_time, now);
    // Lists by time find it, and nothing else.
    const absl::Time start = now - absl::Seconds(1);
    const absl::Time end = now + absl::Seconds(1);
    const auto listed = ListNotifications({.tenant = "default", .start = start, .end = end});
    ASSERT_EQ(listed->size(), 1u);
    EXPECT_EQ(listed->front().id, after.id);
    for (const std::string& name : {std::string(), std::string("hook")}) {
      const auto deliveries = ListDeliveries(
          {.tenant = "default", .webhook_name = name, .start = start, .end = end});
      ASSERT_EQ(deliveries->size(), 1u);
      EXPECT_EQ(deliveries->front().create_time, now);
    }
  }
  // All of them, the newest first.
  for (const int limit : {1, 2, 100}) {
    const auto all = ListNotifications({.tenant = "default", .limit = limit});
    ASSERT_EQ(all->size(), 4u);
    EXPECT_EQ(all->at(2).id, wrong.id);
    EXPECT_EQ(all->at(3).id, before.id);
    EXPECT_EQ(ListDeliveries({.tenant = "default", .webhook_name = "hook", .limit = limit})->size(),
              4u);
  }
  const auto old = ListNotifications({.tenant = "default", .end = right + absl::Seconds(1)});
  ASSERT_EQ(old->size(), 1u);
  EXPECT_EQ(old->front().id, before.id);
}

TEST_P(OutboxConformanceTest, WhatIsDueIsDueByAClockThatNobodySets) {
  for (const absl::Duration by : {absl::Hours(24 * 3), -absl::Hours(24 * 6)}) {
    clock_.SetWall(clock_.Now() + by);
    PublishOne();
    for (const OwedDelivery& owed : listener_.TakeOwed()) EXPECT_EQ(owed.due, clock_.Steady());
  }
}

TEST_P(OutboxConformanceTest, PublicIdsOutliveTheProcess) {
  const Published published = PublishOne();
  const std::string text = outbox().ids().Format(published.id);
  harness_->Reopen();
  EXPECT_EQ(outbox().ids().ParseNotificationId(text), published.id);
}

}  // namespace
}  // namespace postrider
