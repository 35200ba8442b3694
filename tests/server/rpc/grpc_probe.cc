#include "tests/server/rpc/grpc_probe.h"

#include <grpc/grpc.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "google/rpc/error_details.pb.h"

namespace postrider {
namespace {

grpc::ByteBuffer Pack(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string Unpack(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return "";
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// What gRPC's clients leave behind is freed on a thread of gRPC's, which would meet OpenSSL's end.
class GrpcEnd final : public ::testing::Environment {
  void TearDown() override {
    grpc_init();
    grpc_shutdown_blocking();
  }
};
[[maybe_unused]] const ::testing::Environment* const grpc_end =
    ::testing::AddGlobalTestEnvironment(new GrpcEnd);

}  // namespace

grpc::Status Exchange(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                      const std::string& request, std::string* response) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  const std::unique_ptr<grpc::ClientContext> context = NewClientContext();
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(context.get(), method, &queue);
  call->StartCall(nullptr);
  grpc::ByteBuffer answer;
  if (next()) {
    call->WriteLast(Pack(request), grpc::WriteOptions(), nullptr);
    if (next()) {
      call->Read(&answer, nullptr);
      if (next()) *response = Unpack(answer);
    }
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  queue.Shutdown();
  while (next()) {
  }
  return status;
}

std::unique_ptr<grpc::ClientContext> NewClientContext() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  return context;
}

std::string HealthOf(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  // HealthCheckRequest{string service = 1}, HealthCheckResponse{ServingStatus status = 1}.
  std::string request;
  if (!service.empty()) request = "\x0a" + std::string(1, static_cast<char>(service.size()));
  request += service;
  std::string response;
  const grpc::Status status = Exchange(channel, "/grpc.health.v1.Health/Check", request, &response);
  if (!status.ok()) return status.error_message();
  if (response == "\x08\x01") return "SERVING";
  return response == "\x08\x02" ? "NOT_SERVING" : "another status";
}

std::string ReflectedServices(const std::shared_ptr<grpc::Channel>& channel) {
  // ServerReflectionRequest{string list_services = 7}.
  std::string response;
  const grpc::Status status =
      Exchange(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
               std::string("\x3a\x00", 2), &response);
  return status.ok() ? response : status.error_message();
}

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  return details;
}

std::string ReasonOf(const grpc::Status& status) {
  const google::rpc::Status details = DetailsOf(status);
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

bool HasRetryInfo(const grpc::Status& status) {
  const google::rpc::Status details = DetailsOf(status);
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&retry)) return retry.retry_delay().seconds() > 0;
  }
  return false;
}

}  // namespace postrider
