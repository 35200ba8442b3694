#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace postrider {

// ToRpcStatus (status_mapping.h) as gRPC sends it, the google.rpc.Status serialised in the details.
// Clients refuse trailers of more than 8 KiB by default, so what would make them larger is left
// out: the last details first.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace postrider
