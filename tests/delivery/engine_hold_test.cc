// What the engine tells of what it holds back, and why.

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class HoldTest : public testing::Test {
 protected:
  static EngineOptions Options() {
    EngineOptions options;
    options.failures_to_probe = 3;
    options.max_queued_per_webhook = 4;
    return options;
  }

  void FailAll() {
    for (const size_t i : h_.transport->Pending()) h_.transport->Answer(i, Status(500));
    h_.Settle();
  }

  // Of the n-th that is owed, by due time.
  std::optional<Hold> HoldOf(size_t n) {
    const OwedDelivery owed = h_.Pending(id_).at(n);
    return h_.engine->HoldOf({id_, owed.id, owed.due});
  }
  void ExpectHold(size_t n, HoldReason reason) {
    const std::optional<Hold> hold = HoldOf(n);
    ASSERT_TRUE(hold.has_value());
    EXPECT_EQ(static_cast<int>(hold->reason), static_cast<int>(reason)) << hold->detail;
    EXPECT_NE(hold->detail, "");
  }

  void Configure(std::function<void(Webhook&)> change = {}) {
    id_ = h_.Configure("w", std::move(change)).id;
    h_.Settle();
  }

  EngineHarness h_{Options()};
  WebhookId id_{};
};

TEST_F(HoldTest, WhatIsUnderWayIsNotHeldAndWhatWaitsForASlotIs) {
  Configure([](Webhook& w) { w.max_concurrency = 2; });
  h_.Publish(10);
  h_.Settle();
  EXPECT_EQ(HoldOf(0), std::nullopt);
  EXPECT_EQ(HoldOf(1), std::nullopt);
  ExpectHold(2, HoldReason::kConcurrency);
  ExpectHold(9, HoldReason::kConcurrency);  // on disk only
  const Health health = h_.engine->HealthOf(id_);
  EXPECT_EQ(health.state, HealthState::kHealthy);
  EXPECT_EQ(health.last_error, "");
}

TEST_F(HoldTest, ADisabledWebhook) {
  Configure();
  h_.Publish();
  h_.Settle();
  h_.Configure("w", [](Webhook& w) { w.enabled = false; });
  h_.Settle();
  EXPECT_EQ(HoldOf(0), std::nullopt) << "it is under way still";
  FailAll();
  ExpectHold(0, HoldReason::kDisabled);
  EXPECT_EQ(h_.engine->HealthOf(id_).state, HealthState::kDisabled);
  EXPECT_EQ(h_.engine->HealthOf(WebhookId{77}).state, HealthState::kDisabled);
}

TEST_F(HoldTest, ARetryAfter) {
  Configure();
  h_.Publish();
  h_.Settle();
  h_.clock.SetWall(h_.clock.Now() + absl::Hours(5));
  h_.transport->Answer(0, Status(429, "60"));
  h_.Settle();
  ExpectHold(0, HoldReason::kRetryAfter);
  EXPECT_EQ(HoldOf(0)->until, h_.clock.Now() + absl::Seconds(60)) << "by the wall clock";
  EXPECT_EQ(h_.engine->HealthOf(id_).next_attempt, h_.clock.Now() + absl::Seconds(60));
  EXPECT_THAT(h_.engine->HealthOf(id_).last_error, HasSubstr("429"));
}

TEST_F(HoldTest, AProbationIsToldFromItsBeginningToItsEnd) {
  Configure();
  h_.Publish(20);
  h_.Settle();
  const absl::Time since = h_.clock.Now();
  FailAll();
  ExpectHold(0, HoldReason::kProbing);
  ExpectHold(19, HoldReason::kProbing);
  EXPECT_EQ(HoldOf(0)->start, since);
  EXPECT_EQ(HoldOf(0)->until, h_.next_step);
  EXPECT_THAT(HoldOf(0)->detail, HasSubstr("the receiver answered 500"));
  Health health = h_.engine->HealthOf(id_);
  EXPECT_EQ(health.state, HealthState::kProbing);
  EXPECT_EQ(health.start, since);
  EXPECT_EQ(health.next_attempt, h_.next_step);
  EXPECT_THAT(health.last_error, HasSubstr("the receiver answered 500"));
  EXPECT_THAT(h_.held_log, ElementsAre(HasSubstr("w held back: the receiver answered 500")));

  h_.Advance(absl::Seconds(7));
  ASSERT_EQ(h_.transport->pending_count(), 1u);
  h_.transport->Succeed(h_.transport->Pending()[0]);
  h_.Settle();
  health = h_.engine->HealthOf(id_);
  EXPECT_EQ(health.state, HealthState::kRecovering);
  EXPECT_EQ(health.last_error, "");
  EXPECT_EQ(h_.held_log.size(), 2u);
  EXPECT_EQ(h_.held_log[1], "w let go");
  while (h_.transport->pending_count() > 0) {
    h_.transport->SucceedAll();
    h_.Settle();
  }
  EXPECT_EQ(h_.engine->HealthOf(id_).state, HealthState::kHealthy);
}

TEST_F(HoldTest, AnOrderedWebhook) {
  Configure([](Webhook& w) { w.order = DeliveryOrder::kOrdered; });
  h_.Publish(10);
  h_.Settle();
  EXPECT_EQ(HoldOf(0), std::nullopt);
  ExpectHold(1, HoldReason::kOrder);
  ExpectHold(9, HoldReason::kOrder);
  FailAll();
  ExpectHold(0, HoldReason::kNotDue);
  EXPECT_EQ(HoldOf(0)->until, h_.next_step);
  ExpectHold(1, HoldReason::kOrder);
  ExpectHold(9, HoldReason::kOrder);
}

TEST_F(HoldTest, WhatHasFailedIsNotDue) {
  Configure();
  h_.Publish();
  h_.Settle();
  FailAll();
  ExpectHold(0, HoldReason::kNotDue);
  EXPECT_EQ(HoldOf(0)->until, h_.Pending(id_)[0].due);
}

TEST_F(HoldTest, ARateLimit) {
  Configure([](Webhook& w) { w.rate_limit = {0.1, 1}; });
  h_.Publish(3);
  h_.Settle();
  EXPECT_EQ(HoldOf(0), std::nullopt);
  ExpectHold(1, HoldReason::kRateLimited);
  EXPECT_EQ(HoldOf(1)->until, h_.clock.Now() + absl::Seconds(10));
}

TEST_F(HoldTest, WantOfOurOwnResources) {
  Configure();
  h_.Publish(2);
  h_.Settle();
  h_.transport->Fail(0, TransferError::kNoResources);
  h_.Settle();
  ExpectHold(0, HoldReason::kResources);
  EXPECT_EQ(HoldOf(0)->until, h_.clock.Now() + absl::Seconds(1));
  EXPECT_EQ(h_.engine->HealthOf(id_).last_error, "") << "it is not the receiver's fault";
  EXPECT_THAT(h_.held_log, IsEmpty());
  h_.Advance(absl::Seconds(1));
  EXPECT_EQ(HoldOf(0), std::nullopt);
  h_.outbox->FailWrites(3, absl::ResourceExhaustedError("the disk is full"));
  h_.transport->SucceedAll();
  h_.Settle();
  h_.Publish(1);
  h_.Settle();
  const size_t owed = h_.Pending(id_).size();
  ExpectHold(owed - 1, HoldReason::kResources);
}

TEST_F(HoldTest, AnotherReceiverHasNoErrorOfTheOneBefore) {
  Configure();
  h_.Publish();
  h_.Settle();
  FailAll();
  ASSERT_THAT(h_.engine->HealthOf(id_).last_error, HasSubstr("500"));
  h_.Configure("w", [](Webhook& w) { w.url += "0"; });
  h_.Settle();
  EXPECT_EQ(h_.engine->HealthOf(id_).last_error, "");
}

TEST_F(HoldTest, WhatHasFailedSinceTheOutageIsNotDueThoughTheRestCatchesUp) {
  Configure([](Webhook& w) { w.retry_policy.initial_backoff = absl::Hours(1); });
  h_.Publish(4);
  h_.Settle();
  FailAll();
  for (int probe = 0; probe < 5; ++probe) {
    h_.Advance(absl::Minutes(1));
    FailAll();
  }
  h_.Advance(absl::Minutes(1));
  h_.transport->SucceedAll();
  h_.Settle();
  ASSERT_EQ(h_.transport->pending_count(), 2u);
  const size_t second = h_.transport->Pending()[0];
  const DeliveryId failed = h_.DeliveryOf(second).delivery.id;
  h_.transport->Answer(second, Status(500));
  h_.Settle();
  ASSERT_EQ(h_.engine->HealthOf(id_).state, HealthState::kRecovering);
  const std::vector<OwedDelivery> owed = h_.Pending(id_);
  const auto found = std::find_if(owed.begin(), owed.end(),
                                  [&](const OwedDelivery& o) { return o.id == failed; });
  ASSERT_NE(found, owed.end());
  const std::optional<Hold> hold = h_.engine->HoldOf({id_, failed, found->due});
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(static_cast<int>(hold->reason), static_cast<int>(HoldReason::kNotDue));
}

TEST(ProbeHoldTest, AProbeForWhichNoSlotIsLeftWaitsForResources) {
  EngineOptions options;
  options.max_unrecorded = 2;  // one of them for a probe
  options.failures_to_probe = 1;
  EngineHarness h(options);
  const WebhookId first = h.Configure("first").id;
  const WebhookId second = h.Configure("second").id;
  h.Publish();
  h.Settle();
  for (const size_t i : h.transport->Pending()) h.transport->Fail(i);
  h.Advance(absl::Minutes(1));
  ASSERT_EQ(h.transport->pending_count(), 1u);
  const WebhookId waits = h.in_flight(first) > 0 ? second : first;
  const OwedDelivery owed = h.Pending(waits).at(0);
  const std::optional<Hold> hold = h.engine->HoldOf({waits, owed.id, owed.due});
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(static_cast<int>(hold->reason), static_cast<int>(HoldReason::kResources));
}

}  // namespace
}  // namespace postrider
