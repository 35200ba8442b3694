#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace postrider {

// `262144`, `256KiB`, `10MB`: bytes, or with a unit of 1000 (KB, MB, GB, TB) or 1024 (KiB, MiB,
// GiB, TiB). Nothing for what it cannot read.
std::optional<uint64_t> ParseSizeFlag(std::string_view text);

}  // namespace postrider
