#pragma once

#include "absl/time/time.h"
#include "src/outbox/types.h"

namespace postrider {

// How long to wait after a failed attempt: min(max_backoff, initial_backoff * multiplier^(n-1)),
// jittered by 20% either way, so up to 1.2 times max_backoff. A pure function.
//
// `attempt`: n, the attempts that failed, from 1. `uniform`: in [0, 1). Never negative; never more
// than a year, whatever the policy says.
absl::Duration RetryDelay(const RetryPolicy& policy, int attempt, double uniform);

}  // namespace postrider
