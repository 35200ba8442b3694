#include "src/message/retry_after.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace postrider {
namespace {

// The longest of the forms, "Wednesday, 06-Nov-94 08:49:37 GMT", has 33.
constexpr size_t kMaxLength = 64;

// IMF-fixdate, RFC 850 and asctime. All are in UTC.
constexpr absl::string_view kDateFormats[] = {
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
};

}  // namespace

std::optional<absl::Duration> ParseRetryAfter(std::string_view text, absl::Time now) {
  // Debian's absl::string_view is a type of its own.
  const absl::string_view value =
      absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  if (value.empty() || value.size() > kMaxLength) return std::nullopt;
  // Some send fractions, though RFC 9110 knows none. They are rounded up: nobody is asked too soon.
  const size_t point = std::min(value.find('.'), value.size());
  const absl::string_view whole = value.substr(0, point);
  const absl::string_view fraction = value.substr(std::min(point + 1, value.size()));
  const bool has_point = point < value.size();
  if (!whole.empty() && std::all_of(whole.begin(), whole.end(), absl::ascii_isdigit) &&
      has_point != fraction.empty() &&
      std::all_of(fraction.begin(), fraction.end(), absl::ascii_isdigit)) {
    int64_t seconds;
    // All digits: what cannot be read is too large.
    if (!absl::SimpleAtoi(whole, &seconds)) return kMaxRetryAfter;
    const bool more = fraction.find_first_not_of('0') != absl::string_view::npos;
    return std::min(absl::Seconds(seconds) + absl::Seconds(more ? 1 : 0), kMaxRetryAfter);
  }
  for (const absl::string_view format : kDateFormats) {
    absl::Time time;
    if (!absl::ParseTime(format, value, &time, nullptr)) continue;
    // ParseTime also knows "infinite-future" and the like.
    if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) return std::nullopt;
    return std::clamp(time - now, absl::ZeroDuration(), kMaxRetryAfter);
  }
  return std::nullopt;
}

}  // namespace postrider
