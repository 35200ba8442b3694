// What a change of a webhook means for what it is owed and what is under way.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

using testing::HasSubstr;

// ---- Changes of webhooks

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
    EXPECT_GE(h_.Stored("w").failing_since, WebhookHealth::kRecovering);
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

}  // namespace
}  // namespace postrider
