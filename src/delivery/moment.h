#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace postrider {

// The clocks, read once per turn of the engine.
struct Moment {
  // What people read. Everything that is due or grows old goes by the next two (base/clock.h).
  absl::Time wall;
  absl::Duration mono;
  absl::Time steady;
  // `steady` as queue keys have it.
  int64_t steady_us = 0;

  // The time of day at which something that is remembered by `steady` was, or will be.
  absl::Time ToWall(absl::Time then) const { return then + (wall - steady); }
};

}  // namespace postrider
