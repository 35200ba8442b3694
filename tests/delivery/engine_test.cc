#include "src/delivery/engine.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

using testing::HasSubstr;

// 5 s, 15 s, 45 s, ... with its jitter.
void ExpectAbout(absl::Duration is, double seconds) {
  EXPECT_GE(absl::ToDoubleSeconds(is), 0.79 * seconds);
  EXPECT_LE(absl::ToDoubleSeconds(is), 1.21 * seconds);
}

TransferResult Status(int status, std::string retry_after = "") {
  TransferResult result;
  result.http_status = status;
  result.retry_after = std::move(retry_after);
  return result;
}

// ---- Sending

TEST(EngineTest, SendsWhatIsPublishedAndRecordsIt) {
  EngineHarness h;
  h.Configure("w");
  const NotificationId id = h.Publish()[0];
  h.Settle();
  ASSERT_EQ(h.transport->sent(), 1);
  EXPECT_EQ(h.NotificationOf(0), id);
  EXPECT_FALSE(h.transport->header(0, "webhook-signature").empty());
  EXPECT_EQ(h.transport->header(0, "User-Agent"), "postrider/test");
  EXPECT_EQ(h.metrics.in_flight.value(), 1);
  EXPECT_FALSE(h.engine->idle());

  h.transport->Succeed(0, 204);
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kPending) << "not recorded yet";
  h.Settle();
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kDelivered);
  EXPECT_EQ(h.DeliveryOf(0).attempts.size(), 1);
  EXPECT_TRUE(h.engine->idle());
  EXPECT_EQ(h.metrics.attempts_succeeded.value(), 1);
  EXPECT_EQ(h.metrics.in_flight.value(), 0);
  EXPECT_EQ(h.metrics.queued_bytes.value(), 0);
  EXPECT_EQ(h.next_step, absl::InfiniteFuture());
}

TEST(EngineTest, TheWindowIsHard) {
  EngineHarness h;
  const WebhookId id = h.Configure("w", [](Webhook& w) { w.max_concurrency = 3; }).id;
  h.Publish(20);
  for (int i = 0; i < 20; ++i) {
    h.Settle();
    EXPECT_LE(h.in_flight(id), 3);
    EXPECT_EQ(h.transport->pending_count(), std::min<size_t>(3, 20 - i));
    h.transport->Succeed(h.transport->Pending()[0]);
  }
  h.Settle();
  EXPECT_EQ(h.Pending(id).size(), 0);
  EXPECT_EQ(h.transport->sent(), 20);
}

TEST(EngineTest, WebhooksTakeTurns) {
  EngineOptions options;
  options.max_unrecorded = 12;
  EngineHarness h(options);
  std::vector<WebhookId> ids;
  for (const char* name : {"a", "b", "c"}) ids.push_back(h.Configure(name).id);
  h.Publish(100);
  h.Settle();
  EXPECT_GE(h.transport->pending_count(), 9u);
  for (const WebhookId id : ids) EXPECT_GE(h.in_flight(id), 3u);
}

TEST(EngineTest, AReceiverThatAnswersIsSentAFewInARow) {
  EngineHarness h;
  const WebhookId a = h.Configure("a").id;
  const WebhookId b = h.Configure("b").id;
  h.Publish(100);
  const auto sent_to = [&] {
    std::vector<WebhookId> ids;
    for (const size_t i : h.transport->Pending()) ids.push_back(h.WebhookOf(i));
    return ids;
  };
  h.Settle();
  const std::vector<WebhookId> unknown = sent_to();
  ASSERT_EQ(unknown.size(), 32u);
  for (size_t i = 1; i < unknown.size(); ++i) EXPECT_NE(unknown[i], unknown[i - 1]) << i;
  h.transport->SucceedAll();
  h.Settle();
  const std::vector<WebhookId> answering = sent_to();
  ASSERT_EQ(answering.size(), 32u);
  for (size_t i = 1; i < 16; ++i) EXPECT_EQ(answering[i] == answering[i - 1], i != 8) << i;
  EXPECT_EQ(h.in_flight(a), 16);
  EXPECT_EQ(h.in_flight(b), 16);
}

TEST(EngineTest, AReceiverThatTimesOutIsSentOneAtATime) {
  EngineOptions options;
  options.failures_to_probe = 1000;
  EngineHarness h(options);
  h.Configure("a");
  h.Configure("b");
  h.Publish(100);
  h.Settle();
  for (const size_t i : h.transport->Pending()) {
    TransferResult timeout;
    timeout.error = TransferError::kTimeout;
    h.transport->Answer(i, std::move(timeout));
  }
  h.Settle();
  const std::vector<size_t> pending = h.transport->Pending();
  ASSERT_EQ(pending.size(), 32u);
  for (size_t i = 1; i < pending.size(); ++i) {
    EXPECT_NE(h.WebhookOf(pending[i]), h.WebhookOf(pending[i - 1])) << i;
  }
}

TEST(EngineTest, TheCapOfUnrecordedOutcomesIsHard) {
  EngineOptions options;
  options.max_unrecorded = 40;
  EngineHarness h(options);
  for (int i = 0; i < 10; ++i) h.Configure("w" + std::to_string(i));
  h.outbox->HoldCommits(true);
  h.Publish(20);
  for (int i = 0; i < 30; ++i) {
    h.Settle();
    h.transport->SucceedAll();
  }
  h.Settle();
  const size_t sent = h.transport->sent();
  EXPECT_GE(sent, 36u) << "nearly all: the rest is for another tenant";
  EXPECT_LE(sent, 40u) << "nothing more until something is on disk";
  h.outbox->HoldCommits(false);
  h.Settle();
  EXPECT_GT(h.transport->sent(), sent);
}

TEST(EngineTest, TheRateLimitIsHardFromEndToEnd) {
  EngineHarness h;
  const WebhookId id = h.Configure("w", [](Webhook& w) { w.rate_limit = {10, 2}; }).id;
  h.Publish(30);
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 2) << "the burst";
  EXPECT_EQ(h.next_step, h.clock.Now() + absl::Milliseconds(100)) << "the next token";
  for (int i = 0; i < 20; ++i) {
    h.transport->SucceedAll();
    h.Advance(absl::Milliseconds(100));
  }
  EXPECT_EQ(h.transport->sent(), 22);
  EXPECT_EQ(h.Pending(id).size(), 8 + h.in_flight(id));
}

TEST(EngineTest, AnOrderedWebhookSendsOneAtATimeInOrder) {
  EngineHarness h;
  const WebhookId id = h.Configure("w", [](Webhook& w) { w.order = DeliveryOrder::kOrdered; }).id;
  const std::vector<NotificationId> ids = h.Publish(4);
  h.Settle();
  ASSERT_EQ(h.transport->sent(), 1);
  h.transport->Answer(0, Status(500));
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 1) << "the head blocks the rest while it backs off";
  ExpectAbout(h.next_step - h.clock.Now(), 5);
  h.Advance(absl::Seconds(7));
  ASSERT_EQ(h.transport->sent(), 2);
  h.outbox->HoldCommits(true);
  h.transport->Succeed(1);
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 2) << "and until its outcome is on disk";
  h.outbox->HoldCommits(false);
  for (size_t i = 2; i < 5; ++i) {
    h.Settle();
    ASSERT_EQ(h.in_flight(id), 1);
    h.transport->Succeed(i);
  }
  h.Settle();
  std::vector<NotificationId> sent;
  for (size_t i = 1; i < h.transport->sent(); ++i) sent.push_back(h.NotificationOf(i));
  EXPECT_EQ(sent, ids);
}

TEST(EngineTest, TheOrderOutlivesACrashWhileTheHeadBacksOff) {
  EngineOptions options;
  options.max_queued_per_webhook = 2;
  EngineHarness h(options);
  h.Configure("w", [](Webhook& w) { w.order = DeliveryOrder::kOrdered; });
  const std::vector<NotificationId> ids = h.Publish(10);
  for (int i = 0; i < 3; ++i) {
    h.Settle();
    h.transport->Answer(h.transport->Pending()[0], Status(500));
    h.Settle();
    h.clock.Advance(absl::Seconds(1));
    h.Crash();
    h.Settle();
    ASSERT_EQ(h.transport->sent(), 1);
    EXPECT_EQ(h.NotificationOf(0), ids[0]);
  }
}

// ---- Failing

TEST(EngineTest, AFailureIsRetriedWithABackoff) {
  EngineHarness h;
  h.Configure("w");
  h.Publish();
  h.Settle();
  double delay = 5;
  for (size_t i = 0; i < 5; ++i, delay *= 3) {
    ASSERT_EQ(h.transport->sent(), i + 1);
    h.transport->Fail(i, TransferError::kTimeout, "no answer");
    h.Settle();
    const DeliveryWithAttempts d = h.DeliveryOf(i);
    EXPECT_EQ(d.delivery.attempts, static_cast<int>(i) + 1);
    EXPECT_EQ(d.delivery.last_error, "no answer");
    ExpectAbout(d.delivery.due - h.clock.Now(), delay);
    h.Advance(d.delivery.due - h.clock.Now() - absl::Milliseconds(1));
    ASSERT_EQ(h.transport->sent(), i + 1) << "not before it is due";
    h.Advance(absl::Milliseconds(1));
  }
  EXPECT_EQ(h.transport->sent(), 6);
  EXPECT_EQ(h.metrics.attempts_failed.value(), 5);
}

TEST(EngineTest, ADeliveryWhoseBudgetIsSpentIsDeadUntilItIsRetried) {
  EngineHarness h;
  h.Configure("w", [](Webhook& w) { w.retry_policy.max_attempts = 2; });
  h.Publish();
  h.Settle();
  h.transport->Answer(0, Status(500));
  h.Advance(absl::Minutes(1));
  h.transport->Answer(1, Status(500));
  h.Settle();
  const DeliveryId id = h.DeliveryOf(0).delivery.id;
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kDead);
  EXPECT_EQ(h.metrics.deliveries_dead.value(), 1);
  EXPECT_EQ(h.next_step, absl::InfiniteFuture());

  h.Retry(id);
  h.Settle();
  ASSERT_EQ(h.transport->sent(), 3);
  h.transport->Answer(2, Status(500));
  h.Settle();
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kPending) << "a fresh budget";
  EXPECT_EQ(h.DeliveryOf(0).delivery.attempts, 3);
}

TEST(EngineTest, CancelledTransfersAreNoAttempts) {
  EngineHarness h;
  h.Configure("w");
  h.Publish();
  h.Settle();
  h.engine->BeginDrain();
  h.transport->CancelAll();
  h.Settle();
  EXPECT_TRUE(h.engine->idle());
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kPending);
  EXPECT_EQ(h.DeliveryOf(0).delivery.attempts, 0);
  EXPECT_EQ(h.transport->sent(), 1);
  EXPECT_EQ(h.metrics.attempts_failed.value(), 0);
  h.Crash();
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 1) << "owed as before";
}

TEST(EngineTest, ADrainEndsWhatIsUnderWayAndStartsNothing) {
  EngineHarness h;
  const WebhookId id = h.Configure("w", [](Webhook& w) { w.max_concurrency = 2; }).id;
  h.Publish(5);
  h.Settle();
  h.engine->BeginDrain();
  h.transport->SucceedAll();
  EXPECT_FALSE(h.engine->idle());
  h.Settle();
  EXPECT_TRUE(h.engine->idle());
  h.Publish(3);
  h.Advance(absl::Hours(1));
  EXPECT_EQ(h.transport->sent(), 2);
  EXPECT_EQ(h.Pending(id).size(), 6);
}

// ---- The breaker

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
  EXPECT_EQ(h_.Stored("w").failing_since, absl::InfiniteFuture());
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

// ---- A webhook that is moved while requests to its former address are under way

class MovedTest : public testing::Test {
 protected:
  MovedTest() {
    // As many as make it probed, and some.
    id_ = h_.Configure("w", [](Webhook& w) { w.retry_policy.max_attempts = 1; }).id;
    h_.Publish(16);
    h_.Settle();
    at_a_ = h_.transport->Pending();
    Move();
    h_.Publish(40);
    h_.Settle();
  }

  void Move() {
    h_.Configure("w", [this](Webhook& w) {
      w.url = absl::StrCat("http://b", ++moves_, "/", static_cast<int64_t>(w.id));
    });
  }

  void ExpectUntouched() {
    h_.Settle();
    EXPECT_TRUE(h_.Stored("w").enabled);
    EXPECT_EQ(h_.Stored("w").failing_since, absl::InfiniteFuture());
    EXPECT_EQ(h_.metrics.probing_webhooks.value(), 0);
  }

  EngineHarness h_;
  WebhookId id_{};
  int moves_ = 0;
  std::vector<size_t> at_a_;
};

TEST_F(MovedTest, AGoneOfTheFormerAddressDoesNotDisable) {
  ASSERT_EQ(h_.in_flight(id_), 16) << "they hold their slots while they are under way";
  h_.transport->Answer(at_a_[0], Status(410));
  h_.Settle();
  EXPECT_EQ(h_.DeliveryOf(at_a_[0]).attempts.size(), 1u) << "recorded all the same";
  EXPECT_EQ(h_.in_flight(id_), 16) << "its slot is the new address's";
  ExpectUntouched();
  // Not even when the move is on disk and not heard of yet.
  h_.transport->SucceedAll();
  h_.Settle();
  const size_t at_b = h_.transport->Pending()[0];
  Move();
  h_.transport->Answer(at_b, Status(410));
  h_.Step();
  ExpectUntouched();
}

TEST_F(MovedTest, ARetryAfterOfTheFormerAddressHoldsNothingBack) {
  h_.transport->Answer(at_a_[0], Status(429, "86400"));
  h_.transport->Answer(at_a_[1], Status(503, "86400"));
  h_.Settle();
  EXPECT_EQ(h_.in_flight(id_), 16);
  ExpectUntouched();
}

TEST_F(MovedTest, LateTimeOutsOfTheFormerAddressDoNotPutTheNewOneOnProbation) {
  for (const size_t i : at_a_) h_.transport->Fail(i, TransferError::kTimeout, "no answer");
  h_.Settle();
  EXPECT_EQ(h_.in_flight(id_), 16);
  for (const size_t i : at_a_) EXPECT_EQ(h_.DeliveryOf(i).attempts.size(), 1u);
  ExpectUntouched();
}

TEST_F(MovedTest, ALateSuccessOfTheFormerAddressDoesNotEndTheProbationOfTheNewOne) {
  for (size_t i = 1; i < at_a_.size(); ++i) h_.transport->Succeed(at_a_[i]);
  h_.Settle();
  for (const size_t i : h_.transport->Pending()) {
    if (i != at_a_[0]) h_.transport->Answer(i, Status(500));
  }
  h_.Settle();
  ASSERT_EQ(h_.metrics.probing_webhooks.value(), 1);
  const absl::Time since = h_.Stored("w").failing_since;
  const absl::Time next = h_.next_step;
  h_.transport->Succeed(at_a_[0]);
  h_.Settle();
  EXPECT_EQ(h_.DeliveryOf(at_a_[0]).delivery.state, DeliveryState::kDelivered);
  EXPECT_EQ(h_.metrics.probing_webhooks.value(), 1);
  EXPECT_EQ(h_.in_flight(id_), 0);
  EXPECT_EQ(h_.next_step, next);
  EXPECT_EQ(h_.Stored("w").failing_since, since);
}

TEST_F(MovedTest, AnOrderedDeliveryThatFailedAtTheFormerAddressGoesToTheNewOneAtOnce) {
  EngineHarness h;
  const auto configure = [&](const std::string& host) {
    h.Configure("o", [&](Webhook& w) {
      w.order = DeliveryOrder::kOrdered;
      if (!host.empty()) w.url = absl::StrCat(host, static_cast<int64_t>(w.id));
    });
  };
  configure("");
  h.Publish();
  h.Settle();
  configure("http://b/");
  h.Settle();
  h.transport->Answer(0, Status(503, "3600"));
  h.Settle();
  ASSERT_EQ(h.transport->sent(), 2u);
  EXPECT_THAT(h.transport->request(1).target->url, HasSubstr("http://b/"));
}

// ---- Recording

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

// ---- Memory

TEST(MemoryTest, WhatIsBeyondTheBoundStaysOnDiskAndIsPagedIn) {
  EngineOptions options;
  options.max_queued_per_webhook = 10;
  EngineHarness h(options);
  const WebhookId id = h.Configure("w", [](Webhook& w) { w.max_concurrency = 2; }).id;
  const std::vector<NotificationId> ids = h.Publish(200);
  h.Settle();
  std::vector<NotificationId> sent;
  for (size_t i = 0; i < 200; ++i) {
    EXPECT_LE(h.metrics.queued_deliveries.value(), 10);
    ASSERT_GT(h.transport->sent(), i);
    sent.push_back(h.NotificationOf(i));
    h.transport->Succeed(i);
    h.Settle();
  }
  EXPECT_EQ(sent, ids) << "in the order of their due times";
  EXPECT_EQ(h.Pending(id).size(), 0);
  EXPECT_GE(h.metrics.pages_read.value(), 15);
}

TEST(MemoryTest, ABacklogAtTheStartIsPagedIn) {
  EngineHarness h;
  const WebhookId id = h.Configure("w").id;
  h.Publish(5000);
  h.Crash();
  h.Settle();
  EXPECT_LE(h.metrics.queued_deliveries.value(), 1024);
  while (!h.Pending(id).empty()) {
    h.transport->SucceedAll();
    h.Settle();
    ASSERT_FALSE(HasFatalFailure());
  }
  EXPECT_EQ(h.transport->sent(), 5000);
}

TEST(MemoryTest, WhatIsDueMuchLaterIsNotHeld) {
  EngineHarness h;
  h.Configure("w", [](Webhook& w) { w.retry_policy.initial_backoff = absl::Minutes(10); });
  h.Publish(3);
  h.Settle();
  for (const size_t i : h.transport->Pending()) h.transport->Answer(i, Status(500));
  h.Settle();
  EXPECT_EQ(h.metrics.queued_deliveries.value(), 0);
  h.Advance(absl::Minutes(7));
  EXPECT_EQ(h.metrics.pages_read.value(), 0);
  h.Advance(absl::Minutes(6));
  EXPECT_EQ(h.transport->sent(), 6);
}

TEST(MemoryTest, BytesAreBoundedAndSharedFairly) {
  EngineOptions options;
  options.max_queued_bytes = 100000;
  EngineHarness h(options);
  // Two that do not answer fill the memory before the others come.
  h.Configure("slow1", [](Webhook& w) { w.notification_types = {"T"}; });
  h.Configure("slow2", [](Webhook& w) { w.notification_types = {"T"}; });
  h.Publish(500, 1000);
  h.Settle();
  EXPECT_LE(h.metrics.queued_bytes.value(), 100000);
  std::vector<WebhookId> fast;
  for (const char* name : {"a", "b", "c"}) fast.push_back(h.Configure(name).id);
  h.Publish(100, 1000);
  for (int turn = 0; turn < 300; ++turn) {
    h.Settle();
    EXPECT_LE(h.metrics.queued_bytes.value(), 100000 + 3 * 2000);
    for (const size_t i : h.transport->Pending()) {
      if (std::count(fast.begin(), fast.end(), h.WebhookOf(i)) > 0) h.transport->Succeed(i);
    }
  }
  for (const WebhookId id : fast) EXPECT_EQ(h.Pending(id).size(), 0);
}

TEST(MemoryTest, MoreWebhooksThanFitAreServedInTurn) {
  EngineOptions options;
  options.max_queued_bytes = 5000;
  EngineHarness h(options);
  std::vector<WebhookId> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(h.Configure("w" + std::to_string(i)).id);
  h.Publish(10, 200);
  h.Crash();
  for (int turn = 0; turn < 2000 && h.metrics.attempts_succeeded.value() < 500; ++turn) {
    h.Settle();
    ASSERT_LE(h.metrics.queued_bytes.value(), 5000 + 16 * 600);
    h.transport->SucceedAll();
    if (h.transport->pending_count() == 0) h.clock.Advance(absl::Milliseconds(100));
  }
  h.Settle();
  for (const WebhookId id : ids) EXPECT_EQ(h.Pending(id).size(), 0);
}

// ---- Changes of webhooks

TEST(MemoryTest, WhatWasNotHandedOverIsReadFromDisk) {
  EngineHarness h;
  const WebhookId id = h.Configure("w").id;
  h.Settle();
  h.leave_on_disk = [] { return true; };
  h.Publish(20);
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 16);
  h.transport->SucceedAll();
  h.Settle();
  h.transport->SucceedAll();
  h.Settle();
  EXPECT_EQ(h.Pending(id).size(), 0);
  EXPECT_EQ(h.transport->sent(), 20);
}

TEST(MemoryTest, WhatWasNotHandedOverDoesNotDisturbTheOrder) {
  EngineHarness h;
  h.Configure("w", [](Webhook& w) {
    w.order = DeliveryOrder::kOrdered;
    w.retry_policy.initial_backoff = absl::Seconds(1);
  });
  h.Publish(3);
  h.Settle();
  ASSERT_EQ(h.transport->sent(), 1u);
  h.leave_on_disk = [] { return true; };
  h.Publish();
  h.leave_on_disk = {};
  h.home->RunAll();
  h.transport->Answer(0, Status(500));
  h.Settle();
  h.Advance(absl::Seconds(2));
  ASSERT_EQ(h.transport->sent(), 2u);
  EXPECT_EQ(h.NotificationOf(1), h.NotificationOf(0)) << "the head blocks the rest";
}

TEST(WebhookChangeTest, ADisabledWebhookKeepsWhatIsOwed) {
  EngineHarness h;
  const WebhookId id = h.Configure("w", [](Webhook& w) { w.max_concurrency = 2; }).id;
  h.Publish(10);
  h.Settle();
  h.Configure("w", [](Webhook& w) { w.enabled = false; });
  h.Settle();
  h.transport->SucceedAll();
  h.Advance(absl::Hours(1));
  EXPECT_EQ(h.transport->sent(), 2);
  EXPECT_EQ(h.metrics.queued_bytes.value(), 0);
  EXPECT_EQ(h.Pending(id).size(), 8);
  h.Configure("w", [](Webhook& w) { w.enabled = true; });
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 4);
}

TEST(WebhookChangeTest, ADeletedWebhookIsForgotten) {
  EngineHarness h;
  h.Configure("w", [](Webhook& w) { w.max_concurrency = 2; });
  h.Publish(10);
  h.Settle();
  h.Delete("w");
  h.Settle();
  EXPECT_EQ(h.metrics.queued_deliveries.value(), 0);
  h.transport->SucceedAll();
  h.Settle();
  EXPECT_EQ(h.DeliveryOf(0).delivery.state, DeliveryState::kDelivered) << "recorded all the same";
  EXPECT_EQ(h.transport->sent(), 2);
  EXPECT_EQ(h.metrics.queued_bytes.value(), 0);
  EXPECT_TRUE(h.engine->idle());
}

TEST(WebhookChangeTest, WhatIsOwedToUnknownWebhooksIsPassedOver) {
  EngineHarness h;
  OwedDelivery owed;
  owed.id = DeliveryId{1};
  owed.webhook = WebhookId{12345};
  owed.due = h.clock.Now();
  owed.body = std::make_shared<const std::string>("{}");
  h.engine->OnOwed({owed});
  h.engine->OnWebhookDeleted(WebhookId{12345});
  h.Settle();
  EXPECT_EQ(h.transport->sent(), 0);
}

TEST(WebhookChangeTest, TheNextAttemptIsByTheNewConfiguration) {
  EngineHarness h;
  h.Configure("w", [](Webhook& w) { w.max_concurrency = 1; });
  h.Publish(10);
  h.Settle();
  h.Configure("w", [](Webhook& w) {
    w.max_concurrency = 5;
    w.timeout = absl::Seconds(3);
  });
  h.Settle();
  EXPECT_EQ(h.transport->pending_count(), 5);
  EXPECT_EQ(h.transport->request(0).target->timeout, absl::Seconds(15));
  EXPECT_EQ(h.transport->request(1).target->timeout, absl::Seconds(3));
}

TEST(WebhookChangeTest, AnOldVersionDoesNotReplaceANewOne) {
  EngineHarness h;
  const Webhook old = h.Configure("w", [](Webhook& w) { w.max_concurrency = 1; });
  h.Configure("w", [](Webhook& w) { w.max_concurrency = 3; });
  h.home->RunAll();
  h.engine->OnWebhook(old, true);
  h.Publish(10);
  h.Settle();
  EXPECT_EQ(h.transport->pending_count(), 3);
}

// ---- One bad receiver costs no other receiver anything

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
