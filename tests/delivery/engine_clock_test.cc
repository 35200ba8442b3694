// What becomes of waits, ages and order when the wall clock is set while the process runs.

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

using testing::ElementsAre;

class ClockSetTest : public testing::TestWithParam<absl::Duration> {
 protected:
  void SetClock() { h_.clock.SetWall(h_.clock.Now() + GetParam()); }
  void Fail() {
    for (const size_t i : h_.transport->Pending()) h_.transport->Answer(i, Status(500));
    h_.Settle();
  }

  EngineHarness h_;
};

TEST_P(ClockSetTest, ARetryComesWhenItWouldHaveCome) {
  h_.Configure("w");
  h_.Publish();
  h_.Settle();
  Fail();
  SetClock();
  h_.Advance(absl::Seconds(3));
  EXPECT_EQ(h_.transport->sent(), 1u);
  h_.Advance(absl::Seconds(4));
  EXPECT_EQ(h_.transport->sent(), 2u);
}

TEST_P(ClockSetTest, ARetryThatWaitsOnDiskComesWhenItWouldHaveCome) {
  h_.Configure("w", [](Webhook& w) { w.retry_policy.initial_backoff = absl::Minutes(30); });
  h_.Publish();
  h_.Settle();
  Fail();
  ASSERT_EQ(h_.metrics.queued_deliveries.value(), 0) << "on disk";
  SetClock();
  h_.Advance(absl::Minutes(23));
  EXPECT_EQ(h_.transport->sent(), 1u);
  h_.Advance(absl::Minutes(14));
  EXPECT_EQ(h_.transport->sent(), 2u);
}

TEST_P(ClockSetTest, NoDeliveryDiesOfItAndNoWebhookIsDisabled) {
  EngineOptions options;
  options.failures_to_probe = 2;
  EngineHarness h(options);
  const WebhookId id = h.Configure("w").id;
  h.Publish(20);
  for (int i = 0; i < 4; ++i) {
    h.Settle();
    for (const size_t j : h.transport->Pending()) h.transport->Answer(j, Status(500));
    h.Settle();
    h.clock.SetWall(h.clock.Now() + GetParam());
    h.Advance(absl::Seconds(62));
  }
  EXPECT_EQ(h.metrics.deliveries_dead.value(), 0u);
  EXPECT_EQ(h.Pending(id).size(), 20u);
  EXPECT_TRUE(h.Stored("w").enabled);
  EXPECT_GE(h.transport->sent(), 19u);
}

TEST_P(ClockSetTest, WhatIsPublishedAfterItIsSentAtOnce) {
  EngineOptions options;
  options.max_queued_per_webhook = 2;
  EngineHarness h(options);
  const WebhookId id = h.Configure("w").id;
  h.Publish(8);
  h.Settle();
  for (const size_t i : h.transport->Pending()) h.transport->Answer(i, Status(500));
  h.Settle();
  h.clock.SetWall(h.clock.Now() + GetParam());
  const NotificationId fresh = h.Publish()[0];
  h.Settle();
  ASSERT_EQ(h.in_flight(id), 1u);
  EXPECT_EQ(h.NotificationOf(h.transport->Pending()[0]), fresh);
}

TEST_P(ClockSetTest, TheOrderIsKept) {
  EngineOptions options;
  options.max_queued_per_webhook = 2;
  EngineHarness h(options);
  h.Configure("w", [](Webhook& w) { w.order = DeliveryOrder::kOrdered; });
  std::vector<NotificationId> published;
  const auto publish = [&] {
    for (const NotificationId id : h.Publish(5)) published.push_back(id);
  };
  publish();
  h.Settle();
  h.clock.SetWall(h.clock.Now() + GetParam());
  publish();
  h.Crash();
  publish();
  h.clock.SetWall(h.clock.Now() - GetParam() / 2);
  h.clock.Advance(absl::Seconds(1));
  publish();
  std::vector<NotificationId> sent;
  while (true) {
    h.Settle();
    const std::vector<size_t> pending = h.transport->Pending();
    if (pending.empty()) break;
    ASSERT_EQ(pending.size(), 1u);
    sent.push_back(h.NotificationOf(pending[0]));
    h.transport->Succeed(pending[0]);
  }
  EXPECT_EQ(sent, published);
}

TEST_P(ClockSetTest, AfterARestartWaitsAndAgesAreRightToo) {
  const WebhookId id = h_.Configure("w", [](Webhook& w) {
                           w.retry_policy.initial_backoff = absl::Minutes(10);
                           w.retry_policy.max_age = absl::Hours(1);
                         }).id;
  h_.Publish(2);
  h_.Settle();
  h_.transport->Answer(0, Status(500));
  h_.Settle();
  h_.transport->Succeed(1);
  h_.Settle();
  SetClock();
  h_.Advance(absl::Seconds(1));
  h_.Crash();
  h_.Advance(absl::Minutes(7));
  EXPECT_EQ(h_.transport->sent(), 0u);
  h_.Advance(absl::Minutes(6));
  ASSERT_EQ(h_.transport->sent(), 1u);
  Fail();
  ASSERT_EQ(h_.Pending(id).size(), 1u) << "it is 13 minutes old";
  EXPECT_NEAR(absl::ToDoubleMinutes(h_.clock.Now() - h_.Pending(id)[0].budget_start), 13, 0.1);
}

TEST_P(ClockSetTest, ItIsToldOnce) {
  h_.Configure("w");
  h_.Publish();
  h_.Settle();
  Fail();
  EXPECT_TRUE(h_.clock_offsets.empty());
  SetClock();
  h_.Advance(absl::Seconds(90));
  EXPECT_THAT(h_.clock_offsets, ElementsAre(GetParam()));
  h_.clock.SetWall(h_.clock.Now() + absl::Milliseconds(400));
  h_.Advance(absl::Seconds(90));
  EXPECT_EQ(h_.clock_offsets.size(), 1u) << "NTP slews a clock all the time";
  h_.clock.SetWall(h_.clock.Now() - GetParam());
  h_.Advance(absl::Seconds(90));
  EXPECT_EQ(h_.clock_offsets.size(), 2u);
}

TEST_P(ClockSetTest, AttemptsShowTheTimeOfDay) {
  h_.Configure("w");
  SetClock();
  h_.Publish();
  h_.Settle();
  h_.clock.Advance(absl::Seconds(2));
  Fail();
  const std::vector<Attempt> attempts = h_.DeliveryOf(0).attempts;
  ASSERT_EQ(attempts.size(), 1u);
  EXPECT_EQ(attempts[0].start, h_.clock.Now() - absl::Seconds(2));
  EXPECT_EQ(h_.transport->header(0, "webhook-timestamp"),
            std::to_string(absl::ToUnixSeconds(attempts[0].start)));
}

INSTANTIATE_TEST_SUITE_P(All, ClockSetTest,
                         testing::Values(-absl::Hours(1), -absl::Hours(24 * 3650), absl::Hours(1),
                                         absl::Hours(24 * 8), absl::Hours(24 * 3650)),
                         [](const auto& test) {
                           const int64_t hours = absl::ToInt64Hours(test.param);
                           return std::string(hours < 0 ? "Back" : "Forward") +
                                  std::to_string(hours < 0 ? -hours : hours) + "h";
                         });

}  // namespace
}  // namespace postrider
