#include "tools/benchmark/bare_grpc.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/server_process.h"

namespace postrider::bench {
namespace {

// A queue and a thread for each processor; calls that each queue is ready to take.
constexpr int kQueues = 2;
constexpr int kCallsPerQueue = 256;

// As long as Postrider's.
void FillAnswer(v1::PublishNotificationResponse* response) {
  response->set_notification_id("ntf_1jzqkwv8g000000000000");
  response->set_delivery_count(1);
}

using AsyncService =
    v1::NotificationService::WithAsyncMethod_PublishNotification<v1::NotificationService::Service>;
using CallbackService = v1::NotificationService::WithCallbackMethod_PublishNotification<
    v1::NotificationService::Service>;

// Takes one call after another.
class AsyncCall {
 public:
  AsyncCall(AsyncService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue) {
    Await();
  }

  void Proceed() {
    if (answering_) {
      Await();
      return;
    }
    answering_ = true;
    FillAnswer(&response_);
    writer_->Finish(response_, grpc::Status::OK, this);
  }

 private:
  void Await() {
    answering_ = false;
    writer_.reset();
    context_.emplace();
    writer_.emplace(&*context_);
    service_.RequestPublishNotification(&*context_, &request_, &*writer_, &queue_, &queue_, this);
  }

  AsyncService& service_;
  grpc::ServerCompletionQueue& queue_;
  bool answering_ = false;
  std::optional<grpc::ServerContext> context_;
  v1::PublishNotificationRequest request_;
  v1::PublishNotificationResponse response_;
  std::optional<grpc::ServerAsyncResponseWriter<v1::PublishNotificationResponse>> writer_;
};

class Callbacks final : public CallbackService {
  grpc::ServerUnaryReactor* PublishNotification(
      grpc::CallbackServerContext* context, const v1::PublishNotificationRequest*,
      v1::PublishNotificationResponse* response) override {
    FillAnswer(response);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

void ServeQueue(AsyncService& service, grpc::ServerCompletionQueue& queue) {
  std::vector<std::unique_ptr<AsyncCall>> calls;
  for (int i = 0; i < kCallsPerQueue; ++i) {
    calls.push_back(std::make_unique<AsyncCall>(service, queue));
  }
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) static_cast<AsyncCall*>(tag)->Proceed();
}

void PrintReady(int port) {
  std::printf("ready grpc=127.0.0.1:%d\n", port);
  std::fflush(stdout);
}

}  // namespace

const char* Name(GrpcModel model) {
  return model == GrpcModel::kCompletionQueues ? "completion queues" : "callbacks";
}

int ServeBareGrpc(const std::string& model) {
  AsyncService async_service;
  Callbacks callback_service;
  const bool async = model == Name(GrpcModel::kCompletionQueues);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  if (async) {
    builder.RegisterService(&async_service);
    for (int i = 0; i < kQueues; ++i) queues.push_back(builder.AddCompletionQueue());
  } else {
    builder.RegisterService(&callback_service);
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  PrintReady(port);
  std::vector<std::thread> threads;
  for (const auto& queue : queues) {
    threads.emplace_back([&async_service, &queue] { ServeQueue(async_service, *queue); });
  }
  server->Wait();
  for (std::thread& thread : threads) thread.join();
  return 0;
}

BareGrpcServer::BareGrpcServer(GrpcModel model, const std::string& log)
    : process_({"/proc/self/exe", "bare-grpc-server", Name(model)}, log) {
  address_ = ReadyField(process_.ReadLine(absl::Seconds(20)), "grpc=");
}

}  // namespace postrider::bench
