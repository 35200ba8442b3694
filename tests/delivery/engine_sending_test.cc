// What is sent, in which order and how fast, and what becomes of what fails.

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

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

}  // namespace
}  // namespace postrider
