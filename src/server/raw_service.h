#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdlib>
#include <string>

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

// Takes the bytes away, whether they are a request or not: INTERNAL when they are none, as gRPC
// says it.
template <typename Request>
grpc::Status ParseRequest(grpc::ByteBuffer* bytes, Request* request) {
  grpc::Status status = grpc::SerializationTraits<Request>::Deserialize(bytes, request);
  bytes->Clear();
  if (status.ok()) return status;
  request->Clear();
  return {grpc::StatusCode::INTERNAL,
          "the request cannot be parsed: see that client and server use the same .proto files"};
}

}  // namespace postrider
