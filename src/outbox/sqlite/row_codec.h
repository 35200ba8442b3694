#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "absl/time/time.h"
#include "src/outbox/sqlite/database.h"

// How times and durations stand in the file: microseconds, the infinite ones as the ends of int64.

namespace postrider {

inline int64_t ToMicros(absl::Time time) { return absl::ToUnixMicros(time); }

inline absl::Time TimeFromMicros(int64_t micros) {
  if (micros == std::numeric_limits<int64_t>::max()) return absl::InfiniteFuture();
  if (micros == std::numeric_limits<int64_t>::min()) return absl::InfinitePast();
  return absl::FromUnixMicros(micros);
}

inline int64_t ToMicros(absl::Duration duration) { return absl::ToInt64Microseconds(duration); }

inline absl::Duration DurationFromMicros(int64_t micros) {
  if (micros == std::numeric_limits<int64_t>::max()) return absl::InfiniteDuration();
  return absl::Microseconds(micros);
}

// A time that may not have come: NULL stands for InfiniteFuture.
inline std::optional<int64_t> ToNullableMicros(absl::Time time) {
  if (time == absl::InfiniteFuture()) return std::nullopt;
  return ToMicros(time);
}

inline absl::Time NullableTime(const Statement& row, int column) {
  return row.IsNull(column) ? absl::InfiniteFuture() : TimeFromMicros(row.Int(column));
}

}  // namespace postrider
