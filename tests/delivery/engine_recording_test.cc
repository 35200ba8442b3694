// How outcomes come onto the disk, and what becomes of those that it refuses.

#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

TEST(RecordingTest, WhatTheDiskCannotTakeIsKeptAndOfferedAgain) {
  EngineHarness h;
  const WebhookId id = h.Configure("w", [](Webhook& w) { w.max_concurrency = 2; }).id;
  h.Publish(10);
  h.Settle();
  h.outbox->FailWrites(3, absl::ResourceExhaustedError("the disk is full"));
  h.transport->SucceedAll();
  h.Settle();
  // Two more were sent before the refusal was known.
  ASSERT_EQ(h.transport->sent(), 4);
  h.transport->SucceedAll();
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 4) << "nothing new is sent";
  EXPECT_EQ(h.Pending(id).size(), 10);
  EXPECT_EQ(h.next_step, h.clock.Now() + absl::Seconds(1));
  h.Advance(absl::Seconds(1));
  EXPECT_EQ(h.next_step, h.clock.Now() + absl::Seconds(2));
  h.Advance(absl::Seconds(2));
  EXPECT_EQ(h.transport->sent(), 4);
  EXPECT_EQ(h.metrics.outcome_failures.value(), 3);
  h.Advance(absl::Seconds(4));
  EXPECT_EQ(h.Pending(id).size(), 6);
  std::set<NotificationId> sent;
  for (size_t i = 0; i < h.transport->sent(); ++i) sent.insert(h.NotificationOf(i));
  EXPECT_EQ(sent.size(), 6) << "and nothing was sent twice";
  EXPECT_EQ(h.transport->sent(), 6);
}

TEST(RecordingTest, TheWaitIsTenSecondsAtMost) {
  EngineHarness h;
  h.Configure("w");
  h.Publish();
  h.Settle();
  h.outbox->FailWrites(20, absl::ResourceExhaustedError("the disk is full"));
  h.transport->SucceedAll();
  h.Advance(absl::Seconds(100));
  EXPECT_LE(h.next_step - h.clock.Now(), absl::Seconds(10));
  EXPECT_GE(h.metrics.outcome_failures.value(), 11);
  EXPECT_FALSE(h.engine->idle());
}

TEST(RecordingTest, HealthThatWasRefusedIsToldAgain) {
  EngineHarness h;
  h.Configure("w");
  h.Publish(2);
  h.Settle();
  h.outbox->FailWrites(1, absl::ResourceExhaustedError("the disk is full"));
  const absl::Time first = h.clock.Now();
  h.transport->Answer(0, Status(500));
  h.Settle();
  EXPECT_EQ(h.Stored("w").failing_since, absl::InfiniteFuture());
  h.Advance(absl::Seconds(1));
  EXPECT_EQ(h.Stored("w").failing_since, first);
}

TEST(RecordingTest, ABrokenDiskStopsTheSending) {
  EngineHarness h;
  h.Configure("w", [](Webhook& w) { w.max_concurrency = 1; });
  const std::vector<NotificationId> ids = h.Publish(10);
  h.Settle();
  h.outbox->BreakDisk(true);
  h.transport->SucceedAll();
  h.Settle();
  ASSERT_EQ(h.transport->sent(), 2) << "sent before the failure was known";
  h.transport->SucceedAll();
  h.Advance(absl::Hours(1));
  EXPECT_EQ(h.transport->sent(), 2);
  h.Crash();
  h.Settle();
  EXPECT_EQ(h.NotificationOf(0), ids[1]) << "the first was recorded after all, the second was not";
}

TEST(RecordingTest, ARetryThatOvertakesTheNewsOfTheOutcomeCounts) {
  EngineHarness h;
  h.Configure("w", [](Webhook& w) { w.retry_policy.max_attempts = 1; });
  h.Publish();
  h.Settle();
  h.transport->Answer(0, Status(500));
  h.Step();
  h.outbox->Commit();  // it is DEAD on disk, and the engine has not heard of it
  h.Retry(h.DeliveryOf(0).delivery.id);
  h.home->RunAll();  // it hears of the retry first
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 2);
  h.transport->Succeed(1);
  h.Settle();
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kDelivered);
  EXPECT_EQ(h.DeliveryOf(0).delivery.attempts, 2);
}

TEST(RecordingTest, OutcomesLingerToBeRecordedTogether) {
  EngineOptions options;
  options.record_linger = absl::Milliseconds(10);
  EngineHarness h(options);
  h.Configure("w");
  h.Publish(2);
  h.Settle();
  h.transport->Succeed(0);
  h.Settle();
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kPending);
  EXPECT_EQ(h.next_step, h.clock.Now() + absl::Milliseconds(10));
  h.transport->Succeed(1);
  h.Advance(absl::Milliseconds(10));
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kDelivered);
  EXPECT_EQ(h.DeliveryOf(1).delivery.state, DeliveryState::kDelivered);
}

TEST(RecordingTest, WhatSomethingWaitsForDoesNotLinger) {
  EngineOptions options;
  options.record_linger = absl::Minutes(1);
  EngineHarness h(options);
  h.Configure("ordered", [](Webhook& w) { w.order = DeliveryOrder::kOrdered; });
  h.Publish(2);
  h.Settle();
  h.transport->Succeed(0);
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 2u) << "the next one waits for the record of the first";

  EngineHarness stopping(options);
  stopping.Configure("w");
  stopping.Publish();
  stopping.Settle();
  stopping.transport->Succeed(0);
  stopping.Settle();
  EXPECT_FALSE(stopping.engine->idle());
  stopping.engine->BeginDrain();
  stopping.Settle();
  EXPECT_TRUE(stopping.engine->idle());
}

TEST(RecordingTest, ARetryThatOnlyAReadTellsOfCounts) {
  for (const bool read_first : {true, false}) {
    EngineHarness h;
    h.Configure("w", [](Webhook& w) { w.retry_policy.max_attempts = 1; });
    h.Publish();
    h.Settle();
    h.transport->Answer(0, Status(500));
    h.Step();
    h.outbox->Commit();  // it is DEAD on disk, and the engine has not heard of it
    // The news of the retry is lost on the way for lack of memory: look on disk instead.
    h.leave_on_disk = [] { return true; };
    h.Retry(h.DeliveryOf(0).delivery.id);
    h.home->RunAll();
    h.leave_on_disk = {};
    h.Step();  // asks for the page: answers wait in the order outcome, page
    ASSERT_EQ(h.outbox->waiting_answers(), 2);
    h.outbox->AnswerOne();
    h.outbox->AnswerOne();
    if (read_first) h.home->RunLast();
    h.Settle();
    ASSERT_EQ(h.transport->sent(), 2) << read_first;
  }
}

TEST(RecordingTest, ARetryOfWhatIsUnderWayIsThatAttempt) {
  EngineHarness h;
  h.Configure("w");
  h.Publish();
  h.Settle();
  h.Retry(h.DeliveryOf(0).delivery.id);
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 1);
  h.transport->Succeed(0);
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 1);
}

}  // namespace
}  // namespace postrider
