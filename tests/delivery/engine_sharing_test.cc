// One bad receiver, or one tenant, costs no other one anything.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

// ---- Slots and turns

TEST(IsolationTest, BlackHolesLeaveSlotsToTheOthers) {
  EngineOptions options;
  options.max_unrecorded = 200;
  EngineHarness h(options);
  std::vector<WebhookId> good;
  for (int i = 0; i < 95; ++i) h.Configure("hole" + std::to_string(i));
  for (int i = 0; i < 5; ++i) good.push_back(h.Configure("good" + std::to_string(i)).id);
  h.Publish(100);
  // The holes never answer.
  for (int turn = 0; turn < 200; ++turn) {
    h.Settle();
    for (const size_t i : h.transport->Pending()) {
      if (std::count(good.begin(), good.end(), h.WebhookOf(i)) > 0) h.transport->Succeed(i);
    }
  }
  for (const WebhookId id : good) EXPECT_EQ(h.Pending(id).size(), 0);
}

TEST(IsolationTest, ATenantThatIsAloneMayUseNearlyAllSlots) {
  EngineOptions options;
  options.max_unrecorded = 1000;
  EngineHarness h(options);
  for (int i = 0; i < 100; ++i) h.Configure(absl::StrCat("hole", i));
  h.Publish(20);
  h.Settle();
  EXPECT_GE(h.transport->pending_count(), 900u);
  EXPECT_LT(h.transport->pending_count(), 1000u);
}

TEST(IsolationTest, ManyHangingWebhooksOfOneTenantDoNotStarveAnother) {
  EngineOptions options;
  options.max_unrecorded = 512;
  EngineHarness h(options);
  h.tenant = "many";
  for (int i = 0; i < 300; ++i) {
    h.Configure(absl::StrCat("hole", i), [](Webhook& w) { w.max_concurrency = 64; });
  }
  h.Publish(20);
  h.Settle();
  const size_t hanging = h.transport->pending_count();
  EXPECT_GE(hanging, 450u);
  h.tenant = "one";
  const WebhookId good = h.Configure("good").id;
  // All that it wants, as long as it answers.
  for (int i = 0; i < 100; ++i) {
    h.Publish(1);
    h.Settle();
    ASSERT_EQ(h.in_flight(good), 1u) << i;
    h.transport->Succeed(h.transport->Pending().back());
    h.Settle();
  }
  // When it wants as many it gets its share, as soon as there is something to share.
  h.Publish(3000);
  h.Configure("good", [](Webhook& w) { w.max_concurrency = 1024; });
  for (int i = 0; i < 1500; ++i) {
    h.Settle();
    const size_t first = h.transport->Pending()[0];
    if (h.WebhookOf(first) == good) break;
    h.transport->Succeed(first);
  }
  EXPECT_GE(h.in_flight(good), 100u);
}

TEST(IsolationTest, ManyWebhooksOfOneTenantTakeOneTurnInTwo) {
  EngineHarness h;
  h.tenant = "many";
  for (int i = 0; i < 300; ++i) h.Configure(absl::StrCat("w", i));
  h.home->RunAll();
  h.Publish(16);
  h.tenant = "one";
  const WebhookId good = h.Configure("good").id;
  h.Publish(4);
  h.home->RunAll();
  h.Step();
  EXPECT_EQ(h.in_flight(good), 4u) << "in the first step";
  EXPECT_LT(h.transport->pending_count(), 40u);
}

TEST(IsolationTest, ManyFailuresDoNotHoldUpASuccess) {
  EngineHarness h;
  h.tenant = "many";
  for (int i = 0; i < 300; ++i) h.Configure(absl::StrCat("w", i));
  h.Publish(4);
  h.Settle();
  ASSERT_EQ(h.transport->pending_count(), 1200u);
  h.tenant = "one";
  const WebhookId good = h.Configure("good", [](Webhook& w) { w.max_concurrency = 1; }).id;
  h.Publish(2);
  h.Settle();
  ASSERT_EQ(h.in_flight(good), 1u);
  for (const size_t i : h.transport->Pending()) {
    if (h.WebhookOf(i) == good) {
      h.transport->Succeed(i);
    } else {
      h.transport->Answer(i, Status(500));
    }
  }
  h.Step();
  EXPECT_EQ(h.metrics.attempts_succeeded.value(), 1u);
  EXPECT_LE(h.metrics.attempts_failed.value(), 32u) << "a step does not take all of them";
  EXPECT_EQ(h.in_flight(good), 1u) << "the next one is under way";
  h.Settle();
  EXPECT_EQ(h.metrics.attempts_failed.value(), 1200u);
}

TEST(IsolationTest, WantOfSocketsIsChargedToNoOrderedWebhookAndNoProbe) {
  EngineOptions options;
  options.failures_to_probe = 2;
  EngineHarness h(options);
  const WebhookId ordered =
      h.Configure("ordered", [](Webhook& w) { w.order = DeliveryOrder::kOrdered; }).id;
  const WebhookId probed = h.Configure("probed").id;
  const std::vector<NotificationId> ids = h.Publish(3);
  h.Settle();
  for (const size_t i : h.transport->Pending()) {
    if (h.WebhookOf(i) == probed) h.transport->Answer(i, Status(500));
  }
  h.Settle();
  const absl::Time since = h.Stored("probed").failing_since;
  const auto budgets = [&] {
    std::vector<int> all;
    for (const WebhookId id : {ordered, probed}) {
      for (const OwedDelivery& owed : h.Pending(id)) all.push_back(owed.attempts);
    }
    return all;
  };
  const std::vector<int> before = budgets();
  for (int i = 0; i < 30; ++i) {
    h.Advance(absl::Seconds(1));
    for (const size_t j : h.transport->Pending()) {
      h.transport->Fail(j, TransferError::kNoResources);
    }
    h.Settle();
  }
  EXPECT_GE(h.metrics.attempts_postponed.value(), 50u);
  EXPECT_EQ(budgets(), before);
  EXPECT_EQ(h.Stored("ordered").failing_since, absl::InfiniteFuture());
  EXPECT_EQ(h.Stored("probed").failing_since, since);
  EXPECT_EQ(h.metrics.probing_webhooks.value(), 1);
  h.Advance(absl::Seconds(2));
  ASSERT_EQ(h.transport->pending_count(), 2u) << "at once when there are sockets again";
  for (const size_t i : h.transport->Pending()) {
    if (h.WebhookOf(i) == ordered) {
      EXPECT_EQ(h.NotificationOf(i), ids[0]);
    }
  }
}

TEST(IsolationTest, ProbesOfManyDeadWebhooksLeaveHalfOfTheSlots) {
  EngineOptions options;
  options.max_unrecorded = 20;
  options.failures_to_probe = 1;
  EngineHarness h(options);
  for (int i = 0; i < 100; ++i) h.Configure("dead" + std::to_string(i));
  h.Publish(2);
  for (int turn = 0; turn < 20; ++turn) {
    h.Settle();
    for (const size_t i : h.transport->Pending()) h.transport->Answer(i, Status(500));
  }
  h.Advance(absl::Minutes(2));
  EXPECT_EQ(h.transport->pending_count(), 10);
  const WebhookId good = h.Configure("good").id;
  h.Publish();
  h.Settle();
  EXPECT_EQ(h.in_flight(good), 1);
}

// ---- Probes that wait for a slot

class StalledTest : public testing::Test {
 protected:
  static EngineOptions Options(size_t slots) {
    EngineOptions options;
    options.max_unrecorded = slots;  // half of them for probes
    options.failures_to_probe = 1;
    return options;
  }
  static void FailAll(EngineHarness& h) {
    for (const size_t i : h.transport->Pending()) h.transport->Fail(i);
    h.Settle();
  }
  // All are dead, and want to be probed.
  static std::vector<WebhookId> Kill(EngineHarness& h, int count) {
    std::vector<WebhookId> dead;
    for (int i = 0; i < count; ++i) dead.push_back(h.Configure(absl::StrCat("dead", i)).id);
    h.Publish();
    h.Settle();
    while (h.metrics.probing_webhooks.value() < count) FailAll(h);
    h.Advance(absl::Minutes(1));
    return dead;
  }
};

TEST_F(StalledTest, TheNextOneGoesWhenTheOneBeforeItWantsItsSlotNoMore) {
  EngineHarness h(Options(2));
  const std::vector<WebhookId> dead = Kill(h, 3);
  ASSERT_EQ(h.transport->pending_count(), 1u);
  // The one that is under way, and the one that waits for its slot, are disabled by their owner.
  const auto disable = [&](WebhookId id) {
    h.Configure(h.heard(id).name, [](Webhook& w) { w.enabled = false; });
  };
  const WebhookId first = h.WebhookOf(h.transport->Pending()[0]);
  disable(first);
  disable(first == dead[0] ? dead[1] : dead[0]);
  h.Settle();
  FailAll(h);
  EXPECT_EQ(h.transport->pending_count(), 1u) << "the third one";
}

TEST_F(StalledTest, OneThatIsMovedDoesNotWaitForTheProbesOfOthers) {
  EngineHarness h(Options(2));
  const std::vector<WebhookId> dead = Kill(h, 2);
  ASSERT_EQ(h.transport->pending_count(), 1u);
  const bool first = h.WebhookOf(h.transport->Pending()[0]) == dead[0];
  h.Configure(first ? "dead1" : "dead0", [](Webhook& w) { w.url = "http://elsewhere/77"; });
  h.Settle();
  EXPECT_EQ(h.transport->pending_count(), 2u);
}

TEST_F(StalledTest, ATenantsManyDeadWebhooksDoNotComeBeforeTheOneOfAnother) {
  EngineHarness h(Options(20));
  h.tenant = "many";
  Kill(h, 60);
  ASSERT_EQ(h.transport->pending_count(), 10u) << "they hang";
  h.tenant = "one";
  const WebhookId one = h.Configure("one").id;
  h.Publish();
  h.Settle();
  h.transport->Fail(h.transport->Pending().back());
  h.Advance(absl::Seconds(10));
  ASSERT_EQ(h.in_flight(one), 0u);
  for (int ended = 0; ended < 2; ++ended) {
    h.transport->Fail(h.transport->Pending()[0]);
    h.Settle();
  }
  EXPECT_EQ(h.in_flight(one), 1u);
}

}  // namespace
}  // namespace postrider
