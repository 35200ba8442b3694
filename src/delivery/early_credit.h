#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "src/base/require.h"

namespace postrider {

// Bounds the early tries of one webhook that fail, once its receiver works again. They are charged
// to no delivery, so nothing else does: deliveries that always fail bring on probation, a good one
// among them ends it, and all are put off by one more outage. A try takes one when it is sent, and
// one that succeeds gives back two: so the more of them succeed, the faster they are made.
//
// In t minutes at most kMost + t tries fail, and one more for each that succeeds. Monotonic time.
// Not thread-safe.
class EarlyCredit {
 public:
  static constexpr int64_t kMost = 100;

  // There is some for another try.
  bool Any(absl::Duration now) const { return left_ > 0 || now >= next(); }
  // When there is one more that nobody has earned.
  absl::Duration next() const { return filled_at_ + kApart; }

  // REQUIRES: Any(now).
  void Take(absl::Duration now) {
    REQUIRE(Any(now));
    const int64_t more = (now - filled_at_) / kApart;
    if (more > 0) {
      filled_at_ += more * kApart;
      Give(more);
    }
    --left_;
  }
  // The try was not made.
  void GiveBack() { Give(1); }
  void Succeeded() { Give(2); }

 private:
  static constexpr absl::Duration kApart = absl::Minutes(1);

  void Give(int64_t more) { left_ = std::min(kMost, left_ + more); }

  int64_t left_ = kMost;
  absl::Duration filled_at_ = absl::ZeroDuration();
};

}  // namespace postrider
