#include "src/server/rpc/grpc_status.h"

#include <cstddef>

#include "google/rpc/status.pb.h"
#include "src/server/api/status_mapping.h"

namespace postrider {
namespace {

// In base64, with the message beside it, this stays below 8 KiB.
constexpr size_t kMaxDetailBytes = 5000;

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status rpc = ToRpcStatus(status);
  while (rpc.ByteSizeLong() > kMaxDetailBytes && rpc.details_size() > 0) {
    rpc.mutable_details()->RemoveLast();
  }
  return grpc::Status(static_cast<grpc::StatusCode>(rpc.code()), rpc.message(),
                      rpc.SerializeAsString());
}

}  // namespace postrider
