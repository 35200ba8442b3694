#pragma once

#include <algorithm>

#include "src/base/require.h"

namespace postrider {

// How many attempts of one webhook may be under way, and its circuit breaker:
//
//   OPEN  all of `max`                          --failures_to_probe failures in a row--> PROBING
//                          (kFewFailures of them when nothing else has come for a long time)
//   PROBING  one at a time, spaced by a backoff of failed_probes()  --a success-->  GROWING
//   GROWING  doubles with every success up to `max`, which is OPEN  --failures in a row--> PROBING
//
// Does not know the time: its owner spaces the probes. Not thread-safe.
class Window {
 public:
  // REQUIRES: max >= 1, failures_to_probe >= 1.
  Window(int max, int failures_to_probe)
      : max_(max), failures_to_probe_(failures_to_probe), limit_(max) {
    REQUIRE(max >= 1 && failures_to_probe >= 1);
  }

  // From the next attempt on.
  void SetMax(int max);
  // A webhook that was failing when the process ended begins so.
  void StartProbing();

  int limit() const { return limit_; }
  bool probing() const { return probing_; }
  // It is neither probed nor all open.
  bool growing() const { return !probing_ && limit_ < max_; }
  // Failed in a row since probing began, the failure that began it included. 0 when not probing.
  int failed_probes() const { return failed_probes_; }

  void OnSuccess();
  // `was_probe`: the attempt began while probing. The rest of a full window, which fails late, says
  // nothing new. `for_long`: nothing but failures has come for a long time. True when the next
  // probe must wait for the backoff of failed_probes().
  bool OnFailure(bool was_probe, bool for_long);

 private:
  static constexpr int kFewFailures = 5;

  int max_;
  int failures_to_probe_;
  int limit_;
  int failures_in_row_ = 0;
  int failed_probes_ = 0;
  bool probing_ = false;
};

}  // namespace postrider
