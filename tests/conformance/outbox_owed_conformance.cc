#include <string>

#include "tests/conformance/outbox_conformance.h"

// What is owed, and asked for again: RetryDelivery and ReadOwed.

namespace postrider {
namespace {

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

}  // namespace
}  // namespace postrider
