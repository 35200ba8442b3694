#include "src/delivery/retry.h"

#include <algorithm>
#include <cmath>

namespace postrider {
namespace {

constexpr double kJitter = 0.2;
// Keeps due times far from where a time can no longer be represented.
constexpr double kLongestSeconds = 366.0 * 24 * 3600;

}  // namespace

absl::Duration RetryDelay(const RetryPolicy& policy, int attempt, double uniform) {
  const double initial = absl::ToDoubleSeconds(policy.initial_backoff);
  if (!(initial > 0)) return absl::ZeroDuration();
  const double max =
      std::clamp(absl::ToDoubleSeconds(policy.max_backoff), 0.0, kLongestSeconds / (1 + kJitter));
  // pow overflows to infinity, which the minimum takes care of.
  const double grown =
      initial * std::pow(std::max(policy.multiplier, 1.0), std::max(attempt, 1) - 1);
  return absl::Seconds(std::min(grown, max) * (1 - kJitter + 2 * kJitter * uniform));
}

absl::Duration ProbeDelay(const RetryPolicy& policy, int probes, double uniform) {
  const absl::Duration longest = policy.max_probe_interval * (1 - kJitter * uniform);
  return std::clamp(RetryDelay(policy, probes, uniform), absl::ZeroDuration(),
                    std::max(longest, absl::ZeroDuration()));
}

}  // namespace postrider
