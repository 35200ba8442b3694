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

absl::Time FakeClock::Steady() const {
  MutexLock lock(&mutex_);
  return steady_;
}

void FakeClock::Advance(absl::Duration by) {
  if (by < absl::ZeroDuration()) std::abort();
  MutexLock lock(&mutex_);
  now_ += by;
  steady_ += by;
  monotonic_ += by;
}

void FakeClock::AdvanceTo(absl::Time time) {
  MutexLock lock(&mutex_);
  if (time <= steady_) return;
  monotonic_ += time - steady_;
  now_ += time - steady_;
  steady_ = time;
}

void FakeClock::SetWall(absl::Time now) {
  MutexLock lock(&mutex_);
  now_ = now;
}

void FakeClock::Restart() {
  MutexLock lock(&mutex_);
  steady_ = now_;
}

}  // namespace postrider
