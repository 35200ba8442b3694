#pragma once

#include "absl/time/time.h"

namespace postrider {

// What time it is. Three answers, since the wall clock may be set while the process runs:
//
//   Now        for people: what is shown, signed and logged
//   Monotonic  for intervals inside the process: latency, rate limits, probes
//   Steady     for what is due and how old it is: it outlives the process, so it must look like a
//              wall-clock time, but a clock that is set must bend no wait and no age
//
// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // The wall clock, at microsecond resolution or better.
  virtual absl::Time Now() const = 0;

  // Time since an arbitrary start that never runs backwards.
  virtual absl::Duration Monotonic() const = 0;

  // What the wall clock would say if nobody had set it since the process began: it runs as
  // Monotonic does.
  virtual absl::Time Steady() const = 0;
};

// The machine's own clocks. The object lives as long as the process.
const Clock& SystemClock();

}  // namespace postrider
