// Drives engines through random lives: small bounds, so that the horizon is always in the way, and
// everything that may go wrong. To replay one: POSTRIDER_SEED=n engine_test --gtest_filter=*Model*.

#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/delivery/engine_harness.h"

namespace postrider {
namespace {

constexpr int kWorlds = 100;
constexpr int kActions = 600;

class World {
 public:
  explicit World(uint64_t seed) : random_(seed), h_(RandomOptions(), seed + 1) {
    if (OneIn(2)) h_.leave_on_disk = [this] { return OneIn(3); };
    const int webhooks = 1 + Below(5);
    for (int i = 0; i < webhooks; ++i) AddWebhook();
  }

  void Live() {
    for (int i = 0; i < kActions && !testing::Test::HasFailure(); ++i) {
      Act();
      Check();
    }
    Heal();
  }

 private:
  static constexpr size_t kMaxBody = 400;

  int Below(int n) { return static_cast<int>(random_.Next() % static_cast<uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }
  template <typename T>
  const T& Any(const std::vector<T>& values) {
    return values[Below(static_cast<int>(values.size()))];
  }

  EngineOptions RandomOptions() {
    EngineOptions options;
    options.max_queued_per_webhook = 1 + Below(8);
    options.max_queued_bytes = 300 + Below(12000);
    options.max_unrecorded = 1 + Below(24);
    options.record_linger = OneIn(2) ? absl::Milliseconds(2) : absl::ZeroDuration();
    options.failures_to_probe = 1 + Below(5);
    options.disable_after = OneIn(4) ? absl::Minutes(5) : absl::Hours(100000);
    return options;
  }

  void AddWebhook() {
    const std::string name = absl::StrCat("w", names_made_++);
    names_.push_back(name);
    h_.Configure(name, [this](Webhook& w) {
      w.max_concurrency = 1 + Below(4);
      w.order = OneIn(3) ? DeliveryOrder::kOrdered : DeliveryOrder::kUnordered;
      if (OneIn(4)) w.rate_limit = {0.5 + Below(5), 1 + Below(3)};
      w.retry_policy.initial_backoff = absl::Milliseconds(100 + Below(20000));
      w.retry_policy.multiplier = 1 + Below(3);
      w.retry_policy.max_backoff = absl::Seconds(1 + Below(120));
      w.retry_policy.max_age = absl::Hours(100000);
      if (OneIn(4)) w.retry_policy.max_attempts = 1 + Below(6);
    });
  }

  void Act() {
    switch (Below(32)) {
      case 0:
      case 1:
      case 2:
        h_.Publish(1 + Below(OneIn(10) ? 20 : 4), Below(kMaxBody));
        break;
      case 3:
      case 4:
      case 5:
      case 6:
      case 7:
      case 8:
      case 9:
        AnswerOne(OneIn(2));
        break;
      case 10:
      case 11:
      case 12:
        h_.outbox->Commit(1 + Below(3));
        break;
      case 13:
      case 14:
      case 15:
        h_.outbox->AnswerOne();
        break;
      case 16:
      case 17:
      case 18:
        h_.home->RunOne();
        break;
      case 19:
      case 20:
      case 21:
      case 22:
        h_.Step();
        break;
      case 23:
        h_.clock.Advance(absl::Milliseconds(Below(3000)));
        break;
      case 24:
        h_.Step();
        Check();
        if (h_.next_step < h_.clock.Steady() + absl::Hours(1)) h_.clock.AdvanceTo(h_.next_step);
        break;
      case 25:
        if (clock_jumps_ && OneIn(4)) {
          h_.clock.SetWall(h_.clock.Now() + absl::Milliseconds(Below(4000) - 1000));
        }
        h_.Settle();
        break;
      case 26:
        if (OneIn(3)) {
          h_.outbox->FailWrites(1 + Below(3), absl::ResourceExhaustedError("the disk is full"));
        }
        break;
      case 27:
        h_.outbox->HoldCommits(OneIn(3));
        break;
      case 28:
        RetrySome();
        break;
      case 29:
        if (OneIn(3)) Reconfigure();
        if (OneIn(3)) {
          const Webhook webhook = h_.Stored(Any(names_));
          h_.engine->OnValidated(webhook.id, webhook.version);
        }
        CheckHolds(h_.Stored(Any(names_)).id);
        break;
      case 30:
        if (OneIn(4)) Crash();
        break;
      case 31:
        for (int i = Below(4); i > 0; --i) AnswerOne(true);
        h_.Settle();
        break;
    }
  }

  void AnswerOne(bool well) {
    const std::vector<size_t> pending = h_.transport->Pending();
    if (pending.empty()) return;
    const size_t i = Any(pending);
    in_flight_.erase(Key(i));
    TransferResult result;
    result.latency = absl::Milliseconds(Below(100));
    result.http_status = 200;
    if (!well) {
      switch (Below(5)) {
        case 0:
          result.error = TransferError::kTimeout;
          result.message = "no answer within 15 s";
          result.http_status = 0;
          break;
        case 1:
          result.http_status = 429;
          result.retry_after = absl::StrCat(Below(100));
          break;
        case 2:
          result.http_status = OneIn(4) ? 410 : 404;
          break;
        default:
          result.http_status = 500;
      }
    }
    h_.transport->Answer(i, std::move(result));
  }

  void RetrySome() {
    DeliveryFilter filter;
    filter.tenant = "default";
    filter.limit = 1000;
    const DeliveryPage page = *h_.store.ListDeliveries(filter);
    for (const Delivery& d : page.rows) {
      if (!OneIn(20)) continue;
      const auto webhook = h_.store.GetWebhook("default", d.webhook_name);
      if (!webhook.ok() || d.state == DeliveryState::kDelivered) continue;
      // What was dead comes after what was published later: then there is no order to check.
      if (webhook->order == DeliveryOrder::kOrdered && d.state != DeliveryState::kPending) continue;
      // So does one whose place on disk is the time of the retry, once the process has died.
      if (webhook->order == DeliveryOrder::kOrdered) retried_ordered_.insert(d.webhook);
      h_.Retry(d.id);
    }
  }

  void Reconfigure() {
    const std::string name = Any(names_);
    if (OneIn(12) && names_.size() > 1) {
      h_.Delete(name);
      std::erase(names_, name);
      AddWebhook();
      return;
    }
    h_.Configure(name, [this](Webhook& w) {
      if (OneIn(2)) w.enabled = !w.enabled;
      if (OneIn(2)) w.max_concurrency = 1 + Below(4);
      if (OneIn(4)) {
        w.url = absl::StrCat("http://moved", Below(3), "/", static_cast<int64_t>(w.id));
      }
    });
  }

  void Crash() {
    // Sometimes the disk is the reason; then what was queued may be on it or not.
    if (OneIn(3)) {
      h_.outbox->BreakDisk(OneIn(2));
      for (int i = Below(10); i > 0; --i) {
        h_.outbox->Commit(1);
        h_.outbox->AnswerOne();
        h_.home->RunOne();
        h_.Step();
        Check();
      }
    }
    h_.Crash();
    in_flight_.clear();
    sends_.clear();
    seen_ = 0;
  }

  std::pair<WebhookId, NotificationId> Key(size_t i) const {
    return {h_.WebhookOf(i), h_.NotificationOf(i)};
  }

  // Looks at what was sent since the last time.
  void Check() {
    for (; seen_ < h_.transport->sent(); ++seen_) CheckSent(seen_);
    const EngineOptions& o = h_.options;
    ASSERT_LE(h_.transport->pending_count(), o.max_unrecorded);
    ASSERT_LE(h_.metrics.queued_deliveries.value(),
              static_cast<int64_t>(o.max_queued_per_webhook * (names_.size() + 8)));
    // Beyond the bound: one row of every read that is under way.
    ASSERT_LE(h_.metrics.queued_bytes.value(),
              static_cast<int64_t>(o.max_queued_bytes + 8 * (kMaxBody + 600)));
  }

  void CheckSent(size_t i) {
    ASSERT_TRUE(in_flight_.insert(Key(i)).second) << "sent twice at once";
    const WebhookId id = h_.WebhookOf(i);
    const Webhook& webhook = h_.heard(id);
    const Delivery delivery = h_.DeliveryOf(i).delivery;
    const bool deleted = !h_.store.GetWebhook("default", webhook.name).ok();
    if (!deleted) {
      ASSERT_EQ(delivery.state, DeliveryState::kPending) << "sent though it is settled";
      // What has failed may be tried early, to see whether the receiver is back.
      if (delivery.attempts == 0) {
        ASSERT_LE(delivery.due, h_.clock.Steady()) << "sent before it is due";
      }
    }
    ASSERT_TRUE(webhook.enabled) << "sent to a disabled webhook";
    size_t under_way = 0;
    for (const auto& [other, notification] : in_flight_) under_way += other == id;
    const bool ordered = webhook.order == DeliveryOrder::kOrdered;
    ASSERT_LE(under_way, ordered ? 1 : webhook.max_concurrency) << "the window is hard";
    if (ordered && !deleted && !clock_jumps_ && !retried_ordered_.contains(id)) {
      const std::vector<OwedDelivery> pending = h_.Pending(id);
      for (const OwedDelivery& owed : pending) {
        ASSERT_LE(delivery.id, owed.id) << "sent before one that was published earlier";
      }
    }
    CheckRate(id, webhook.rate_limit);
  }

  // What is told of what is owed, against what the world knows.
  void CheckHolds(WebhookId id) {
    const Health health = h_.engine->HealthOf(id);
    for (const OwedDelivery& owed : h_.Pending(id)) {
      const std::optional<Hold> hold = h_.engine->HoldOf({id, owed.id, owed.due});
      if (in_flight_.contains({id, owed.notification})) {
        ASSERT_FALSE(hold.has_value()) << "it is under way: " << hold->detail;
      }
      if (!hold.has_value()) continue;
      ASSERT_EQ(hold->reason == HoldReason::kDisabled, health.state == HealthState::kDisabled);
      ASSERT_FALSE(hold->detail.empty());
      ASSERT_GT(hold->until, h_.clock.Now() - absl::Seconds(1)) << hold->detail;
    }
  }

  void CheckRate(WebhookId id, const RateLimit& limit) {
    if (limit.per_second == 0) return;
    auto& sends = sends_[id];
    sends.push_back(h_.clock.Monotonic());
    for (size_t i = 0; i < sends.size(); ++i) {
      const double seconds = absl::ToDoubleSeconds(sends.back() - sends[i]);
      ASSERT_LE(static_cast<double>(sends.size() - i),
                limit.burst + seconds * limit.per_second + 1e-6)
          << "the rate limit is hard";
    }
  }

  // From now on all goes well: then everything must arrive.
  void Heal() {
    h_.outbox->HoldCommits(false);
    h_.leave_on_disk = {};
    h_.outbox->FailWrites(0, absl::InternalError("not used"));
    for (int turn = 0; turn < 20000 && !testing::Test::HasFailure(); ++turn) {
      h_.Settle();
      Check();
      for (const std::string& name : names_) {
        if (!h_.Stored(name).enabled) h_.Configure(name, [](Webhook& w) { w.enabled = true; });
      }
      if (h_.transport->pending_count() > 0) {
        AnswerOne(true);
      } else if (h_.home->empty()) {
        if (h_.next_step == absl::InfiniteFuture()) break;
        h_.clock.AdvanceTo(h_.next_step);
      }
    }
    if (testing::Test::HasFailure()) return;
    for (const std::string& name : names_) {
      ASSERT_EQ(h_.Pending(h_.Stored(name).id).size(), 0)
          << "forgotten: " << name << ", enabled " << h_.Stored(name).enabled << ", ordered "
          << (h_.Stored(name).order == DeliveryOrder::kOrdered) << ", first due in "
          << h_.Pending(h_.Stored(name).id)[0].due - h_.clock.Now();
    }
    EXPECT_TRUE(h_.engine->idle());
    EXPECT_EQ(h_.metrics.queued_deliveries.value(), 0);
    EXPECT_EQ(h_.metrics.queued_bytes.value(), 0);
    EXPECT_EQ(h_.metrics.in_flight.value(), 0);
    EXPECT_EQ(h_.metrics.probing_webhooks.value(), 0);
  }

  SeededRandom random_;
  // Then due times do not follow the order of publishing.
  const bool clock_jumps_ = OneIn(3);
  EngineHarness h_;
  std::vector<std::string> names_;
  int names_made_ = 0;
  size_t seen_ = 0;
  std::set<std::pair<WebhookId, NotificationId>> in_flight_;
  std::set<WebhookId> retried_ordered_;
  std::map<WebhookId, std::vector<absl::Duration>> sends_;
};

TEST(EngineModelTest, WhateverHappensEverythingArrives) {
  uint64_t first = 1;
  uint64_t count = kWorlds;
  if (const char* const seed = std::getenv("POSTRIDER_SEED")) {
    ASSERT_TRUE(absl::SimpleAtoi(seed, &first));
    count = 1;
  }
  if (const char* const worlds = std::getenv("POSTRIDER_WORLDS")) {
    ASSERT_TRUE(absl::SimpleAtoi(worlds, &count));
  }
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(absl::StrCat("POSTRIDER_SEED=", seed));
    World(seed).Live();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace postrider
