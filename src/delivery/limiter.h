#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "src/outbox/types.h"

namespace postrider {

// A token bucket: in any span of t seconds it lets through at most burst + t * per_second. Counts
// in monotonic time, so that a clock that is set does not bend the limit.
//
// Kept as the one number of the "generic cell rate algorithm": when the bucket will be full again.
// So it needs no timer, costs a few instructions and 24 bytes.
//
// Not thread-safe.
class Limiter {
 public:
  // No limit.
  Limiter() = default;

  // Applies another limit from now on. Tokens that are spent stay spent.
  void Configure(const RateLimit& limit, absl::Duration now);

  // Takes a token. False when there is none.
  bool TryTake(absl::Duration now);

  // When there will be a token, in the past when there is one.
  absl::Duration NextToken() const { return absl::Nanoseconds(full_at_ - tolerance_); }

 private:
  // Nanoseconds between two tokens; 0: no limit.
  int64_t interval_ = 0;
  // How far ahead of `now` full_at_ may be when a token is taken: burst - 1 tokens.
  int64_t tolerance_ = 0;
  int64_t full_at_ = 0;
};

}  // namespace postrider
