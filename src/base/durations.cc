#include "src/base/durations.h"

#include <algorithm>
#include <string>

namespace postrider {

std::optional<absl::Duration> ParseDurationText(std::string_view text) {
  constexpr char kNumber[] = "0123456789.";
  if (text.empty()) return std::nullopt;
  absl::Duration sum;
  while (!text.empty()) {
    const size_t unit = text.find_first_not_of(kNumber);
    if (unit == 0 || unit == std::string_view::npos) return std::nullopt;
    const size_t end = std::min(text.find_first_of(kNumber, unit), text.size());
    const bool days = text.substr(unit, end - unit) == "d";
    // abseil's has no day.
    const std::string part = std::string(text.substr(0, days ? unit : end)) + (days ? "h" : "");
    absl::Duration duration;
    if (!absl::ParseDuration(part, &duration)) return std::nullopt;
    sum += days ? 24 * duration : duration;
    text.remove_prefix(end);
  }
  if (sum == absl::InfiniteDuration()) return std::nullopt;
  return sum;
}

}  // namespace postrider
