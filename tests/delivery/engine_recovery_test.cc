// What becomes of deliveries that an outage has put off, when some of them fail again.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "src/delivery/early_credit.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

class RecoveryTest : public testing::Test {
 protected:
  void Start(EngineOptions options = {}) {
    h_ = std::make_unique<EngineHarness>(options);
    id_ = h_->Configure("w", [](Webhook& w) {
              w.retry_policy.initial_backoff = w.retry_policy.max_backoff = absl::Hours(3);
              w.retry_policy.max_attempts = 50;
              w.max_concurrency = 256;
            }).id;
  }

  // `count` that the receiver refuses whenever they come.
  void PublishRefused(int count) {
    for (const NotificationId id : h_->Publish(count)) refused_.insert(id);
  }
  void AnswerAll() {
    for (const size_t i : h_->transport->Pending()) {
      const bool fails = is_down_ || refused_.contains(h_->NotificationOf(i));
      sent_early_ += h_->DeliveryOf(i).delivery.due > h_->clock.Steady() ? 1 : 0;
      h_->transport->Answer(i, Status(fails ? 500 : 200));
    }
    h_->Settle();
  }
  // `each` is called every second; every minute when it goes on for days.
  template <typename Each>
  void Run(absl::Duration time, Each each) {
    const absl::Duration step = time < absl::Hours(24) ? absl::Seconds(1) : absl::Minutes(1);
    for (const absl::Time end = h_->clock.Steady() + time; h_->clock.Steady() < end;) {
      each();
      h_->Settle();
      while (h_->transport->pending_count() > 0) AnswerAll();
      h_->Advance(step);
    }
    while (h_->transport->pending_count() > 0) AnswerAll();
  }
  void Run(absl::Duration time) {
    Run(time, [] {});
  }
  void Fail(absl::Duration time) {
    is_down_ = true;
    Run(time);
    is_down_ = false;
  }
  // To another receiver, which has failed nothing yet.
  void Move() {
    h_->Configure("w", [this](Webhook& w) {
      w.url = absl::StrCat("http://elsewhere/", static_cast<int64_t>(id_));
    });
  }
  // Until the receiver that is back has heard the first of it.
  void AwaitProbe() {
    for (int i = 0; i < 70 && h_->transport->pending_count() == 0; ++i) {
      h_->Advance(absl::Seconds(1));
    }
    ASSERT_EQ(h_->transport->pending_count(), 1u);
    h_->transport->Succeed(h_->transport->Pending()[0]);
    h_->Settle();
    ASSERT_EQ(h_->engine->HealthOf(id_).state, HealthState::kRecovering);
  }

  size_t Owed() const { return h_->Pending(id_).size(); }
  // Those that the receiver would take.
  int OwedGood() const {
    const std::vector<OwedDelivery> owed = h_->Pending(id_);
    return static_cast<int>(std::count_if(owed.begin(), owed.end(), [this](const auto& o) {
      return !refused_.contains(o.notification);
    }));
  }

  std::unique_ptr<EngineHarness> h_;
  WebhookId id_{};
  std::set<NotificationId> refused_;
  bool is_down_ = false;
  int sent_early_ = 0;
};

TEST_F(RecoveryTest, WhatFailedAgainKeepsNothingNewWaiting) {
  // More of them than a webhook wants to have in memory, due in hours, while what is new comes, and
  // now and then one more of it fails.
  EngineOptions options;
  options.max_queued_per_webhook = 64;
  options.failures_to_probe = 1000;
  Start(options);
  h_->Configure("w", [](Webhook& w) { w.max_concurrency = 4; });
  PublishRefused(40);
  Fail(absl::Minutes(1));
  Move();
  Run(absl::Minutes(5), [&] { h_->Publish(); });
  ASSERT_EQ(Owed(), 40u);
  h_->Configure("w", [](Webhook& w) { w.retry_policy.initial_backoff = absl::Minutes(2); });
  int second = 0;
  Run(absl::Minutes(20), [&] {
    if (++second % 60 == 30) PublishRefused(1);
    h_->Publish();
  });
  EXPECT_EQ(OwedGood(), 0);
}

TEST_F(RecoveryTest, AQueueFullOfWhatFailedAgainEndsIt) {
  EngineOptions options;
  options.max_queued_per_webhook = 8;
  Start(options);
  PublishRefused(20);
  h_->Publish(20);
  Fail(absl::Minutes(45));
  Run(absl::Minutes(5));
  EXPECT_EQ(h_->engine->HealthOf(id_).state, HealthState::kHealthy);
  EXPECT_EQ(h_->Stored("w").failing_since, absl::InfiniteFuture());
}

TEST_F(RecoveryTest, ThoseThatSucceedPayForThoseThatFail) {
  // Each refused one comes before a good one, and there are more of them than credit.
  Start();
  for (int i = 0; i < 300; ++i) {
    PublishRefused(1);
    h_->Publish();
  }
  Fail(absl::Minutes(2));
  Run(absl::Minutes(3));
  EXPECT_EQ(OwedGood(), 0);
}

TEST_F(RecoveryTest, OneThatIsAlwaysRefusedDoesNotStandForAllOthers) {
  // It is the one that is due next, and nothing new comes that would show that the receiver works.
  Start();
  PublishRefused(1);
  h_->Advance(absl::Minutes(30));
  AnswerAll();
  h_->Publish(20);
  Fail(absl::Hours(1));
  Run(absl::Minutes(4));
  EXPECT_EQ(OwedGood(), 0);
}

TEST_F(RecoveryTest, WhenTheCreditIsUsedUpOneAMinuteGoesOn) {
  // However many fail in a row, it is no outage.
  EngineOptions options;
  options.failures_to_probe = 1000;
  Start(options);
  constexpr int kGood = 100;
  for (int i = 0; i < kGood; ++i) {
    PublishRefused(3);
    h_->Publish();
  }
  Fail(absl::Minutes(2));
  sent_early_ = 0;
  Move();
  int second = 0;
  const auto one_a_minute = [&] { h_->Publish(second++ % 60 == 0 ? 1 : 0); };
  Run(absl::Minutes(9), one_a_minute);
  EXPECT_LE(h_->Stored("w").failing_since, h_->clock.Steady()) << "not recovering";
  const int good = OwedGood();
  ASSERT_GT(good, 10);
  const int earned = 2 * (kGood - good);
  EXPECT_LE(sent_early_, EarlyCredit::kMost + earned + 10);
  EXPECT_GE(sent_early_, EarlyCredit::kMost + earned + 5);
  // What waits says until when, at the latest.
  const std::vector<OwedDelivery> owed = h_->Pending(id_);
  const std::optional<Hold> hold = h_->engine->HoldOf({id_, owed.back().id, owed.back().due});
  ASSERT_TRUE(hold.has_value());
  EXPECT_EQ(hold->reason, HoldReason::kNotDue);
  Run(absl::Minutes(30), one_a_minute);
  EXPECT_LE(OwedGood(), good - 1);
}

TEST_F(RecoveryTest, ARelapseWithAllUnderWayDoesNotPutOffTheNextRecovery) {
  Start();
  h_->Publish(1000);
  Fail(absl::Minutes(3));
  AwaitProbe();
  Fail(absl::Minutes(2));
  ASSERT_GT(OwedGood(), 900);
  Run(absl::Minutes(3));
  EXPECT_EQ(OwedGood(), 0);
}

TEST_F(RecoveryTest, TriesThatWeCouldNotMakeCostNoCredit) {
  Start();
  h_->Publish(200);
  Fail(absl::Minutes(2));
  AwaitProbe();
  const size_t sent = h_->transport->sent();
  for (int i = 0; i < 300; ++i) {
    for (const size_t at : h_->transport->Pending()) {
      h_->transport->Fail(at, TransferError::kNoResources);
    }
    h_->Advance(absl::Seconds(1));
  }
  EXPECT_GE(h_->transport->sent() - sent, 300u);
}

TEST_F(RecoveryTest, AnotherReceiverDoesNotPayForTheOneBefore) {
  Start();
  PublishRefused(200);
  Fail(absl::Minutes(2));
  for (int i = 0; i < 20; ++i) {
    h_->Publish();
    Run(absl::Minutes(1));
  }
  ASSERT_EQ(Owed(), 200u) << "there is no credit left";
  refused_.clear();
  h_->clock.Advance(absl::Milliseconds(1));
  Move();
  h_->Settle();
  EXPECT_EQ(h_->in_flight(id_), static_cast<size_t>(EarlyCredit::kMost));
  Run(absl::Seconds(1));
  EXPECT_EQ(Owed(), 0u);
}

TEST_F(RecoveryTest, ARestartMeanwhileLosesNothingOfIt) {
  Start();
  h_->Publish(200);
  Fail(absl::Minutes(3));
  AwaitProbe();
  EXPECT_EQ(h_->Stored("w").failing_since, WebhookHealth::kRecovering);
  ASSERT_GT(Owed(), 150u);
  h_->Crash();
  h_->Settle();
  EXPECT_EQ(h_->transport->pending_count(), 1u) << "it was good a moment ago";
  Run(absl::Minutes(1));
  EXPECT_EQ(Owed(), 0u);
  EXPECT_EQ(h_->Stored("w").failing_since, absl::InfiniteFuture());
}

TEST_F(RecoveryTest, AfterARestartItIsNotDisabledForADayOfTheOutageThatIsOver) {
  Start();
  h_->Configure("w", [](Webhook& w) {
    w.retry_policy.max_age = absl::Hours(24 * 30);
    w.retry_policy.max_attempts = 0;
    w.retry_policy.max_probe_interval = absl::Minutes(30);
  });
  h_->Publish(50);
  Fail(absl::Hours(24 * 4));
  h_->Advance(absl::Minutes(30));
  AwaitProbe();
  h_->Crash();
  Fail(absl::Hours(24 * 2));
  h_->Crash();
  Fail(absl::Hours(24 * 2));
  EXPECT_TRUE(h_->Stored("w").enabled);
  Fail(absl::Hours(24 + 1));
  EXPECT_FALSE(h_->Stored("w").enabled);
}

TEST_F(RecoveryTest, DisablingMeanwhileLosesNothingOfIt) {
  Start();
  h_->Publish(200);
  Fail(absl::Minutes(3));
  AwaitProbe();
  h_->Configure("w", [](Webhook& w) { w.enabled = false; });
  Run(absl::Minutes(1));
  ASSERT_GT(Owed(), 150u);
  h_->Configure("w", [](Webhook& w) { w.enabled = true; });
  Run(absl::Minutes(1));
  EXPECT_EQ(Owed(), 0u);
}

TEST_F(RecoveryTest, ARestartThenDisablingOrAMoveLosesNothingOfIt) {
  for (const bool moved : {false, true}) {
    Start();
    h_->Publish(200);
    Fail(absl::Minutes(3));
    AwaitProbe();
    if (!moved) h_->Configure("w", [](Webhook& w) { w.enabled = false; });
    h_->Crash();
    EXPECT_NE(h_->engine->HealthOf(id_).state, HealthState::kProbing);
    if (moved) {
      Move();
    } else {
      h_->Configure("w", [](Webhook& w) { w.enabled = true; });
    }
    Run(absl::Minutes(1));
    EXPECT_EQ(Owed(), 0u) << moved;
    EXPECT_EQ(h_->Stored("w").failing_since, absl::InfiniteFuture());
  }
}

TEST_F(RecoveryTest, AnOrderedWebhookThatWorksAfterARestartIsNotFailing) {
  Start();
  h_->Configure("w", [](Webhook& w) { w.order = DeliveryOrder::kOrdered; });
  h_->Publish(3);
  Fail(absl::Minutes(3));
  // The machine begins with a clock that is behind.
  h_->clock.SetWall(h_->clock.Now() - absl::Hours(24 * 30));
  h_->Crash();
  Run(absl::Minutes(5));
  EXPECT_EQ(Owed(), 0u);
  EXPECT_EQ(h_->Stored("w").failing_since, absl::InfiniteFuture());
}

TEST_F(RecoveryTest, AnOrderedWebhookHasNothingToCatchUpWith) {
  Start();
  h_->Publish(200);
  Fail(absl::Minutes(3));
  AwaitProbe();
  h_->Configure("w", [](Webhook& w) { w.order = DeliveryOrder::kOrdered; });
  h_->Settle();
  EXPECT_NE(h_->engine->HealthOf(id_).state, HealthState::kProbing);
  EXPECT_EQ(h_->Stored("w").failing_since, absl::InfiniteFuture());
}

}  // namespace
}  // namespace postrider
