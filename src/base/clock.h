#pragma once

#include "absl/time/time.h"

namespace postrider {

// What time it is. Due times outlive the process, so they are wall-clock times; intervals inside
// the process (latency, rate limits, probes) are monotonic, so that a clock that is set does not
// bend them.
//
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // The wall clock, at microsecond resolution or better.
  virtual absl::Time Now() const = 0;

  // Time since an arbitrary start that never runs backwards.
  virtual absl::Duration Monotonic() const = 0;
};

// The machine's own clocks. The object lives as long as the process.
const Clock& SystemClock();

}  // namespace postrider
