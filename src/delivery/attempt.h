#pragma once

#include <optional>

#include "absl/time/time.h"
#include "src/delivery/moment.h"
#include "src/http/transport.h"
#include "src/outbox/types.h"

namespace postrider {

// One request that was made for a delivery. Refers to what it was made from.
struct MadeAttempt {
  // As it was before.
  const OwedDelivery& delivery;
  // The configuration that it was made with.
  const Webhook& sent;
  // Steady.
  absl::Time start;
  // It was made before the delivery was due: to probe its webhook, or since an outage is over. Then
  // neither its attempts nor its backoff are charged with it.
  bool early = false;
  // Of an early one that failed: how long until it is due.
  absl::Duration wait;
};

// Whether what came of a request made with `sent` says anything of the receiver that is configured
// now: not when it went to another address, or with other credentials; nor does a time-out when
// there was less time than there is now. A pure function.
bool SpeaksFor(const Webhook& sent, const Webhook& now, const TransferResult& result);
// The same address and the same credentials: headers and signing secrets.
bool SameReceiver(const Webhook& a, const Webhook& b);

// What an answer, or the lack of one, means.
struct Verdict {
  AttemptOutcome outcome;
  bool success = false;
  // It says something of the receiver that is configured now. Else it counts for its delivery only.
  bool speaks = true;
  // 410: the receiver wants nothing more.
  bool gone = false;
  // How long until the next attempt; counts when outcome.next_state is kPending.
  absl::Duration delay;
  // What the receiver asked for; and whether it speaks for the whole webhook, not for this request.
  std::optional<absl::Duration> retry_after;
  bool overloaded = false;
};

// Judges one attempt, and decides what the delivery becomes by it. A pure function. What comes next
// is by `webhook`, as it is configured now; what a receiver echoes is masked by what it was sent.
// `uniform`: random in [0, 1).
//
// An ordered webhook's delivery keeps its place before all that were published later: its next_due
// stays its first due time, and the delay is the webhook's own (the caller holds the whole of it).
Verdict Judge(const Webhook& webhook, const MadeAttempt& made, const Moment& now,
              TransferResult result, double uniform);

}  // namespace postrider
