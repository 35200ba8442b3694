#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "src/server/api/errors.h"

namespace postrider {

// A generated service (`Api`, such as grpc::health::v1::Health) whose requests are taken as bytes.
// When gRPC parses them itself, and one cannot be parsed, what it has of it stays in the waiting
// call for as long as no other comes: a client could fill all that wait with the largest requests.
//
// Thread-safe, but for its registration with a grpc::ServerBuilder.
template <typename Api>
class RawService final : public Api::AsyncService {
 public:
  template <typename Response>
  void TakeUnary(int method, grpc::ServerContext* context, grpc::ByteBuffer* request,
                 grpc::ServerAsyncResponseWriter<Response>* writer,
                 grpc::ServerCompletionQueue* queue, void* tag) {
    this->RequestAsyncUnary(method, context, request, writer, queue, queue, tag);
  }

  template <typename Response>
  void TakeStream(int method, grpc::ServerContext* context, grpc::ByteBuffer* request,
                  grpc::ServerAsyncWriter<Response>* writer, grpc::ServerCompletionQueue* queue,
                  void* tag) {
    this->RequestAsyncServerStreaming(method, context, request, writer, queue, queue, tag);
  }

  // The number of a method, as gRPC has it: its place in the service. Ends the process when there
  // is none of that name.
  static int MethodOf(const std::string& name) {
    const auto* const service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
            Api::service_full_name());
    const auto* const method = service == nullptr ? nullptr : service->FindMethodByName(name);
    if (method == nullptr) std::abort();
    return method->index();
  }
};

// What a request may be, as it comes over the wire. gRPC takes a little more, so that a caller
// hears of it from us: gRPC's own answer looks as if a later try might succeed.
inline constexpr size_t kMaxRequestBytes = size_t{16} << 20;

// Takes the bytes away, whether they are a request or not: INVALID_ARGUMENT when they are none, or
// too many.
template <typename Request>
absl::Status ParseRequest(grpc::ByteBuffer* bytes, Request* request) {
  const size_t size = bytes->Length();
  if (size > kMaxRequestBytes) {
    bytes->Clear();
    return RequestTooLarge(size, kMaxRequestBytes);
  }
  const bool parsed = grpc::SerializationTraits<Request>::Deserialize(bytes, request).ok();
  bytes->Clear();
  if (parsed) return absl::OkStatus();
  request->Clear();
  return MalformedRequest();
}

// INTERNAL when it is larger than any message may be.
template <typename Response>
grpc::Status SerializeResponse(const Response& response, grpc::ByteBuffer* bytes) {
  bool owned = false;
  return grpc::SerializationTraits<Response>::Serialize(response, bytes, &owned);
}

}  // namespace postrider
