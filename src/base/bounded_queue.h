#pragma once

#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"

namespace postrider {

// A queue of many producers and one consumer that takes all that waits at once. Bounded by the
// weight of what is in it (bytes, or whatever the producers count) and by number. A producer is
// never blocked: what does not fit is refused, and the producer says so to its caller.
//
// Thread-safe; TakeAll is called by one thread.
template <typename T>
class BoundedQueue {
 public:
  BoundedQueue(size_t max_items, size_t max_weight)
      : max_items_(max_items), max_weight_(max_weight) {}

  // False, and `item` untouched, when the queue is full or closed. An item that is heavier than the
  // whole bound is taken when the queue is empty, since it would never fit otherwise.
  bool TryPush(T& item, size_t weight) {
    MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= max_items_) return false;
    if (!items_.empty() && weight_ + weight > max_weight_) return false;
    Append(std::move(item), weight);
    return true;
  }

  // Takes the item even beyond the bound: for work whose amount is bounded by its producer, and
  // that must not be lost. False, and `item` untouched, only when the queue is closed.
  bool PushUnbounded(T& item, size_t weight) {
    MutexLock lock(&mutex_);
    if (closed_) return false;
    Append(std::move(item), weight);
    return true;
  }

  // Waits until there is something, the timeout has passed or the queue is closed; then moves all
  // that waits into `out`, which it clears first. False when the queue is closed and empty.
  // `out`'s memory becomes the queue's: pass the same vector each time and nothing is allocated.
  bool TakeAll(std::vector<T>* out, absl::Duration timeout) {
    out->clear();
    MutexLock lock(&mutex_);
    if (timeout == absl::InfiniteDuration()) {
      while (MustWait()) cond_.Wait(&mutex_);
    } else if (timeout > absl::ZeroDuration()) {
      const absl::Duration deadline = Monotonic() + timeout;
      for (auto rest = timeout; rest > absl::ZeroDuration() && MustWait();
           rest = deadline - Monotonic()) {
        cond_.WaitFor(&mutex_, rest);
      }
    }
    waiting_ = false;
    out->swap(items_);
    weight_ = 0;
    return !(closed_ && out->empty());
  }

  // Waits until there are `enough`, the timeout has passed or the queue is closed: for a consumer
  // that rather takes many at once.
  void Await(size_t enough, absl::Duration timeout) {
    MutexLock lock(&mutex_);
    const absl::Duration deadline = Monotonic() + timeout;
    wake_at_ = enough;
    for (auto rest = timeout; rest > absl::ZeroDuration(); rest = deadline - Monotonic()) {
      waiting_ = items_.size() < enough && !closed_;
      if (!waiting_) break;
      cond_.WaitFor(&mutex_, rest);
    }
    waiting_ = false;
    wake_at_ = 1;
  }

  // Refuses what comes from now on; what is in the queue can still be taken. Idempotent.
  void Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
    cond_.SignalAll();
  }

  size_t size() const {
    MutexLock lock(&mutex_);
    return items_.size();
  }
  // Of all that is in it.
  size_t weight() const {
    MutexLock lock(&mutex_);
    return weight_;
  }

 private:
  static absl::Duration Monotonic() {
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }

  // There is nothing to take yet; the consumer is about to wait, and wants a signal.
  bool MustWait() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_ = items_.empty() && !closed_;
    return waiting_;
  }

  void Append(T&& item, size_t weight) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    items_.push_back(std::move(item));
    weight_ += weight;
    // One signal a wait: the item that is enough wakes the consumer, the rest are there when it
    // comes.
    if (waiting_ && items_.size() >= wake_at_) {
      waiting_ = false;
      cond_.Signal();
    }
  }

  const size_t max_items_;
  const size_t max_weight_;

  mutable Mutex mutex_;
  CondVar cond_;
  std::vector<T> items_ ABSL_GUARDED_BY(mutex_);
  size_t weight_ ABSL_GUARDED_BY(mutex_) = 0;
  bool waiting_ ABSL_GUARDED_BY(mutex_) = false;
  size_t wake_at_ ABSL_GUARDED_BY(mutex_) = 1;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace postrider
