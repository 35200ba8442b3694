#include "src/server/poller_keeper.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "src/base/mutex.h"

namespace postrider {
namespace {

// Counts the calls of whatever method.
class CountingService final : public grpc::CallbackGenericService {
 public:
  int calls() {
    MutexLock lock(&mutex_);
    return calls_;
  }
  // False when they do not come within half a minute.
  bool WaitForCalls(int count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    MutexLock lock(&mutex_);
    while (calls_ < count && std::chrono::steady_clock::now() < deadline) {
      changed_.WaitFor(&mutex_, absl::Seconds(1));
    }
    return calls_ >= count;
  }

 private:
  class Refusal final : public grpc::ServerGenericBidiReactor {
   public:
    Refusal() { Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "")); }
    void OnDone() override { delete this; }
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    MutexLock lock(&mutex_);
    ++calls_;
    changed_.SignalAll();
    return new Refusal;
  }

  Mutex mutex_;
  CondVar changed_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

class PollerKeeperTest : public ::testing::Test {
 protected:
  PollerKeeperTest() {
    // Its method is the one that the keeper calls.
    const bool health = grpc::DefaultHealthCheckServiceEnabled();
    grpc::EnableDefaultHealthCheckService(false);
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    grpc::EnableDefaultHealthCheckService(health);
  }
  ~PollerKeeperTest() override { server_->Shutdown(); }

  CountingService service_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(PollerKeeperTest, CallsAgainAndAgain) {
  PollerKeeper keeper(*server_);
  EXPECT_TRUE(service_.WaitForCalls(4));
}

TEST_F(PollerKeeperTest, StartsAndStopsAgainAndAgain) {
  for (int i = 0; i < 20; ++i) {
    PollerKeeper keeper(*server_);
    keeper.Stop();
  }
}

}  // namespace
}  // namespace postrider
