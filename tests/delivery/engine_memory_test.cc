// What is held in memory, and what stays on disk and is read when its time comes.

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

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

}  // namespace
}  // namespace postrider
