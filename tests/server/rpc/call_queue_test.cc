#include "src/server/rpc/call_queue.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"

namespace postrider {
namespace {

// Notes where and how often it happened.
class Counted final : public CallQueue::Event {
 public:
  void Happened(bool ok) override {
    MutexLock lock(&mutex_);
    if (ok) ++count_;
    thread_ = std::this_thread::get_id();
    changed_.SignalAll();
  }

  void WaitFor(int count) {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (count_ < count && absl::Now() < deadline) changed_.WaitFor(&mutex_, absl::Seconds(1));
    EXPECT_GE(count_, count) << "it did not happen within half a minute";
  }
  int count() {
    MutexLock lock(&mutex_);
    return count_;
  }
  std::thread::id thread() {
    MutexLock lock(&mutex_);
    return thread_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread::id thread_ ABSL_GUARDED_BY(mutex_);
};

class CallQueueTest : public ::testing::Test {
 protected:
  CallQueueTest() {
    grpc::ServerBuilder builder;
    queue_ = std::make_unique<CallQueue>(builder.AddCompletionQueue());
    server_ = builder.BuildAndStart();
  }
  ~CallQueueTest() override {
    server_->Shutdown();
    queue_->Shutdown();
  }

  std::unique_ptr<CallQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(CallQueueTest, EventsOfManyThreadsHappenOnceEachOnItsOwn) {
  constexpr int kThreads = 8;
  constexpr int kEvents = 500;
  queue_->Start("test-queue");
  std::vector<Counted> events(size_t{kThreads} * kEvents);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, &events, t] {
      for (int i = 0; i < kEvents; ++i) {
        queue_->Run(&events[static_cast<size_t>(t) * kEvents + static_cast<size_t>(i)]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::thread::id thread = [&] {
    events.front().WaitFor(1);
    return events.front().thread();
  }();
  EXPECT_NE(thread, std::this_thread::get_id());
  for (Counted& event : events) {
    event.WaitFor(1);
    EXPECT_EQ(event.count(), 1);
    EXPECT_EQ(event.thread(), thread);
  }
  // The thread has let go of the events when it has ended.
  server_->Shutdown();
  queue_->Shutdown();
}

TEST_F(CallQueueTest, WhatWasRunBeforeTheShutdownHappens) {
  Counted event;
  queue_->Run(&event);
  queue_->Start("test-queue");
  for (int i = 0; i < 99; ++i) queue_->Run(&event);
  server_->Shutdown();
  queue_->Shutdown();
  EXPECT_EQ(event.count(), 100);
  queue_->Shutdown();
}

TEST_F(CallQueueTest, TheShutdownWaitsForTheLastHold) {
  queue_->Start("test-queue");
  Counted event;
  auto hold = std::make_unique<CallQueue::Hold>(*queue_);
  server_->Shutdown();
  std::thread shutdown([this] { queue_->Shutdown(); });
  // It may still be used, however far the shutdown is.
  for (int i = 1; i <= 100; ++i) {
    queue_->Run(&event);
    event.WaitFor(i);
  }
  hold.reset();
  shutdown.join();
  EXPECT_EQ(event.count(), 100);
}

TEST_F(CallQueueTest, WithoutAThreadTheShutdownLetsItHappen) {
  Counted event;
  queue_->Run(&event);
  server_->Shutdown();
  queue_->Shutdown();
  EXPECT_EQ(event.count(), 1);
}

}  // namespace
}  // namespace postrider
