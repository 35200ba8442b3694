#include "src/delivery/limiter.h"

#include <algorithm>
#include <cmath>

namespace postrider {
namespace {

// A limit below one in ten years is one in ten years: the sums below cannot overflow.
constexpr double kMaxNanos = 10.0 * 366 * 24 * 3600 * 1e9;

}  // namespace

void Limiter::Configure(const RateLimit& limit, absl::Duration now) {
  if (!(limit.per_second > 0)) {
    *this = Limiter();
    return;
  }
  const double interval = std::min(1e9 / limit.per_second, kMaxNanos);
  const double tolerance = std::min(interval * (std::max(limit.burst, 1) - 1), kMaxNanos);
  // Rounded so that the limit is never exceeded.
  interval_ = std::max<int64_t>(static_cast<int64_t>(std::ceil(interval)), 1);
  tolerance_ = static_cast<int64_t>(tolerance);
  // No further ahead than an empty bucket of the new size is.
  full_at_ = std::min(full_at_, absl::ToInt64Nanoseconds(now) + interval_ + tolerance_);
}

bool Limiter::TryTake(absl::Duration now) {
  if (interval_ == 0) return true;
  const int64_t now_ns = absl::ToInt64Nanoseconds(now);
  if (now_ns < full_at_ - tolerance_) return false;
  full_at_ = std::max(full_at_, now_ns) + interval_;
  return true;
}

}  // namespace postrider
