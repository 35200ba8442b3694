#include "src/base/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace postrider {
namespace {

absl::Duration SinceBoot() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

class RealClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
  absl::Duration Monotonic() const override { return SinceBoot(); }
  absl::Time Steady() const override { return zero_ + SinceBoot(); }

 private:
  // What the wall clock said when Monotonic was zero, by what both say now.
  const absl::Time zero_ = absl::Now() - SinceBoot();
};

}  // namespace

const Clock& SystemClock() {
  static const RealClock* const clock = new RealClock;
  return *clock;
}

}  // namespace postrider
