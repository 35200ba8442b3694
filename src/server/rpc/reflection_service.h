#pragma once

#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.grpc.pb.h"

namespace postrider {

// grpc.reflection.v1.ServerReflection over the generated code of this process. The gRPC that Debian
// ships has only its forerunner, v1alpha, which is served beside it: newer clients ask for v1
// first, and some for nothing else.
//
// A call takes one of gRPC's threads for synchronous calls while it lasts. Thread-safe.
class ReflectionService final : public grpc::reflection::v1::ServerReflection::Service {
 public:
  // The services that it lists, by their full names.
  explicit ReflectionService(std::vector<std::string> service_names);

  grpc::Status ServerReflectionInfo(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<grpc::reflection::v1::ServerReflectionResponse,
                               grpc::reflection::v1::ServerReflectionRequest>* stream) override;

 private:
  const std::vector<std::string> service_names_;
};

}  // namespace postrider
