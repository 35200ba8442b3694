#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace postrider {

// Bounds the early tries of one webhook that fail. They are charged to no delivery, so nothing else
// does: deliveries that always fail bring on probation, a good one among them ends it, and all are
// put off by one more outage. A try that succeeds gives back what one that fails takes, so after a
// true outage all are tried, however many there are. Probes do not count: they are spaced.
//
// In t minutes at most kMost + t tries fail, and as many more as succeed. Monotonic time. Not
// thread-safe.
class EarlyCredit {
 public:
  static constexpr int64_t kMost = 100;

  // There is some for another try.
  bool Any(absl::Duration now) {
    const int64_t minutes = (now - filled_at_) / absl::Minutes(1);
    if (minutes > 0) {
      filled_at_ += minutes * absl::Minutes(1);
      left_ = std::min(kMost, left_ + minutes);
    }
    return left_ > 0;
  }
  // What was under way when the last of it went may take more than there is.
  void Failed() { --left_; }
  void Succeeded() { left_ = std::min(kMost, left_ + 1); }

 private:
  int64_t left_ = kMost;
  absl::Duration filled_at_ = absl::ZeroDuration();
};

}  // namespace postrider
