#include <string>
#include <vector>

#include "tests/conformance/outbox_conformance.h"

// What comes of attempts, and of age: RecordOutcomes, and what the sweep ends.

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

}  // namespace
}  // namespace postrider
