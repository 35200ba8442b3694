#pragma once

#include <optional>

#include "absl/time/time.h"
#include "src/http/transport.h"
#include "src/outbox/types.h"

namespace postrider {

// What an answer, or the lack of one, means.
struct Verdict {
  AttemptOutcome outcome;
  bool success = false;
  // 410: the receiver wants nothing more.
  bool gone = false;
  // How long until the next attempt; counts when outcome.next_state is kPending.
  absl::Duration delay;
  // What the receiver asked for; and whether it speaks for the whole webhook, not for this request.
  std::optional<absl::Duration> retry_after;
  bool overloaded = false;
};

// Judges one attempt, and decides what the delivery becomes by it. A pure function. `delivery`: as
// it was before the attempt. `uniform`: random in [0, 1).
//
// An ordered webhook's delivery keeps its place before all that were published later: its next_due
// stays its first due time, and the delay is the webhook's own (the caller holds the whole of it).
Verdict Judge(const Webhook& webhook, const OwedDelivery& delivery, absl::Time start,
              absl::Time now, TransferResult result, double uniform);

}  // namespace postrider
