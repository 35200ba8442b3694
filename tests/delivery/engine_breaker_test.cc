// How a receiver that fails is held back, probed, and in the end disabled.

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

using testing::HasSubstr;

class BreakerTest : public testing::Test {
 protected:
  BreakerTest() : h_(Options()) {
    id_ = h_.Configure("w", [](Webhook& w) { w.max_concurrency = 4; }).id;
    h_.Publish(100);
    h_.Settle();
  }

  static EngineOptions Options() {
    EngineOptions options;
    options.failures_to_probe = 4;
    return options;
  }

  void FailAll(int status = 500) {
    for (const size_t i : h_.transport->Pending()) h_.transport->Answer(i, Status(status));
    h_.Settle();
  }

  EngineHarness h_;
  WebhookId id_{};
};

TEST_F(BreakerTest, AFailingWebhookIsProbedOneAtATime) {
  FailAll();
  EXPECT_EQ(h_.transport->sent(), 4) << "held";
  EXPECT_EQ(h_.metrics.probing_webhooks.value(), 1);
  double delay = 5;
  for (size_t probe = 0; probe < 4; ++probe, delay *= 3) {
    // At least once a minute.
    ExpectAbout(h_.next_step - h_.clock.Now(), std::min(delay, 54.0));
    h_.Advance(h_.next_step - h_.clock.Now());
    ASSERT_EQ(h_.transport->sent(), 5 + probe);
    ASSERT_EQ(h_.in_flight(id_), 1);
    FailAll();
  }
  // Those that wait have spent nothing.
  int untouched = 0;
  for (const OwedDelivery& owed : h_.Pending(id_)) untouched += owed.attempts == 0;
  EXPECT_GE(untouched, 100 - 8);
}

TEST_F(BreakerTest, OnSuccessTheWindowGrowsFromOne) {
  FailAll();
  h_.Advance(absl::Seconds(7));
  ASSERT_EQ(h_.in_flight(id_), 1);
  for (const size_t width : {2, 4, 4}) {
    h_.transport->Succeed(h_.transport->Pending()[0]);
    h_.Settle();
    EXPECT_EQ(h_.in_flight(id_), width);
  }
  EXPECT_EQ(h_.metrics.probing_webhooks.value(), 0);
}

TEST_F(BreakerTest, AProbedWebhookHoldsNoMemory) {
  EXPECT_GT(h_.metrics.queued_deliveries.value(), 90);
  FailAll();
  EXPECT_EQ(h_.metrics.queued_deliveries.value(), 0);
  h_.Publish(50);
  h_.Settle();
  EXPECT_EQ(h_.metrics.queued_deliveries.value(), 0);
  h_.Advance(absl::Seconds(7));
  EXPECT_LE(h_.metrics.queued_deliveries.value(), 4);
  EXPECT_EQ(h_.in_flight(id_), 1);
}

TEST_F(BreakerTest, ARetryByHandDoesNotWaitForTheNextProbe) {
  for (int i = 0; i < 6; ++i) {
    FailAll();
    h_.Advance(h_.next_step - h_.clock.Now());
  }
  FailAll();
  ASSERT_EQ(h_.in_flight(id_), 0);
  h_.Retry(h_.DeliveryOf(0).delivery.id);
  h_.Settle();
  EXPECT_EQ(h_.in_flight(id_), 1);
}

TEST_F(BreakerTest, AChangeByTheOwnerIsTriedAtOnce) {
  FailAll();
  h_.Configure("w", [](Webhook& w) { w.timeout = absl::Seconds(3); });
  h_.Settle();
  ASSERT_EQ(h_.in_flight(id_), 1);
}

TEST_F(BreakerTest, AnotherReceiverIsNotBlamedForTheOneBefore) {
  FailAll();
  ASSERT_NE(h_.Stored("w").failing_since, absl::InfiniteFuture());
  h_.Configure("w", [](Webhook& w) { w.headers.push_back({"X-Key", "right", false}); });
  h_.Settle();
  ASSERT_EQ(h_.in_flight(id_), 4);
  EXPECT_EQ(h_.transport->header(h_.transport->Pending()[0], "X-Key"), "right");
  EXPECT_EQ(h_.Stored("w").failing_since, WebhookHealth::kRecovering);
}

TEST_F(BreakerTest, WantOfSocketsIsChargedToNobody) {
  for (const size_t i : h_.transport->Pending()) h_.transport->Fail(i, TransferError::kNoResources);
  h_.Settle();
  EXPECT_EQ(h_.transport->pending_count(), 0u) << "not again at once";
  EXPECT_EQ(h_.DeliveryOf(0).delivery.attempts, 0);
  EXPECT_EQ(h_.metrics.attempts_failed.value(), 0u);
  EXPECT_EQ(h_.metrics.attempts_postponed.value(), 4u);
  h_.Advance(absl::Seconds(1));
  EXPECT_EQ(h_.in_flight(id_), 4);
}

TEST_F(BreakerTest, TwoFailuresFarApartDoNotDisable) {
  h_.transport->Answer(0, Status(500));
  h_.Settle();
  ASSERT_NE(h_.Stored("w").failing_since, absl::InfiniteFuture());
  h_.clock.Advance(absl::Hours(24 * 6));
  h_.transport->Answer(1, Status(500));
  h_.Settle();
  EXPECT_TRUE(h_.Stored("w").enabled);
}

TEST_F(BreakerTest, FailingSinceIsKeptWithTheFirstFailureAndClearedBySuccess) {
  EXPECT_EQ(h_.Stored("w").failing_since, absl::InfiniteFuture());
  const absl::Time first = h_.clock.Now();
  FailAll();
  EXPECT_EQ(h_.Stored("w").failing_since, first);
  h_.Advance(absl::Seconds(7));
  FailAll();
  EXPECT_EQ(h_.Stored("w").failing_since, first);
  h_.Crash();
  h_.Settle();
  EXPECT_EQ(h_.in_flight(id_), 1) << "what was failing is probed after the restart";
  h_.transport->Succeed(0);
  h_.Settle();
  EXPECT_EQ(h_.Stored("w").failing_since, WebhookHealth::kRecovering) << "some was put off";
  while (h_.transport->pending_count() > 0) {
    for (const size_t i : h_.transport->Pending()) h_.transport->Succeed(i);
    h_.Settle();
  }
  EXPECT_EQ(h_.Stored("w").failing_since, absl::InfiniteFuture());
}

TEST_F(BreakerTest, FiveDaysOfNothingButFailuresDisable) {
  const absl::Time first = h_.clock.Now();
  absl::Time next_publish = first;
  while (h_.Stored("w").enabled && h_.clock.Now() < first + absl::Hours(24 * 6)) {
    if (h_.clock.Now() >= next_publish) {
      h_.Publish(50);
      next_publish += absl::Hours(24);
    }
    FailAll();
    h_.Advance(std::min(h_.next_step - h_.clock.Now(), absl::Duration(absl::Hours(24))));
  }
  EXPECT_FALSE(h_.Stored("w").enabled);
  EXPECT_GE(h_.clock.Now() - first, absl::Hours(24 * 5));
  EXPECT_THAT(h_.Stored("w").disabled_reason, HasSubstr("since 2024-01-25T14:04:10+00:00"));
  EXPECT_THAT(h_.Stored("w").disabled_reason, HasSubstr("the receiver answered 500"));
  EXPECT_EQ(h_.metrics.webhooks_disabled.value(), 1);
  EXPECT_EQ(h_.transport->pending_count(), 0);
  EXPECT_GT(h_.Pending(id_).size(), 50) << "what is owed is kept";

  h_.Configure("w", [](Webhook& w) { w.enabled = true; });
  h_.Settle();
  EXPECT_EQ(h_.in_flight(id_), 4) << "enabled again, it begins anew";
  FailAll();
  EXPECT_TRUE(h_.Stored("w").enabled) << "the old failures do not count against it";
}

TEST_F(BreakerTest, GoneDisablesAtOnce) {
  h_.transport->Answer(0, Status(410));
  h_.Settle();
  EXPECT_FALSE(h_.Stored("w").enabled);
  EXPECT_THAT(h_.Stored("w").disabled_reason, HasSubstr("410 Gone"));
  EXPECT_EQ(h_.DeliveryOf(0).delivery.state, DeliveryState::kPending);
  h_.transport->SucceedAll();
  h_.Advance(absl::Hours(1));
  EXPECT_EQ(h_.transport->sent(), 4) << "what was under way ends, nothing new begins";
  EXPECT_EQ(h_.Pending(id_).size(), 97);
  EXPECT_EQ(h_.metrics.queued_deliveries.value(), 0);
}

TEST_F(BreakerTest, DisablingIsTriedAgainWhenTheOutboxIsFull) {
  h_.outbox->SetMaxQueuedWrites(0);
  h_.transport->Answer(0, Status(410));
  h_.Settle();
  EXPECT_TRUE(h_.Stored("w").enabled);
  h_.transport->SucceedAll();
  h_.Settle();
  EXPECT_EQ(h_.transport->sent(), 4) << "nothing is sent meanwhile";
  h_.outbox->SetMaxQueuedWrites(100);
  h_.Advance(absl::Seconds(2));
  EXPECT_FALSE(h_.Stored("w").enabled);
}

TEST_F(BreakerTest, RetryAfterHoldsTheWholeWebhook) {
  h_.transport->Answer(0, Status(429, "60"));
  h_.transport->Succeed(1);
  h_.transport->Succeed(2);
  h_.transport->Succeed(3);
  h_.Advance(absl::Seconds(59));
  EXPECT_EQ(h_.transport->sent(), 4);
  h_.Advance(absl::Seconds(1));
  EXPECT_EQ(h_.transport->sent(), 8);
}

TEST_F(BreakerTest, RetryAfterOfAnotherFailureHoldsTheDeliveryAlone) {
  h_.transport->Answer(0, Status(500, "60"));
  h_.Settle();
  EXPECT_EQ(h_.transport->sent(), 5);
  EXPECT_EQ(h_.DeliveryOf(0).delivery.due, h_.clock.Now() + absl::Seconds(60));
}

}  // namespace
}  // namespace postrider
