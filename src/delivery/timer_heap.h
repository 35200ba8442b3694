#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace postrider {

// A heap of the times at which objects want to be woken, each at most once. The object holds its
// place in the heap (a TimerHeap::Slot member), so that a time is changed or taken back in
// O(log n) and no stale entry stays behind: a hundred thousand webhooks re-arm their timers all the
// time.
//
// Does not own the objects; one must be taken back before it ends. Not thread-safe.
struct TimerSlot {
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  int64_t at = kNever;
  int32_t position = -1;
};

template <typename T, TimerSlot T::*kSlot>
class TimerHeap {
 public:
  bool empty() const { return heap_.empty(); }
  // TimerSlot::kNever when nobody wants to be woken.
  int64_t next() const { return empty() ? TimerSlot::kNever : (heap_[0]->*kSlot).at; }
  T* top() const { return heap_[0]; }

  // Sets the one time of the object; kNever takes it back.
  void Set(T* object, int64_t at) {
    TimerSlot& slot = object->*kSlot;
    if (slot.at == at) return;
    slot.at = at;
    if (at == TimerSlot::kNever) {
      Remove(slot);
      return;
    }
    if (slot.position < 0) {
      heap_.push_back(object);
      slot.position = static_cast<int32_t>(heap_.size() - 1);
    }
    Settle(static_cast<size_t>(slot.position));
  }

 private:
  int64_t At(size_t i) const { return (heap_[i]->*kSlot).at; }

  void Place(size_t i, T* object) {
    heap_[i] = object;
    (object->*kSlot).position = static_cast<int32_t>(i);
  }

  void Remove(TimerSlot& slot) {
    const auto i = static_cast<size_t>(slot.position);
    slot.position = -1;
    T* const last = heap_.back();
    heap_.pop_back();
    if (i == heap_.size()) return;
    Place(i, last);
    Settle(i);
  }

  // Moves what is at `i` up or down to where it belongs.
  void Settle(size_t i) {
    T* const object = heap_[i];
    const int64_t at = At(i);
    while (i > 0 && at < At((i - 1) / 2)) {
      Place(i, heap_[(i - 1) / 2]);
      i = (i - 1) / 2;
    }
    for (size_t child; (child = 2 * i + 1) < heap_.size(); i = child) {
      if (child + 1 < heap_.size() && At(child + 1) < At(child)) ++child;
      if (At(child) >= at) break;
      Place(i, heap_[child]);
    }
    Place(i, object);
  }

  std::vector<T*> heap_;
};

}  // namespace postrider
