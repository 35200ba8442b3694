#pragma once

#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"
#include "src/http/event_loop.h"

namespace postrider {

// An event loop on a thread of its own. Owned by the test's thread.
class LoopThread {
 public:
  explicit LoopThread(const Clock& clock = SystemClock());
  ~LoopThread() { Stop(); }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  EventLoop& loop() { return *loop_; }

  void Start();
  // Idempotent. The loop's thread has ended afterwards.
  void Stop();

  // Runs it on the loop's thread, or before Start here, and waits until it has run.
  void Call(absl::AnyInvocable<void() &&> closure);
  // Waits until the loop has gone through its turn.
  void Turn();

 private:
  const std::unique_ptr<EventLoop> loop_;
  std::thread thread_;
};

// What one thread puts in, another waits for. Thread-safe.
template <typename T>
class Mailbox {
 public:
  void Put(T item) {
    MutexLock lock(&mutex_);
    items_.push_back(std::move(item));
    changed_.SignalAll();
  }

  // All there is, once there are so many; what there is, when they do not come in a minute.
  std::vector<T> WaitFor(size_t count) const {
    const absl::Duration deadline = SystemClock().Monotonic() + absl::Minutes(1);
    MutexLock lock(&mutex_);
    while (items_.size() < count && SystemClock().Monotonic() < deadline) {
      changed_.WaitFor(&mutex_, deadline - SystemClock().Monotonic());
    }
    return items_;
  }

  size_t size() const {
    MutexLock lock(&mutex_);
    return items_.size();
  }

 private:
  mutable Mutex mutex_;
  mutable CondVar changed_;
  std::vector<T> items_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
