// How soon a receiver that was down hears from us again, and what that costs.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/delivery/early_credit.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

// The longest interval, and what a step may take.
constexpr absl::Duration kAboutAMinute = absl::Seconds(61);

// Answers all with `status`, at once, for so long.
void Answer(EngineHarness& h, absl::Duration how_long, int status) {
  const absl::Time end = h.clock.Steady() + how_long;
  while (true) {
    h.Settle();
    while (h.transport->pending_count() > 0) {
      for (const size_t i : h.transport->Pending()) h.transport->Answer(i, Status(status));
      h.Settle();
      if (testing::Test::HasFatalFailure()) return;
    }
    if (h.next_step >= end) break;
    h.clock.AdvanceTo(h.next_step);
  }
  h.clock.AdvanceTo(end);
  h.Settle();
}

class OutageTest : public testing::TestWithParam<std::tuple<absl::Duration, int, bool>> {};

TEST_P(OutageTest, AReceiverThatIsBackHearsFromUsWithinAMinute) {
  const auto [outage, count, ordered] = GetParam();
  EngineHarness h;
  const WebhookId id = h.Configure("w", [ordered = ordered](Webhook& w) {
                          w.order = ordered ? DeliveryOrder::kOrdered : DeliveryOrder::kUnordered;
                        }).id;
  h.Publish(count);
  Answer(h, outage / 2, 500);
  h.Publish(count);
  Answer(h, outage / 2, 500);
  ASSERT_TRUE(h.Stored("w").enabled);
  const size_t sent = h.transport->sent();
  const std::vector<OwedDelivery> owed = h.Pending(id);
  ASSERT_FALSE(owed.empty());
  h.Advance(kAboutAMinute);
  EXPECT_GT(h.transport->sent(), sent);
  // And it gets all that was put off, not by and by.
  Answer(h, absl::Minutes(1), 200);
  EXPECT_EQ(h.Pending(id).size(), 0u);
  EXPECT_EQ(h.Stored("w").failing_since, absl::InfiniteFuture());
  if (ordered) {
    std::vector<NotificationId> order;
    for (size_t i = sent; i < h.transport->sent(); ++i) order.push_back(h.NotificationOf(i));
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, OutageTest,
    testing::Combine(testing::Values(absl::Minutes(1), absl::Hours(1), absl::Hours(24),
                                     absl::Hours(4 * 24)),
                     testing::Values(1, 30), testing::Bool()),
    [](const auto& test) {
      return absl::StrCat(absl::ToInt64Minutes(std::get<0>(test.param)), "min_",
                          std::get<1>(test.param), std::get<2>(test.param) ? "_ordered" : "");
    });

class PaceTest : public testing::Test {
 protected:
  static EngineOptions Options() {
    EngineOptions options;
    options.failures_to_probe = 3;
    return options;
  }
  // Due again in an hour, after each failure.
  static void Slow(Webhook& w) {
    w.retry_policy.initial_backoff = w.retry_policy.max_backoff = absl::Hours(1);
    w.retry_policy.max_attempts = 5;
  }
  std::vector<size_t> SentIn(absl::Duration time) {
    const size_t before = h_.transport->sent();
    Answer(h_, time, 500);
    std::vector<size_t> sent;
    for (size_t i = before; i < h_.transport->sent(); ++i) sent.push_back(i);
    return sent;
  }

  EngineHarness h_{Options()};
};

TEST_F(PaceTest, AnEarlyProbeIsAnAttemptAndChargedToNothing) {
  const WebhookId id = h_.Configure("w", Slow).id;
  h_.Publish(3);
  Answer(h_, absl::ZeroDuration(), 500);
  const std::vector<OwedDelivery> before = h_.Pending(id);
  ASSERT_EQ(before.size(), 3u);
  const std::vector<size_t> probes = SentIn(absl::Minutes(30));
  EXPECT_GE(probes.size(), 30u) << "one a minute or more";
  EXPECT_LE(probes.size(), 40u);
  const std::vector<OwedDelivery> after = h_.Pending(id);
  ASSERT_EQ(after.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(after[i].due, before[i].due);
    EXPECT_EQ(after[i].budget_attempts, 1);
    EXPECT_EQ(after[i].budget_start, before[i].budget_start);
  }
  int attempts = 0;
  for (const OwedDelivery& owed : after) {
    attempts += owed.attempts;
    EXPECT_NEAR(owed.attempts, 1 + probes.size() / 3.0, 1) << "in turn";
  }
  EXPECT_EQ(attempts, 3 + static_cast<int>(probes.size()));
  const DeliveryWithAttempts first = h_.DeliveryOf(0);
  EXPECT_EQ(first.attempts.size(), static_cast<size_t>(first.delivery.attempts));
  // What is due by its own policy is charged.
  SentIn(absl::Hours(1));
  for (const OwedDelivery& owed : h_.Pending(id)) EXPECT_EQ(owed.budget_attempts, 2);
}

TEST_F(PaceTest, TheHeadOfAnOrderedWebhookIsProbedEarlyAndChargedByItsPolicy) {
  const WebhookId id = h_.Configure("w", [](Webhook& w) {
                           Slow(w);
                           w.order = DeliveryOrder::kOrdered;
                         }).id;
  const std::vector<NotificationId> ids = h_.Publish(3);
  Answer(h_, absl::Minutes(150), 500);
  ASSERT_EQ(h_.metrics.probing_webhooks.value(), 1);
  const int charged = h_.Pending(id)[0].budget_attempts;
  EXPECT_EQ(charged, 3);
  const std::vector<size_t> probes = SentIn(absl::Minutes(10));
  EXPECT_GE(probes.size(), 10u);
  for (const size_t i : probes) EXPECT_EQ(h_.NotificationOf(i), ids[0]);
  EXPECT_EQ(h_.Pending(id)[0].budget_attempts, charged);
  SentIn(absl::Hours(1));
  EXPECT_EQ(h_.Pending(id)[0].budget_attempts, charged + 1);
  SentIn(absl::Hours(2));
  ASSERT_EQ(h_.Pending(id).size(), 2u) << "five attempts: the next one moves up";
  EXPECT_EQ(h_.Pending(id)[0].notification, ids[1]);
}

TEST_F(PaceTest, TheIntervalIsTheWebhooksOwn) {
  h_.Configure("w", [](Webhook& w) {
    Slow(w);
    w.retry_policy.max_probe_interval = absl::Minutes(30);
  });
  h_.Publish(3);
  Answer(h_, absl::ZeroDuration(), 500);
  EXPECT_EQ(SentIn(absl::Minutes(23)).size(), 0u);
  EXPECT_EQ(SentIn(absl::Minutes(8)).size(), 1u);
}

TEST_F(PaceTest, AProbeTakesWhatIsDueByItsOwnPolicyFirst) {
  const WebhookId id = h_.Configure("w", Slow).id;
  h_.Publish(3);
  Answer(h_, absl::ZeroDuration(), 500);
  const NotificationId fresh = h_.Publish()[0];
  const std::vector<size_t> probes = SentIn(absl::Minutes(2));
  ASSERT_GE(probes.size(), 2u);
  EXPECT_EQ(h_.NotificationOf(probes[0]), fresh);
  for (const OwedDelivery& owed : h_.Pending(id)) {
    EXPECT_EQ(owed.budget_attempts, 1) << "and it is charged, what comes after it is not";
  }
}

TEST_F(PaceTest, ASuccessfulValidationEndsTheWaitAndARetryAfterHolds) {
  const Webhook webhook = h_.Configure("w", Slow);
  h_.Publish(3);
  Answer(h_, absl::Minutes(10), 500);
  size_t sent = h_.transport->sent();
  h_.engine->OnValidated(webhook.id, webhook.version - 1);
  h_.Settle();
  EXPECT_EQ(h_.transport->sent(), sent) << "what was tested is not what is configured";
  h_.engine->OnValidated(webhook.id, webhook.version);
  h_.Settle();
  ASSERT_EQ(h_.transport->sent(), ++sent);
  h_.transport->Answer(sent - 1, Status(503, "600"));
  h_.Settle();
  h_.engine->OnValidated(webhook.id, webhook.version);
  // That the test's result is stored changes nothing in that.
  h_.Configure("w", [](Webhook& w) { w.validation_state = ValidationState::kValid; });
  h_.Advance(absl::Seconds(599));
  EXPECT_EQ(h_.transport->sent(), sent);
  h_.Advance(absl::Seconds(1));
  EXPECT_EQ(h_.transport->sent(), sent + 1);
}

TEST_F(PaceTest, ASuccessfulValidationTriesWhatHasBackedOff) {
  // One failure: it is not probed, but what it has is due in an hour.
  const Webhook webhook = h_.Configure("w", Slow);
  h_.Publish();
  Answer(h_, absl::Minutes(1), 500);
  ASSERT_EQ(h_.transport->sent(), 1u);
  h_.engine->OnValidated(webhook.id, webhook.version);
  h_.Settle();
  ASSERT_EQ(h_.transport->sent(), 2u);
  h_.transport->Succeed(1);
  h_.Settle();
  EXPECT_EQ(h_.metrics.probing_webhooks.value(), 0);
  EXPECT_EQ(h_.Pending(webhook.id).size(), 0u);
}

TEST_F(PaceTest, ARetryOfWhatWasNeverAttemptedEndsTheWait) {
  const WebhookId id = h_.Configure("w", Slow).id;
  h_.Publish(3);
  Answer(h_, absl::Minutes(5), 500);
  h_.Publish(50);
  h_.Settle();
  const size_t sent = h_.transport->sent();
  const std::vector<OwedDelivery> owed = h_.Pending(id);
  const auto fresh = std::find_if(owed.begin(), owed.end(),
                                  [](const OwedDelivery& o) { return o.attempts == 0; });
  ASSERT_NE(fresh, owed.end());
  h_.Retry(fresh->id);
  h_.Settle();
  ASSERT_EQ(h_.transport->sent(), sent + 1);
  // But not what the receiver asked for.
  h_.transport->Answer(sent, Status(429, "30"));
  h_.Settle();
  h_.Retry(fresh->id);
  h_.Advance(absl::Seconds(29));
  EXPECT_EQ(h_.transport->sent(), sent + 1);
}

TEST_F(PaceTest, WhatTheOutageHasPutOffIsTriedOnceAndThenByItsOwnPolicy) {
  EngineOptions options = Options();
  options.max_queued_per_webhook = 8;
  EngineHarness h(options);
  const WebhookId id = h.Configure("w", Slow).id;
  h.Publish(40);
  // All are attempted, one a minute, and due again in an hour.
  Answer(h, absl::Minutes(50), 500);
  // It is back, but still refuses every third.
  size_t sent = h.transport->sent();
  const absl::Time end = h.clock.Steady() + absl::Minutes(5);
  while (h.clock.Steady() < end) {
    h.Advance(absl::Seconds(1));
    for (const size_t i : h.transport->Pending()) {
      const bool poison = static_cast<int64_t>(h.DeliveryOf(i).delivery.id) % 3 == 0;
      h.transport->Answer(i, Status(poison ? 500 : 200));
    }
  }
  h.Settle();
  std::vector<OwedDelivery> left = h.Pending(id);
  for (const OwedDelivery& owed : left) EXPECT_EQ(static_cast<int64_t>(owed.id) % 3, 0);
  EXPECT_LE(h.transport->sent() - sent, 40u + 40u) << "no storm";
  EXPECT_GE(left.size(), 5u);
}

// Deliveries that always fail begin a probation, and the next good one ends it: no outage is over.
TEST_F(PaceTest, DeliveriesThatAlwaysFailBesideGoodOnesAreNotTriedAgainAndAgain) {
  constexpr int kPoison = 40;
  EngineHarness h(Options());
  const WebhookId id = h.Configure("w", Slow).id;
  const std::vector<NotificationId> poison = h.Publish(kPoison);
  const auto is_poison = [&](size_t i) {
    return std::find(poison.begin(), poison.end(), h.NotificationOf(i)) != poison.end();
  };
  const auto run = [&](absl::Duration time) {
    const size_t before = h.transport->sent();
    for (const absl::Time end = h.clock.Steady() + time; h.clock.Steady() < end;) {
      h.Publish();
      h.Advance(absl::Seconds(1));
      for (const size_t i : h.transport->Pending()) {
        h.transport->Answer(i, Status(is_poison(i) ? 500 : 200));
      }
    }
    int attempts = 0;
    for (size_t i = before; i < h.transport->sent(); ++i) attempts += is_poison(i) ? 1 : 0;
    return attempts;
  };
  // Their own attempts, what is tried early, and the probes that end with the next good one.
  constexpr int kOwn = 2 * kPoison;
  EXPECT_LE(run(absl::Minutes(50)), kOwn + EarlyCredit::kMost + 50 + 60);
  EXPECT_GE(h.Pending(id).size(), size_t{kPoison});
  EXPECT_LE(run(absl::Hours(1)), kOwn + 60 + 60);
  EXPECT_LE(run(absl::Hours(1)), kOwn + 60 + 60);
}

TEST_F(PaceTest, ManyThatWereDownDoNotWakeTogetherWhenTheProcessBegins) {
  constexpr int kWebhooks = 200;
  for (int i = 0; i < kWebhooks; ++i) h_.Configure(absl::StrCat("w", i), Slow);
  h_.Publish(3);
  Answer(h_, absl::Minutes(5), 500);
  h_.Crash();
  h_.Settle();
  EXPECT_LE(h_.transport->sent(), 10u);
  for (int second = 0; second < 60; ++second) {
    const size_t sent = h_.transport->sent();
    h_.Advance(absl::Seconds(1));
    EXPECT_LE(h_.transport->sent() - sent, 15u);
  }
  EXPECT_EQ(h_.transport->sent(), static_cast<size_t>(kWebhooks)) << "but within a minute";
}

TEST_F(PaceTest, AFullMemoryDoesNotKeepAReceiverThatIsBackFromBeingProbed) {
  EngineOptions options = Options();
  options.max_queued_bytes = 20000;
  EngineHarness h(options);
  const WebhookId id = h.Configure("down", Slow).id;
  h.Publish(3, 1000);
  Answer(h, absl::Minutes(2), 500);
  h.Configure("hole", [](Webhook& w) { w.max_concurrency = 4; });
  h.Publish(100, 1000);  // it does not answer, and holds all the memory
  const size_t sent = h.transport->sent();
  h.Settle();
  for (int i = 0; i < 62; ++i) h.Advance(absl::Seconds(1));
  bool probed = false;
  for (size_t i = sent; i < h.transport->sent(); ++i) probed |= h.WebhookOf(i) == id;
  EXPECT_TRUE(probed);
}

TEST_F(PaceTest, ARetryOfAnEarlyProbeThatWasNotMadeIsNotForgotten) {
  // Nothing may hide that the row on disk is due before what the probe was taken by.
  for (const bool told : {true, false}) {
    EngineHarness h(Options());
    const WebhookId id = h.Configure("w", Slow).id;
    h.Publish(3);
    Answer(h, absl::ZeroDuration(), 500);
    while (h.transport->pending_count() == 0) h.Advance(absl::Seconds(1));
    const size_t probe = h.transport->Pending()[0];
    if (!told) h.leave_on_disk = [] { return true; };
    h.Retry(h.DeliveryOf(probe).delivery.id);
    h.Settle();
    h.transport->Fail(probe, TransferError::kNoResources);
    h.Advance(absl::Seconds(2));
    ASSERT_EQ(h.transport->sent(), probe + 2) << told;
    EXPECT_EQ(h.NotificationOf(probe + 1), h.NotificationOf(probe));
    h.transport->Answer(probe + 1, Status(500));
    h.Settle();
    int charged = 0;
    for (const OwedDelivery& owed : h.Pending(id)) charged += owed.budget_attempts;
    EXPECT_EQ(charged, 4) << "it was due, so it was no early try";
  }
}

}  // namespace
}  // namespace postrider
