#include "src/server/wiring/pump.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

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

}  // namespace
}  // namespace postrider
