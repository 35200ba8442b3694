#pragma once

#include <optional>
#include <string_view>

#include "absl/time/time.h"

namespace postrider {

// `250ms`, `30s`, `5m`, `72h`, `7d`, `1h30m`: how people write durations. A day has 24 hours.
// Nothing for what is negative, endless or without a unit.
std::optional<absl::Duration> ParseDurationText(std::string_view text);

}  // namespace postrider
