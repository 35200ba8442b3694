#include "src/server/app/pump.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"
#include "tests/support/http_sink.h"
#include "tests/support/memory_outbox.h"

namespace postrider {
namespace {

// One pump over an outbox in memory. What the outbox has to say comes on the test's thread.
class PumpTest : public ::testing::Test {
 protected:
  PumpTest() {
    auto created = Pump::Create({"1.2.3"}, SystemClock(), policy_, outbox_, 7);
    EXPECT_TRUE(created.ok()) << created.status();
    pump_ = *std::move(created);
  }
  ~PumpTest() override { pump_.reset(); }

  void Start() {
    pump_->Start([this] {
      MutexLock lock(&mutex_);
      ++idle_calls_;
      changed_.SignalAll();
    });
  }

  int WaitForIdleCalls() {
    MutexLock lock(&mutex_);
    while (idle_calls_ == 0) {
      if (!changed_.WaitFor(&mutex_, absl::Seconds(60))) break;
    }
    return idle_calls_;
  }

  // What the transport answers to one request to the sink.
  TransferResult Send() {
    Mutex mutex;
    CondVar came;
    std::optional<TransferResult> result;
    auto target = std::make_shared<HttpTarget>();
    target->url = sink_.Url();
    target->timeout = absl::Seconds(60);
    pump_->executor().Post([&, target] {
      TransferRequest request;
      request.target = target;
      request.body = std::make_shared<const std::string>("{}");
      pump_->transport().Send(std::move(request), [&](TransferResult got) {
        MutexLock lock(&mutex);
        result = std::move(got);
        came.SignalAll();
      });
    });
    MutexLock lock(&mutex);
    while (!result.has_value()) came.Wait(&mutex);
    return *std::move(result);
  }

  HttpSink sink_;
  MemoryStore store_;
  MemoryOutbox outbox_{SystemClock(), store_, nullptr};
  AddressPolicy policy_{{*Cidr::Parse("127.0.0.0/8")}};
  std::unique_ptr<Pump> pump_;

  Mutex mutex_;
  CondVar changed_;
  int idle_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST_F(PumpTest, MayEndWithoutHavingBegun) {
  pump_->Join();
  pump_->BeginDrain();
  pump_->Abandon();
  EXPECT_FALSE(pump_->idle());
}

TEST_F(PumpTest, JoinIsIdempotent) {
  Start();
  pump_->Join();
  pump_->Join();
}

TEST_F(PumpTest, APumpWithNothingToDoIsIdleOnceItDrainsAndSaysSoOnce) {
  Start();
  EXPECT_EQ(Send().http_status, 200);
  EXPECT_FALSE(pump_->idle());
  pump_->BeginDrain();
  EXPECT_EQ(WaitForIdleCalls(), 1);
  EXPECT_TRUE(pump_->idle());
  pump_->BeginDrain();
  pump_->Join();
  EXPECT_EQ(WaitForIdleCalls(), 1);
}

TEST_F(PumpTest, AbandonBreaksOffWhatIsUnderWay) {
  sink_.SetScript([](const SinkRequest&) { return SinkAnswer{.way = SinkAnswer::Way::kHang}; });
  Start();
  std::thread abandoner([this] {
    EXPECT_TRUE(sink_.WaitForRequests(1));
    pump_->Abandon();
  });
  EXPECT_EQ(Send().error, TransferError::kCancelled);
  abandoner.join();
}

TEST_F(PumpTest, CountsWhatItDoes) {
  Start();
  Send();
  Send();
  EXPECT_EQ(pump_->metrics().transport.connections_opened.value(), 1u);
  EXPECT_EQ(pump_->metrics().transport.connections_reused.value(), 1u);
  EXPECT_EQ(sink_.connection_count(), 1u);
}

// Two pumps, of which the first one has a webhook with much to deliver, and no time. The outbox's
// side is the test's thread.
class TwoPumpsTest : public ::testing::Test, public OutboxListener {
 protected:
  static constexpr int kConcurrency = 64;

  TwoPumpsTest() {
    for (int i = 0; i < 2; ++i) {
      auto created = Pump::Create({"1.2.3"}, SystemClock(), policy_, outbox_, 7);
      EXPECT_TRUE(created.ok()) << created.status();
      pumps_.push_back(*std::move(created));
    }
    Pump::Connect(pumps_);
    for (const auto& pump : pumps_) pump->Start(nullptr);
    KeepBusy();
    // By then its loop has noticed.
    const absl::Duration deadline = SystemClock().Monotonic() + absl::Seconds(60);
    while (busy_ms_ < 20 && SystemClock().Monotonic() < deadline) std::this_thread::yield();
  }
  ~TwoPumpsTest() override {
    rest_ = true;
    for (const auto& pump : pumps_) pump->BeginDrain();
    for (const auto& pump : pumps_) pump->Join();
    outbox_.RunPending();
  }

  void OnOwed(std::vector<OwedDelivery> deliveries) override {
    first().executor().Post([this, deliveries = std::move(deliveries)]() mutable {
      first().engine().OnOwed(std::move(deliveries));
    });
  }
  void OnWebhookChanged(const Webhook& webhook) override {
    first().executor().Post(
        [this, webhook] { first().engine().OnWebhook(webhook, /*owed=*/false); });
  }
  void OnWebhookDeleted(WebhookId) override {}

  // Its thread works, and never waits.
  void KeepBusy() {
    if (rest_) return;
    const absl::Duration until = SystemClock().Monotonic() + absl::Milliseconds(1);
    while (SystemClock().Monotonic() < until) continue;
    ++busy_ms_;
    first().executor().Post([this] { KeepBusy(); });
  }

  void Configure() {
    outbox_.ModifyWebhook(
        "default", "hook",
        [this](const std::optional<Webhook>&) {
          Webhook webhook;
          webhook.url = sink_.Url();
          webhook.enabled = true;
          webhook.secrets = {{"0123456789012345678901234567890123456789"}};
          webhook.max_concurrency = kConcurrency;
          webhook.timeout = absl::Seconds(60);
          return std::optional(webhook);
        },
        [](const absl::StatusOr<Webhook>& stored) { EXPECT_TRUE(stored.ok()); });
    outbox_.RunPending();
  }

  void Publish(int count) {
    std::vector<NewNotification> notifications(static_cast<size_t>(count));
    for (NewNotification& notification : notifications) {
      notification.tenant = "default";
      notification.body = std::make_shared<const std::string>("{}");
    }
    outbox_.Publish(std::move(notifications),
                    [](const auto& published) { EXPECT_TRUE(published.ok()); });
    outbox_.RunPending();
  }

  // As many hang at the sink as may be under way, and the second pump has sent some of them.
  void LetSomeHang() {
    sink_.SetScript([](const SinkRequest&) { return SinkAnswer{.way = SinkAnswer::Way::kHang}; });
    Configure();
    Publish(2 * kConcurrency);
    ASSERT_TRUE(sink_.WaitForRequests(kConcurrency));
    ASSERT_GT(first().metrics().handed_over.value(), 0u);
  }

  bool IdleInTime() {
    const absl::Duration deadline = SystemClock().Monotonic() + absl::Seconds(60);
    while (SystemClock().Monotonic() < deadline) {
      outbox_.RunPending();
      if (first().idle() && second().idle()) return true;
      std::this_thread::yield();
    }
    return false;
  }

  Pump& first() { return *pumps_[0]; }
  Pump& second() { return *pumps_[1]; }

  HttpSink sink_;
  MemoryStore store_;
  MemoryOutbox outbox_{SystemClock(), store_, this};
  AddressPolicy policy_{{*Cidr::Parse("127.0.0.0/8")}};
  std::vector<std::unique_ptr<Pump>> pumps_;
  std::atomic<int> busy_ms_{0};
  std::atomic<bool> rest_{false};
};

TEST_F(TwoPumpsTest, ShareABusyWebhook) {
  constexpr int kCount = 500;
  SinkAnswer late;
  late.delay = absl::Milliseconds(20);
  sink_.SetScript([late](const SinkRequest&) { return late; });
  Configure();
  Publish(kCount);
  EXPECT_TRUE(sink_.WaitForRequests(kCount));
  for (const auto& pump : pumps_) pump->BeginDrain();
  EXPECT_TRUE(IdleInTime());
  EXPECT_EQ(sink_.request_count(), size_t{kCount});
  EXPECT_EQ(first().metrics().engine.attempts_succeeded.value(), uint64_t{kCount});
  // More than that many are never under way, so there are never more connections in one pump.
  EXPECT_GT(second().metrics().transport.connections_opened.value(), 0u);
  EXPECT_LE(second().metrics().transport.connections_opened.value(), uint64_t{kConcurrency} / 2);
  EXPECT_LE(first().metrics().transport.connections_opened.value(), uint64_t{kConcurrency});
}

TEST_F(TwoPumpsTest, AbandonBreaksOffWhatEitherHasUnderWay) {
  LetSomeHang();
  for (const auto& pump : pumps_) pump->BeginDrain();
  for (const auto& pump : pumps_) pump->Abandon();
  EXPECT_TRUE(IdleInTime());
  EXPECT_EQ(sink_.request_count(), size_t{kConcurrency});
  // Still owed, and charged to nobody.
  EXPECT_EQ(first().metrics().engine.attempts_failed.value(), 0u);
}

TEST_F(TwoPumpsTest, EndWithRequestsHandedOver) { LetSomeHang(); }

TEST_F(TwoPumpsTest, EndInTheMidstOfHandingOver) {
  Configure();
  Publish(1000);
  EXPECT_TRUE(sink_.WaitForRequests(100));
}

TEST_F(TwoPumpsTest, AWebhookMayBeConfiguredAnewMeanwhile) {
  LetSomeHang();
  sink_.SetScript([](const SinkRequest&) { return SinkAnswer(); });
  Configure();
  // What hangs is broken off, and the pumps become idle: nothing is counted twice or forgotten.
  for (const auto& pump : pumps_) pump->BeginDrain();
  for (const auto& pump : pumps_) pump->Abandon();
  EXPECT_TRUE(IdleInTime());
}

}  // namespace
}  // namespace postrider
