#include "src/base/sizes.h"

#include <array>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace postrider {

std::optional<uint64_t> ParseSizeFlag(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, uint64_t>, 10> kUnits = {{
      {"", 1},
      {"b", 1},
      {"kb", 1000},
      {"mb", 1000 * 1000},
      {"gb", 1000 * 1000 * 1000},
      {"tb", uint64_t{1000} * 1000 * 1000 * 1000},
      {"kib", uint64_t{1} << 10},
      {"mib", uint64_t{1} << 20},
      {"gib", uint64_t{1} << 30},
      {"tib", uint64_t{1} << 40},
  }};
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[digits]))) {
    ++digits;
  }
  uint64_t number = 0;
  if (digits == 0 || !absl::SimpleAtoi(absl::string_view(text.data(), digits), &number)) {
    return std::nullopt;
  }
  const std::string_view unit = text.substr(digits);
  for (const auto& [name, factor] : kUnits) {
    if (!absl::EqualsIgnoreCase(absl::string_view(unit.data(), unit.size()),
                                absl::string_view(name.data(), name.size()))) {
      continue;
    }
    // Sizes are handed on as signed numbers of 64 bits.
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / factor) {
      return std::nullopt;
    }
    return number * factor;
  }
  return std::nullopt;
}

}  // namespace postrider
