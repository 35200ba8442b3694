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

// How long to wait after a probe that failed: the delay above, but at most max_probe_interval.
// Where that is what counts it is shortened by up to 20%, so that many webhooks that died together
// do not stay together. A pure function. `probes`: that failed in a row, from 1.
absl::Duration ProbeDelay(const RetryPolicy& policy, int probes, double uniform);

}  // namespace postrider
