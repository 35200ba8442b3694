#include "tools/benchmark/bare_grpc.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
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
// As long as a short commit.
constexpr std::chrono::microseconds kCommit(500);

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

// A thread that answers what was handed to it, all that waits at a time.
class LaterAnswers {
 public:
  LaterAnswers() : thread_([this] { Run(); }) {}

  void Add(std::function<void()> answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(std::move(answer));
    if (waiting_.size() == 1) some_wait_.notify_one();
  }

 private:
  [[noreturn]] void Run() {
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        some_wait_.wait(lock, [this] { return !waiting_.empty(); });
      }
      std::this_thread::sleep_for(kCommit);
      std::vector<std::function<void()>> answers;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        answers.swap(waiting_);
      }
      for (const auto& answer : answers) answer();
    }
  }

  std::mutex mutex_;
  std::condition_variable some_wait_;
  std::vector<std::function<void()>> waiting_;
  std::thread thread_;
};

// One call, as src/server/rpc/unary_method.h takes it: whoever is done with it last deletes it.
class LaterCall {
 public:
  LaterCall(AsyncService& service, grpc::ServerCompletionQueue& queue, LaterAnswers& later)
      : service_(service), queue_(queue), later_(later) {
    service_.RequestPublishNotification(&context_, &request_, &writer_, &queue_, &queue_, this);
  }

  void Proceed() {
    if (std::exchange(taken_, true)) return LetGo();
    new LaterCall(service_, queue_, later_);
    FillAnswer(&response_);
    later_.Add([this] {
      writer_.Finish(response_, grpc::Status::OK, this);
      LetGo();
    });
  }

 private:
  void LetGo() {
    if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  AsyncService& service_;
  grpc::ServerCompletionQueue& queue_;
  LaterAnswers& later_;
  grpc::ServerContext context_;
  v1::PublishNotificationRequest request_;
  v1::PublishNotificationResponse response_;
  grpc::ServerAsyncResponseWriter<v1::PublishNotificationResponse> writer_{&context_};
  bool taken_ = false;
  std::atomic<int> users_{2};
};

class CallbacksLater final : public CallbackService {
 public:
  explicit CallbacksLater(LaterAnswers& later) : later_(later) {}

 private:
  grpc::ServerUnaryReactor* PublishNotification(
      grpc::CallbackServerContext* context, const v1::PublishNotificationRequest*,
      v1::PublishNotificationResponse* response) override {
    FillAnswer(response);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    later_.Add([reactor] { reactor->Finish(grpc::Status::OK); });
    return reactor;
  }

  LaterAnswers& later_;
};

void ServeQueueLater(AsyncService& service, grpc::ServerCompletionQueue& queue,
                     LaterAnswers& later) {
  // As many as Postrider's wait for each method.
  for (int i = 0; i < 8; ++i) new LaterCall(service, queue, later);
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) static_cast<LaterCall*>(tag)->Proceed();
}

void PrintReady(int port) {
  std::printf("ready grpc=127.0.0.1:%d\n", port);
  std::fflush(stdout);
}

}  // namespace

const char* Name(GrpcModel model) {
  switch (model) {
    case GrpcModel::kCompletionQueues:
      return "completion queues";
    case GrpcModel::kCallbacks:
      return "callbacks";
    case GrpcModel::kOneQueueLater:
      return "one queue, answers later";
    case GrpcModel::kCallbacksLater:
      return "callbacks, answers later";
  }
  return "";
}

int ServeBareGrpc(const std::string& model) {
  AsyncService async_service;
  Callbacks callback_service;
  LaterAnswers later;
  CallbacksLater callback_later_service(later);
  const bool one_queue = model == Name(GrpcModel::kOneQueueLater);
  const bool async = one_queue || model == Name(GrpcModel::kCompletionQueues);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  if (async) {
    builder.RegisterService(&async_service);
    for (int i = 0; i < (one_queue ? 1 : kQueues); ++i) {
      queues.push_back(builder.AddCompletionQueue());
    }
  } else if (model == Name(GrpcModel::kCallbacksLater)) {
    builder.RegisterService(&callback_later_service);
  } else {
    builder.RegisterService(&callback_service);
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  PrintReady(port);
  std::vector<std::thread> threads;
  for (const auto& queue : queues) {
    threads.emplace_back([&, one_queue] {
      if (one_queue) {
        ServeQueueLater(async_service, *queue, later);
      } else {
        ServeQueue(async_service, *queue);
      }
    });
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
