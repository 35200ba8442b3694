#include "tests/support/fake_clock.h"

#include <cstdlib>

namespace postrider {

absl::Time FakeClock::Now() const {
  MutexLock lock(&mutex_);
  return now_;
}

absl::Duration FakeClock::Monotonic() const {
  MutexLock lock(&mutex_);
  return monotonic_;
}

void FakeClock::Advance(absl::Duration by) {
  if (by < absl::ZeroDuration()) std::abort();
  MutexLock lock(&mutex_);
  now_ += by;
  monotonic_ += by;
}

void FakeClock::AdvanceTo(absl::Time time) {
  MutexLock lock(&mutex_);
  if (time <= now_) return;
  monotonic_ += time - now_;
  now_ = time;
}

void FakeClock::SetWall(absl::Time now) {
  MutexLock lock(&mutex_);
  now_ = now;
}

}  // namespace postrider
