#include <string>
#include <vector>

#include "tests/conformance/outbox_conformance.h"

// Deliveries: RecordOutcomes, RetryDelivery, ReadOwed, and the lists.

namespace postrider {
namespace {

// ---- RecordOutcomes

TEST_P(OutboxConformanceTest, ASuccessDelivers) {
  const OwedDelivery owed = OweOne();
  const absl::Time published = clock_.Now();
  clock_.Advance(absl::Seconds(3));
  const AttemptOutcome outcome = Outcome(owed, DeliveryState::kDelivered);
  listener_.Take();
  ASSERT_TRUE(Record({{outcome}, {}}).ok());
  EXPECT_TRUE(listener_.Take().empty());
  for (int round = 0; round < 2; ++round) {
    const auto read = GetDelivery("default", owed.id);
    ASSERT_TRUE(read.ok()) << read.status();
    const Delivery& d = read->delivery;
    EXPECT_EQ(d.id, owed.id);
    EXPECT_EQ(d.notification, owed.notification);
    EXPECT_EQ(d.webhook, owed.webhook);
    EXPECT_EQ(d.tenant, "default");
    EXPECT_EQ(d.webhook_name, "hook");
    EXPECT_EQ(d.notification_type, "T");
    EXPECT_EQ(d.state, DeliveryState::kDelivered);
    EXPECT_EQ(d.attempts, 1);
    EXPECT_EQ(d.create_time, published);
    EXPECT_EQ(d.end_time, clock_.Now());
    EXPECT_EQ(d.last_http_status, 204);
    EXPECT_EQ(d.last_error, "");
    ASSERT_EQ(read->attempts.size(), 1u);
    EXPECT_EQ(read->attempts[0].number, 1);
    EXPECT_EQ(read->attempts[0].start, outcome.start);
    EXPECT_EQ(read->attempts[0].latency, absl::Milliseconds(20));
    EXPECT_EQ(read->attempts[0].http_status, 204);
    EXPECT_EQ(read->attempts[0].error, "");
    EXPECT_EQ(read->attempts[0].response_body, "");
    EXPECT_TRUE(Owed(owed.webhook).rows.empty());
    harness_->Reopen();
  }
}

TEST_P(OutboxConformanceTest, AFailureIsDueAgain) {
  const OwedDelivery owed = OweOne();
  const absl::Time budget_start = clock_.Now();
  const absl::Time due = clock_.Now() + absl::Milliseconds(4750);
  ASSERT_TRUE(Record({{Outcome(owed, DeliveryState::kPending, due)}, {}}).ok());
  for (int round = 0; round < 2; ++round) {
    const OwedPage page = Owed(owed.webhook);
    ASSERT_EQ(page.rows.size(), 1u);
    EXPECT_EQ(page.rows[0].id, owed.id);
    EXPECT_EQ(page.rows[0].due, due);
    EXPECT_EQ(page.rows[0].attempts, 1);
    EXPECT_EQ(page.rows[0].budget_attempts, 1);
    EXPECT_EQ(page.rows[0].budget_start, budget_start);
    const auto read = GetDelivery("default", owed.id);
    EXPECT_EQ(read->delivery.state, DeliveryState::kPending);
    EXPECT_EQ(read->delivery.due, due);
    EXPECT_EQ(read->delivery.end_time, absl::InfiniteFuture());
    EXPECT_EQ(read->delivery.last_http_status, 503);
    EXPECT_EQ(read->delivery.last_error, "the receiver answered 503");
    ASSERT_EQ(read->attempts.size(), 1u);
    EXPECT_EQ(read->attempts[0].error, "the receiver answered 503");
    EXPECT_EQ(read->attempts[0].response_body, "busy");
    harness_->Reopen();
  }
}

TEST_P(OutboxConformanceTest, AttemptsAreToldTheOldestFirst) {
  OwedDelivery owed = OweOne();
  for (int i = 1; i <= 12; ++i) {
    clock_.Advance(absl::Seconds(1));
    AttemptOutcome outcome = Outcome(owed, DeliveryState::kPending, clock_.Now());
    outcome.response_body = std::string("not \xff UTF-8 \0", 12) + std::to_string(i);
    ASSERT_TRUE(Record({{outcome}, {}}).ok());
    owed = Owed(owed.webhook).rows.at(0);
  }
  EXPECT_EQ(owed.attempts, 12);
  const auto read = GetDelivery("default", owed.id);
  ASSERT_EQ(read->attempts.size(), 12u);
  for (int i = 1; i <= 12; ++i) {
    EXPECT_EQ(read->attempts[i - 1].number, i);
    EXPECT_EQ(read->attempts[i - 1].response_body,
              std::string("not \xff UTF-8 \0", 12) + std::to_string(i));
  }
}

TEST_P(OutboxConformanceTest, ABatchIsRecordedWhole) {
  const Webhook webhook = Put("default", "hook");
  for (int i = 0; i < 3; ++i) PublishOne();
  const auto owed = Owed(webhook.id).rows;
  const absl::Time due = clock_.Now() + absl::Hours(1);
  OutcomeBatch batch;
  batch.outcomes = {Outcome(owed[0], DeliveryState::kDelivered),
                    Outcome(owed[1], DeliveryState::kPending, due),
                    Outcome(owed[2], DeliveryState::kDead)};
  batch.outcomes[2].end_reason = EndReason::kAttemptsSpent;
  const absl::Time since = clock_.Now();
  batch.health = {{webhook.id, since}};
  ASSERT_TRUE(Record(std::move(batch)).ok());
  EXPECT_EQ(GetDelivery("default", owed[0].id)->delivery.state, DeliveryState::kDelivered);
  EXPECT_EQ(GetDelivery("default", owed[1].id)->delivery.state, DeliveryState::kPending);
  const auto dead = GetDelivery("default", owed[2].id);
  EXPECT_EQ(dead->delivery.state, DeliveryState::kDead);
  EXPECT_EQ(dead->delivery.end_time, clock_.Now());
  EXPECT_EQ(dead->delivery.end_reason, EndReason::kAttemptsSpent);
  EXPECT_EQ(GetWebhook("default", "hook")->failing_since, since);
}

TEST_P(OutboxConformanceTest, HealthIsNoChangeOfTheConfiguration) {
  const Webhook webhook = Put("default", "hook");
  const absl::Time since = clock_.Now();
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(Record({{}, {{webhook.id, since}}}).ok());
  harness_->Reopen();
  const auto failing = GetWebhook("default", "hook");
  EXPECT_EQ(failing->failing_since, since);
  EXPECT_EQ(failing->version, webhook.version);
  EXPECT_EQ(failing->update_time, webhook.update_time);
  ASSERT_TRUE(Record({{}, {{webhook.id, absl::InfiniteFuture()}}}).ok());
  EXPECT_EQ(GetWebhook("default", "hook")->failing_since, absl::InfiniteFuture());
}

TEST_P(OutboxConformanceTest, OutcomesOfWhatIsGoneArePassedOver) {
  const OwedDelivery owed = OweOne();
  AttemptOutcome unknown = Outcome(owed, DeliveryState::kDelivered);
  unknown.delivery = DeliveryId{static_cast<int64_t>(owed.id) + 1000};
  OutcomeBatch batch;
  batch.outcomes = {unknown, Outcome(owed, DeliveryState::kDelivered)};
  batch.health = {{WebhookId{12345}, clock_.Now()}};
  EXPECT_TRUE(Record(std::move(batch)).ok());
  EXPECT_EQ(GetDelivery("default", owed.id)->delivery.state, DeliveryState::kDelivered);
  EXPECT_TRUE(Record({}).ok());
}

TEST_P(OutboxConformanceTest, AnEndedDeliveryKeepsItsStateUnlessItSucceeds) {
  const OwedDelivery owed = OweOne();
  ASSERT_TRUE(Delete("default", "hook").ok());
  ASSERT_TRUE(Eventually([&] {
    return GetDelivery("default", owed.id)->delivery.state == DeliveryState::kCancelled;
  }));
  AttemptOutcome failure = Outcome(owed, DeliveryState::kPending, clock_.Now());
  ASSERT_TRUE(Record({{failure}, {}}).ok());
  auto read = GetDelivery("default", owed.id);
  EXPECT_EQ(read->delivery.state, DeliveryState::kCancelled);
  EXPECT_EQ(read->attempts.size(), 1u);
  AttemptOutcome success = Outcome(owed, DeliveryState::kDelivered);
  success.number = 2;
  ASSERT_TRUE(Record({{success}, {}}).ok());
  read = GetDelivery("default", owed.id);
  EXPECT_EQ(read->delivery.state, DeliveryState::kDelivered);
  EXPECT_EQ(read->attempts.size(), 2u);
  // And delivered it stays.
  failure.number = 3;
  failure.next_state = DeliveryState::kDead;
  ASSERT_TRUE(Record({{failure}, {}}).ok());
  EXPECT_EQ(GetDelivery("default", owed.id)->delivery.state, DeliveryState::kDelivered);
}

// ---- Age

TEST_P(OutboxConformanceTest, WhatIsOwedToADisabledWebhookDiesOfAge) {
  const auto short_lived = [](Webhook& w) { w.retry_policy.max_age = absl::Hours(10); };
  const Webhook webhook = Put("default", "hook", short_lived);
  PublishOne();
  PublishOne();
  const std::vector<OwedDelivery> owed = Owed(webhook.id).rows;
  ASSERT_TRUE(Record({{Outcome(owed[0], DeliveryState::kPending, clock_.Now())}, {}}).ok());
  // While it is enabled, no age runs for what was never attempted.
  clock_.Advance(absl::Hours(9));
  ASSERT_TRUE(WaitStatus([&](auto done) {
                outbox().DisableWebhook(webhook.id, webhook.version, "gone", std::move(done));
              }).ok());
  harness_->Reopen();
  clock_.Advance(absl::Hours(2));
  EXPECT_TRUE(Eventually([&] {
    PublishOne();  // lets time pass for who does his work beside that of others
    return GetDelivery("default", owed[0].id)->delivery.state == DeliveryState::kDead;
  }));
  EXPECT_EQ(GetDelivery("default", owed[0].id)->delivery.end_reason, EndReason::kAgeSpent);
  EXPECT_EQ(GetDelivery("default", owed[0].id)->delivery.end_time, clock_.Now());
  EXPECT_EQ(GetDelivery("default", owed[1].id)->delivery.state, DeliveryState::kPending);
  clock_.Advance(absl::Hours(9));
  EXPECT_TRUE(Eventually([&] {
    PublishOne();
    return GetDelivery("default", owed[1].id)->delivery.state == DeliveryState::kDead;
  }));
  EXPECT_EQ(GetDelivery("default", owed[1].id)->delivery.end_reason, EndReason::kAgeSpent);
  // A caller may want it all the same: from then on it has its age again.
  ASSERT_TRUE(Retry("default", owed[1].id).ok());
  clock_.Advance(absl::Hours(9));
  PublishOne();
  EXPECT_EQ(GetDelivery("default", owed[1].id)->delivery.state, DeliveryState::kPending);
}

TEST_P(OutboxConformanceTest, WhatIsPastItsAgeIsNotOwedWhenTheWebhookIsEnabledAgain) {
  const Webhook webhook = Put("default", "hook");
  // More than one slice.
  for (int i = 0; i < 3; ++i) {
    Publish(std::vector<NewNotification>(
        1000, {"default", "T", std::make_shared<std::string>("{}"), ""}));
  }
  const std::vector<OwedDelivery> owed = Owed(webhook.id, {}, 5000).rows;
  ASSERT_EQ(owed.size(), 3000u);
  Put("default", "hook", [](Webhook& w) { w.enabled = false; });
  // Past the age, and within the retention: what has ended is still there to be looked at.
  clock_.Advance(absl::Hours(24 * 5));
  Put("default", "hook");
  EXPECT_TRUE(Owed(webhook.id).rows.empty());
  for (const OwedDelivery* d : {&owed.front(), &owed.back()}) {
    EXPECT_EQ(GetDelivery("default", d->id)->delivery.end_reason, EndReason::kAgeSpent);
  }
  // What is within its age goes on; so it is when the age is made longer.
  PublishOne();
  Put("default", "hook", [](Webhook& w) { w.enabled = false; });
  clock_.Advance(absl::Hours(71));
  Put("default", "hook");
  EXPECT_EQ(Owed(webhook.id).rows.size(), 1u);
}

// ---- RetryDelivery

TEST_P(OutboxConformanceTest, RetryGivesADeadDeliveryAFreshBudget) {
  const OwedDelivery owed = OweOne();
  ASSERT_TRUE(Record({{Outcome(owed, DeliveryState::kDead)}, {}}).ok());
  clock_.Advance(absl::Hours(1));
  listener_.Take();
  const auto retried = Retry("default", owed.id);
  ASSERT_TRUE(retried.ok()) << retried.status();
  EXPECT_EQ(retried->state, DeliveryState::kPending);
  EXPECT_EQ(retried->due, clock_.Now());
  EXPECT_EQ(retried->end_time, absl::InfiniteFuture());
  EXPECT_EQ(retried->end_reason, EndReason::kNone);
  EXPECT_EQ(retried->attempts, 1);
  const auto heard = listener_.TakeOwed();
  ASSERT_EQ(heard.size(), 1u);
  harness_->Reopen();
  const OwedPage page = Owed(owed.webhook);
  ASSERT_EQ(page.rows.size(), 1u);
  for (const OwedDelivery& d : {heard[0], page.rows[0]}) {
    EXPECT_EQ(d.id, owed.id);
    EXPECT_EQ(d.due, clock_.Now());
    EXPECT_EQ(d.attempts, 1);
    EXPECT_EQ(d.budget_attempts, 0);
    EXPECT_EQ(d.budget_start, absl::InfiniteFuture());
    EXPECT_EQ(*d.body, "{}");
  }
  EXPECT_TRUE(Load().at(0).owed);
}

TEST_P(OutboxConformanceTest, RetryMakesAPendingDeliveryDueNow) {
  const OwedDelivery owed = OweOne();
  const absl::Time later = clock_.Now() + absl::Hours(6);
  ASSERT_TRUE(Record({{Outcome(owed, DeliveryState::kPending, later)}, {}}).ok());
  clock_.Advance(absl::Seconds(10));
  listener_.Take();
  const auto retried = Retry("default", owed.id);
  ASSERT_TRUE(retried.ok()) << retried.status();
  EXPECT_EQ(retried->due, clock_.Now());
  const auto heard = listener_.TakeOwed();
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].due, clock_.Now());
  const OwedPage page = Owed(owed.webhook);
  ASSERT_EQ(page.rows.size(), 1u);
  EXPECT_EQ(page.rows[0].due, clock_.Now());
  // Again, it is not lost as a duplicate.
  EXPECT_TRUE(Retry("default", owed.id).ok());
  EXPECT_EQ(listener_.TakeOwed().size(), 1u);
}

TEST_P(OutboxConformanceTest, RetryKeepsThePlaceOfWhatIsDueAlready) {
  const OwedDelivery owed = OweOne();
  clock_.Advance(absl::Seconds(10));
  PublishOne();
  const auto retried = Retry("default", owed.id);
  ASSERT_TRUE(retried.ok()) << retried.status();
  EXPECT_EQ(retried->due, owed.due);
  const OwedPage page = Owed(owed.webhook);
  ASSERT_EQ(page.rows.size(), 2u);
  EXPECT_EQ(page.rows[0].id, owed.id);
}

TEST_P(OutboxConformanceTest, RetryRefusesWhatCannotBeRetried) {
  const OwedDelivery owed = OweOne();
  ASSERT_TRUE(Record({{Outcome(owed, DeliveryState::kDelivered)}, {}}).ok());
  listener_.Take();
  Put("t1", "hook");
  EXPECT_EQ(Retry("default", owed.id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Retry("t1", owed.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Retry("nobody", owed.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Retry("default", DeliveryId{77}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(listener_.TakeOwed().empty());
}

TEST_P(OutboxConformanceTest, RetryRefusesAtOnceWhenTheWebhookIsDeleted) {
  const OwedDelivery dead = OweOne();
  PublishOne();
  const OwedDelivery pending = Owed(dead.webhook, dead.key()).rows.at(0);
  ASSERT_TRUE(Record({{Outcome(dead, DeliveryState::kDead)}, {}}).ok());
  ASSERT_TRUE(Delete("default", "hook").ok());
  EXPECT_EQ(Retry("default", dead.id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Retry("default", pending.id).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(OutboxConformanceTest, DeliveriesOfADeletedWebhookAreListedByItsName) {
  const OwedDelivery first = OweOne();
  ASSERT_TRUE(Delete("default", "hook").ok());
  DeliveryFilter filter;
  filter.tenant = "default";
  filter.webhook_name = "hook";
  auto listed = ListDeliveries(filter);
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->at(0).id, first.id);
  // Another one that has the name now, and one that never had it.
  const OwedDelivery second = OweOne();
  Put("default", "other");
  PublishOne();
  listed = ListDeliveries(filter);
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 3u);
  EXPECT_EQ(listed->at(1).id, second.id);
  EXPECT_EQ(listed->at(2).id, first.id);
  filter.webhook_name = "never";
  EXPECT_EQ(ListDeliveries(filter).status().code(), absl::StatusCode::kNotFound);
}

// ---- ReadOwed

TEST_P(OutboxConformanceTest, OwedIsPagedByDueTimeThenNumber) {
  const Webhook webhook = Put("default", "hook");
  const Webhook other = Put("default", "other");
  for (int i = 0; i < 6; ++i) PublishOne();
  auto rows = Owed(webhook.id).rows;
  ASSERT_EQ(rows.size(), 6u);
  const absl::Time late = clock_.Now() + absl::Seconds(9);
  OutcomeBatch batch;
  batch.outcomes = {Outcome(rows[0], DeliveryState::kPending, late + absl::Microseconds(1)),
                    Outcome(rows[1], DeliveryState::kPending, late),
                    Outcome(rows[2], DeliveryState::kDelivered)};
  ASSERT_TRUE(Record(std::move(batch)).ok());
  // 3, 4, 5 at once, then 1, then 0.
  OwedPage page = Owed(webhook.id, {}, 2);
  ASSERT_EQ(page.rows.size(), 2u);
  EXPECT_FALSE(page.complete);
  EXPECT_EQ(page.rows[0].id, rows[3].id);
  EXPECT_EQ(page.rows[1].id, rows[4].id);
  page = Owed(webhook.id, page.rows[1].key(), 2);
  ASSERT_EQ(page.rows.size(), 2u);
  EXPECT_EQ(page.rows[0].id, rows[5].id);
  EXPECT_EQ(page.rows[1].id, rows[1].id);
  page = Owed(webhook.id, page.rows[1].key(), 2);
  ASSERT_EQ(page.rows.size(), 1u);
  EXPECT_TRUE(page.complete);
  EXPECT_EQ(page.rows[0].id, rows[0].id);
  EXPECT_EQ(page.rows[0].webhook, webhook.id);
  page = Owed(webhook.id, page.rows[0].key(), 2);
  EXPECT_TRUE(page.rows.empty());
  EXPECT_TRUE(page.complete);
  EXPECT_EQ(Owed(other.id).rows.size(), 6u);
}

TEST_P(OutboxConformanceTest, OwedKeepsToTheBytes) {
  const Webhook webhook = Put("default", "hook");
  for (int i = 0; i < 4; ++i) PublishOne("default", "T", std::string(1000, 'x'));
  OwedPage page = Owed(webhook.id, {}, 1000, 2500);
  EXPECT_EQ(page.rows.size(), 2u);
  EXPECT_FALSE(page.complete);
  page = Owed(webhook.id, {}, 1000, 2000);
  EXPECT_EQ(page.rows.size(), 2u);
  // One row at least.
  page = Owed(webhook.id, {}, 1000, 10);
  ASSERT_EQ(page.rows.size(), 1u);
  EXPECT_FALSE(page.complete);
  EXPECT_EQ(page.rows[0].body->size(), 1000u);
  EXPECT_TRUE(Owed(webhook.id, {}, 1000, 4000).complete);
}

TEST_P(OutboxConformanceTest, NothingIsOwedToAnUnknownWebhook) {
  const OwedPage page = Owed(WebhookId{4711});
  EXPECT_TRUE(page.rows.empty());
  EXPECT_TRUE(page.complete);
}

// ---- Lists

TEST_P(OutboxConformanceTest, ANotificationIsKeptWhole) {
  Put("t1", "a");
  Put("t1", "b");
  const Published published = PublishOne("t1", "TYPE", "{\"x\":1e400}", "key");
  clock_.Advance(absl::Seconds(1));
  for (int round = 0; round < 2; ++round) {
    const auto read = GetNotification("t1", published.id);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->id, published.id);
    EXPECT_EQ(read->tenant, "t1");
    EXPECT_EQ(read->type, "TYPE");
    EXPECT_EQ(read->body, "{\"x\":1e400}");
    EXPECT_EQ(read->idempotency_key, "key");
    EXPECT_EQ(read->create_time, clock_.Now() - absl::Seconds(1));
    EXPECT_EQ(read->delivery_count, 2);
    harness_->Reopen();
  }
  EXPECT_EQ(GetNotification("default", published.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetNotification("nobody", published.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetNotification("t1", NotificationId{5}).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(OutboxConformanceTest, NotificationsAreListedTheNewestFirst) {
  Put("t1", "hook");
  const absl::Time start = clock_.Now();
  std::vector<NotificationId> ids;
  for (int i = 0; i < 7; ++i) {
    ids.push_back(PublishOne("default", i % 2 == 0 ? "EVEN" : "ODD", std::to_string(i)).id);
    PublishOne("t1", "EVEN");
    clock_.Advance(absl::Seconds(1));
  }
  for (const int limit : {1, 2, 3, 7, 100}) {
    const auto all = ListNotifications({.tenant = "default", .limit = limit});
    ASSERT_TRUE(all.ok()) << all.status();
    ASSERT_EQ(all->size(), 7u);
    for (int i = 0; i < 7; ++i) {
      EXPECT_EQ((*all)[i].id, ids[6 - i]);
      EXPECT_EQ((*all)[i].body, std::to_string(6 - i));
    }
  }
  const auto odd = ListNotifications({.tenant = "default", .type = "ODD", .limit = 2});
  ASSERT_EQ(odd->size(), 3u);
  EXPECT_EQ((*odd)[0].id, ids[5]);
  // From 2 on, 5 excluded.
  const auto range = ListNotifications({.tenant = "default",
                                        .start = start + absl::Seconds(2),
                                        .end = start + absl::Seconds(5),
                                        .limit = 2});
  ASSERT_EQ(range->size(), 3u);
  EXPECT_EQ((*range)[0].id, ids[4]);
  EXPECT_EQ((*range)[2].id, ids[2]);
  const auto below = ListNotifications({.tenant = "default", .before = ids[2], .limit = 10});
  ASSERT_EQ(below->size(), 2u);
  EXPECT_EQ((*below)[0].id, ids[1]);
  EXPECT_EQ(ListNotifications({.tenant = "nobody"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(ListNotifications({.tenant = "default", .type = "NONE"})->empty());
}

TEST_P(OutboxConformanceTest, DeliveriesAreListedTheNewestFirst) {
  const Webhook a = Put("default", "a");
  const Webhook b = Put("default", "b", [](Webhook& w) { w.notification_types = {"ODD"}; });
  Put("t1", "a");
  const absl::Time start = clock_.Now();
  std::vector<NotificationId> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(PublishOne("default", i % 2 == 0 ? "EVEN" : "ODD").id);
    PublishOne("t1");
    clock_.Advance(absl::Seconds(1));
  }
  const auto first = Owed(a.id).rows.at(0);
  ASSERT_TRUE(Record({{Outcome(first, DeliveryState::kDelivered)}, {}}).ok());
  for (const int limit : {1, 2, 4, 100}) {
    const auto all = ListDeliveries({.tenant = "default", .limit = limit});
    ASSERT_TRUE(all.ok()) << all.status();
    ASSERT_EQ(all->size(), 9u);
    for (size_t i = 1; i < all->size(); ++i) EXPECT_GT((*all)[i - 1].id, (*all)[i].id);
    EXPECT_EQ(all->back().id, first.id);
    EXPECT_EQ(all->back().state, DeliveryState::kDelivered);
    EXPECT_EQ(all->back().webhook_name, "a");
    EXPECT_EQ(all->back().notification_type, "EVEN");
    EXPECT_EQ(all->back().create_time, start);

    EXPECT_EQ(ListDeliveries({.tenant = "default", .webhook_name = "a", .limit = limit})->size(),
              6u);
    const auto of_b = ListDeliveries({.tenant = "default", .webhook_name = "b", .limit = limit});
    ASSERT_EQ(of_b->size(), 3u);
    EXPECT_EQ((*of_b)[0].notification, ids[5]);
    EXPECT_EQ((*of_b)[0].webhook, b.id);
    EXPECT_EQ(ListDeliveries({.tenant = "default", .notification = ids[1], .limit = limit})->size(),
              2u);
    EXPECT_EQ(
        ListDeliveries({.tenant = "default", .state = DeliveryState::kPending, .limit = limit})
            ->size(),
        8u);
    EXPECT_EQ(ListDeliveries({.tenant = "default",
                              .webhook_name = "a",
                              .state = DeliveryState::kDelivered,
                              .limit = limit})
                  ->size(),
              1u);
    EXPECT_EQ(ListDeliveries({.tenant = "default",
                              .start = start + absl::Seconds(1),
                              .end = start + absl::Seconds(3),
                              .limit = limit})
                  ->size(),
              3u);
    EXPECT_EQ(ListDeliveries({.tenant = "default",
                              .webhook_name = "a",
                              .notification = ids[5],
                              .state = DeliveryState::kDead,
                              .limit = limit})
                  ->size(),
              0u);
  }
  EXPECT_EQ(ListDeliveries({.tenant = "nobody"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ListDeliveries({.tenant = "default", .webhook_name = "none"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(ListDeliveries({.tenant = "t1", .webhook_name = "b"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(ListDeliveries({.tenant = "t1", .notification = ids[0]}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(
      ListDeliveries({.tenant = "default", .notification = NotificationId{1}}).status().code(),
      absl::StatusCode::kNotFound);
}

TEST_P(OutboxConformanceTest, ADeliveryIsTheTenantsOwn) {
  const OwedDelivery owed = OweOne();
  Put("t1", "hook");
  EXPECT_EQ(GetDelivery("t1", owed.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetDelivery("nobody", owed.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetDelivery("default", DeliveryId{3}).status().code(), absl::StatusCode::kNotFound);
  const auto read = GetDelivery("default", owed.id);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->delivery.state, DeliveryState::kPending);
  EXPECT_TRUE(read->attempts.empty());
}

}  // namespace
}  // namespace postrider
