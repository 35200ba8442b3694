#pragma once

#include <optional>
#include <string_view>

#include "absl/time/time.h"

namespace postrider {

// No receiver can put us off for longer.
constexpr absl::Duration kMaxRetryAfter = absl::Hours(24);

// How long the value of a Retry-After header (RFC 9110, 10.2.3) asks to wait from `now`: seconds
// (a fraction is rounded up), or an HTTP-date in any of its three forms. Capped at kMaxRetryAfter;
// zero for a date that has passed. Nothing when the value is empty or neither. A pure function.
std::optional<absl::Duration> ParseRetryAfter(std::string_view value, absl::Time now);

}  // namespace postrider
