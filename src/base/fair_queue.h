#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"

namespace postrider {

// A queue of many producers whose items belong to owners (tenants), which are served in turn: a
// deficit round robin (Shreedhar and Varghese, SIGCOMM 1995). Each turn lets an owner spend a
// quantum; what he spends beyond it, he pays for by waiting, while others want something. So a
// newcomer is served after one turn of each of the others, however much they have queued.
//
// Bounded by number and by weight (bytes). One owner gets at most seven times of what is then still
// free: alone seven eighths of the queue, and a newcomer always finds room. A producer is never
// blocked: what does not fit is refused, and the producer says so to its caller.
//
// An item that is pushed and taken costs some 43 ns, and 8 in a plain queue of one line (measured
// without contention): nothing beside what is done with it, a write or a read of the disk.
// Not built on FairTurns (http/fair_turns.h): that shares places and not time, so it knows no
// costs, weights or credit.
//
// Thread-safe.
template <typename T>
class FairQueue {
 public:
  // `quantum`: what an owner's turn is worth, in the unit of the items' costs.
  FairQueue(size_t max_items, size_t max_weight, int64_t quantum)
      : max_items_(max_items), max_weight_(max_weight), quantum_(quantum) {}

  // False, and `item` untouched, when the owner's share is used up or the queue is closed. The
  // first item of an owner is taken whatever it weighs, unless the queue is full: one that is
  // heavier than the whole bound would never fit otherwise.
  bool TryPush(const std::string& owner, T& item, int64_t cost, size_t weight) {
    MutexLock lock(&mutex_);
    if (closed_ || items_ >= max_items_ || weight_ > max_weight_) return false;
    const auto known = lanes_.find(owner);
    if (known != lanes_.end()) {
      const Lane& lane = known->second;
      if (lane.entries.size() >= kShare * (max_items_ - items_)) return false;
      if (weight_ + weight > max_weight_) return false;
      if (lane.weight + weight > kShare * (max_weight_ - weight_)) return false;
    }
    Append(owner, {std::move(item), cost, weight}, quantum_);
    return true;
  }

  // For the house's own work, whose producers bound it: taken beyond the bounds, and served in the
  // order of its coming. False, and `item` untouched, only when the queue is closed.
  bool PushOwn(T& item) {
    MutexLock lock(&mutex_);
    if (closed_) return false;
    own_.push_back(std::move(item));
    Wake();
    return true;
  }

  // From the consumer: an item that is not done yet goes behind the others of its owner, who has
  // spent more for it than was said. Taken beyond the bounds, and also when the queue is closed.
  void PutBack(const std::string& owner, T item, int64_t spent, int64_t cost, size_t weight) {
    MutexLock lock(&mutex_);
    Append(owner, {std::move(item), cost, weight}, 0).credit -= spent;
  }

  // Waits until there is something, the timeout has passed or the queue is closed. False when it is
  // closed and empty.
  bool Wait(absl::Duration timeout) {
    MutexLock lock(&mutex_);
    WaitFor(1, timeout);
    return !closed_ || size_locked() > 0;
  }

  // Waits until there are `enough`, the timeout has passed or the queue is closed: for a consumer
  // that rather takes many at once.
  void Await(size_t enough, absl::Duration timeout) {
    MutexLock lock(&mutex_);
    WaitFor(enough, timeout);
  }

  // What comes next: the house's own work, if `own_first`; else what is an owner's turn; else the
  // house's. Nothing when the queue is empty.
  std::optional<T> Take(bool own_first) {
    MutexLock lock(&mutex_);
    if (!own_.empty() && (own_first || turns_.empty())) {
      std::optional<T> item(std::move(own_.front()));
      own_.pop_front();
      return item;
    }
    if (turns_.empty()) return std::nullopt;
    return TakeInTurn();
  }

  // An item of the owner cost more than was said. Forgotten when nothing of him waits.
  void Charge(const std::string& owner, int64_t cost) {
    MutexLock lock(&mutex_);
    const auto lane = lanes_.find(owner);
    if (lane != lanes_.end()) lane->second.credit -= cost;
  }

  // Refuses what comes from now on; what is in the queue can still be taken. Idempotent.
  void Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
    cond_.SignalAll();
  }

  size_t size() const {
    MutexLock lock(&mutex_);
    return size_locked();
  }

 private:
  static constexpr size_t kShare = 7;

  struct Entry {
    T item;
    int64_t cost;
    size_t weight;
  };
  // An owner's items. He has one while any of them waits.
  struct Lane {
    std::deque<Entry> entries;
    size_t weight = 0;
    int64_t credit = 0;
  };
  using Lanes = std::unordered_map<std::string, Lane>;

  static absl::Duration Monotonic() {
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }

  size_t size_locked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return items_ + own_.size(); }

  void WaitFor(size_t enough, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (size_locked() >= enough || closed_) return;
    ++waiting_;
    wake_at_ = enough;
    if (timeout == absl::InfiniteDuration()) {
      while (size_locked() < enough && !closed_) cond_.Wait(&mutex_);
    } else if (timeout > absl::ZeroDuration()) {
      const absl::Duration deadline = Monotonic() + timeout;
      for (auto rest = timeout;
           rest > absl::ZeroDuration() && size_locked() < enough && !closed_;
           rest = deadline - Monotonic()) {
        cond_.WaitFor(&mutex_, rest);
      }
    }
    --waiting_;
    wake_at_ = 1;
  }

  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (waiting_ > 0 && size_locked() >= wake_at_) cond_.Signal();
  }

  Lane& Append(const std::string& owner, Entry entry, int64_t credit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto [at, is_new] = lanes_.try_emplace(owner);
    Lane& lane = at->second;
    if (is_new) {
      lane.credit = credit;
      turns_.push_back(&*at);
    }
    ++items_;
    weight_ += entry.weight;
    lane.weight += entry.weight;
    lane.entries.push_back(std::move(entry));
    Wake();
    return lane;
  }

  std::optional<T> TakeInTurn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (turns_.front()->second.credit <= 0) {
      Lane& lane = turns_.front()->second;
      // Nobody else waits, so he owes it to nobody.
      lane.credit = turns_.size() == 1 ? quantum_ : lane.credit + quantum_;
      turns_.push_back(turns_.front());
      turns_.pop_front();
    }
    Lane& lane = turns_.front()->second;
    Entry entry = std::move(lane.entries.front());
    lane.entries.pop_front();
    lane.credit -= entry.cost;
    lane.weight -= entry.weight;
    weight_ -= entry.weight;
    --items_;
    if (lane.entries.empty()) {
      lanes_.erase(lanes_.find(turns_.front()->first));
      turns_.pop_front();
    }
    return std::move(entry.item);
  }

  const size_t max_items_;
  const size_t max_weight_;
  const int64_t quantum_;

  mutable Mutex mutex_;
  CondVar cond_;
  std::deque<T> own_ ABSL_GUARDED_BY(mutex_);
  Lanes lanes_ ABSL_GUARDED_BY(mutex_);
  // Those that have something, in the order of their turns.
  std::deque<typename Lanes::value_type*> turns_ ABSL_GUARDED_BY(mutex_);
  // Of the lanes, without the house's own.
  size_t items_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t weight_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t wake_at_ ABSL_GUARDED_BY(mutex_) = 1;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace postrider
