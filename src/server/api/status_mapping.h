#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/rpc/status.pb.h"

namespace postrider {

// The one place where an absl::Status becomes what the caller sees; gRPC's form of it is made in
// grpc_status.h.

// How long a caller is asked to wait before he tries again.
inline constexpr absl::Duration kRetryDelay = absl::Seconds(1);

// The google.rpc.Status: code, message and details. Every error has an ErrorInfo, as the first of
// its details, made up from the code where the status has none. A RetryInfo stands where a later
// try may succeed: as reasons.h says of a reason, and with RESOURCE_EXHAUSTED and UNAVAILABLE where
// it says nothing. What an inner error says of the machine (INTERNAL, UNKNOWN, DATA_LOSS) stays in
// the log: the caller gets a sentence that says what to do.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// The status has an inner error whose words only the log may have.
bool IsInnerError(const absl::Status& status);

}  // namespace postrider
