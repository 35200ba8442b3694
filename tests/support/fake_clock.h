#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"

namespace postrider {

// A clock that stands still until the test moves it. The wall clock can be set apart from the
// monotonic one, as an administrator or NTP does. Thread-safe.
class FakeClock final : public Clock {
 public:
  // 2024-01-25T14:04:10.157236Z, unless told otherwise: with microseconds, so that what drops them
  // is noticed.
  FakeClock() : FakeClock(absl::FromUnixMicros(1706191450157236)) {}
  explicit FakeClock(absl::Time now) : now_(now), steady_(now) {}

  absl::Time Now() const override;
  absl::Duration Monotonic() const override;
  absl::Time Steady() const override;

  // Both clocks go on. REQUIRES: by >= 0.
  void Advance(absl::Duration by);
  // Both go on until the steady clock, which is the wall clock while nobody has set it, says
  // `time`; they stay where they are when that has passed.
  void AdvanceTo(absl::Time time);
  // The wall clock alone jumps, forward or back.
  void SetWall(absl::Time now);
  // The process ends and another one begins: the steady clock is the wall clock again.
  void Restart();

 private:
  mutable Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
  absl::Time steady_ ABSL_GUARDED_BY(mutex_);
  // Not zero, so that nobody takes it for the time since the start of the process.
  absl::Duration monotonic_ ABSL_GUARDED_BY(mutex_) = absl::Hours(1000);
};

}  // namespace postrider
