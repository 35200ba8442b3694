#include "src/server/rpc/unary_method.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "src/base/mutex.h"
#include "src/server/rpc/grpc_status.h"
#include "tests/server/rpc/grpc_probe.h"
#include "tests/server/rpc/queued_server.h"
#include "tests/server/rpc/raw_http2.h"

namespace postrider {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// A name of 5 bytes, but they do not follow.
constexpr char kNoRequest[] = "\x0a\x05";

// Holds each call until the test answers it.
class HeldService final : public QueuedService {
 public:
  struct Held {
    std::string name;
    HealthCheckResponse* response;
    UnaryCall* call;
    std::thread::id queue;
  };

  explicit HeldService(bool watched = false) : watched_(watched) {}

  std::vector<grpc::Service*> services() override { return {&service_}; }
  void TakeCalls(CallQueue& queue) override {
    methods_.push_back(std::make_unique<UnaryMethod<HealthCheckRequest, HealthCheckResponse>>(
        queue,
        [this, number = Api::MethodOf("Check")](auto... arguments) {
          service_.TakeUnary(number, arguments...);
        },
        [this](const HealthCheckRequest& request, HealthCheckResponse* response, UnaryCall* call) {
          MutexLock lock(&mutex_);
          held_.push_back({request.service(), response, call, std::this_thread::get_id()});
          changed_.SignalAll();
        },
        watched_));
  }

  std::vector<Held> WaitFor(size_t count) {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (held_.size() < count && absl::Now() < deadline) {
      changed_.WaitFor(&mutex_, absl::Seconds(1));
    }
    EXPECT_GE(held_.size(), count) << "they did not come within half a minute";
    return std::exchange(held_, {});
  }

 private:
  using Api = RawService<Health>;

  const bool watched_;
  Api service_;
  std::vector<std::unique_ptr<AnyUnaryMethod>> methods_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<Held> held_ ABSL_GUARDED_BY(mutex_);
};

// The calls of one client, all under way at once.
class Calls {
 public:
  Calls(const std::shared_ptr<grpc::Channel>& channel, int count)
      : stub_(Health::NewStub(channel)), calls_(static_cast<size_t>(count)) {
    for (size_t i = 0; i < calls_.size(); ++i) {
      HealthCheckRequest request;
      request.set_service(std::to_string(i));
      calls_[i].context = NewClientContext();
      calls_[i].reader = stub_->AsyncCheck(calls_[i].context.get(), request, &queue_);
      calls_[i].reader->Finish(&calls_[i].response, &calls_[i].status, &calls_[i]);
    }
  }

  struct Call {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<HealthCheckResponse>> reader;
    HealthCheckResponse response;
    grpc::Status status;
  };
  std::vector<Call>& WaitForAll() {
    void* tag = nullptr;
    bool ok = false;
    for (size_t i = 0; i < calls_.size(); ++i) queue_.Next(&tag, &ok);
    queue_.Shutdown();
    queue_.Next(&tag, &ok);
    return calls_;
  }

 private:
  std::unique_ptr<Health::Stub> stub_;
  grpc::CompletionQueue queue_;
  std::vector<Call> calls_;
};

TEST(UnaryMethodTest, ManyCallsWaitAtOnceAndGetTheirOwnAnswers) {
  constexpr int kCalls = 200;
  HeldService service;
  QueuedServer server(service);
  Calls calls(server.channel(), kCalls);
  // None is answered before all are there.
  std::vector<HeldService::Held> held = service.WaitFor(kCalls);
  for (HeldService::Held& one : held) {
    const int number = std::stoi(one.name);
    if (number % 2 == 0) {
      one.response->set_status(HealthCheckResponse::SERVING);
      one.call->Answer(grpc::Status::OK);
    } else {
      one.call->Answer({grpc::StatusCode::ABORTED, one.name});
    }
  }
  const std::vector<Calls::Call>& ended = calls.WaitForAll();
  for (size_t i = 0; i < ended.size(); ++i) {
    if (i % 2 == 0) {
      EXPECT_TRUE(ended[i].status.ok()) << ended[i].status.error_message();
      EXPECT_EQ(ended[i].response.status(), HealthCheckResponse::SERVING);
    } else {
      EXPECT_EQ(ended[i].status.error_code(), grpc::StatusCode::ABORTED);
      EXPECT_EQ(ended[i].status.error_message(), std::to_string(i));
    }
  }
}

TEST(UnaryMethodTest, AShutdownCancelsWhatIsHeldAndWaitsForItsAnswer) {
  HeldService service;
  QueuedServer server(service);
  Calls calls(server.channel(), 20);
  const std::vector<HeldService::Held> held = service.WaitFor(20);
  std::thread shutdown([&server] { server.Shutdown(absl::ZeroDuration()); });
  for (const Calls::Call& call : calls.WaitForAll()) EXPECT_FALSE(call.status.ok());
  // The clients have gone; the handlers answer all the same.
  for (const HeldService::Held& one : held) one.call->Answer(grpc::Status::OK);
  shutdown.join();
}

TEST(UnaryMethodTest, ACallThatItsClientCancelledCanBeAnswered) {
  HeldService service;
  QueuedServer server(service);
  auto stub = Health::NewStub(server.channel());
  std::vector<HeldService::Held> held;
  {
    const auto context = NewClientContext();
    std::thread cancel([&] {
      held = service.WaitFor(1);
      context->TryCancel();
    });
    HealthCheckResponse response;
    EXPECT_EQ(stub->Check(context.get(), {}, &response).error_code(), grpc::StatusCode::CANCELLED);
    cancel.join();
  }
  held.front().call->Answer(grpc::Status::OK);
  // The next one is not disturbed.
  std::thread answer([&service] { service.WaitFor(1).front().call->Answer(grpc::Status::OK); });
  HealthCheckResponse response;
  EXPECT_TRUE(stub->Check(NewClientContext().get(), {}, &response).ok());
  answer.join();
}

// Until the deadline of half a minute.
bool WaitUntilCancelled(const Cancellation& cancellation) {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!cancellation.cancelled() && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  return cancellation.cancelled();
}

TEST(UnaryMethodTest, AWatchedCallHearsWhenItsClientCancels) {
  HeldService service(/*watched=*/true);
  QueuedServer server(service);
  auto stub = Health::NewStub(server.channel());
  std::vector<HeldService::Held> held;
  std::shared_ptr<Cancellation> cancellation;
  {
    const auto context = NewClientContext();
    std::thread cancel([&] {
      held = service.WaitFor(1);
      cancellation = held.front().call->Context().cancellation;
      EXPECT_FALSE(cancellation->cancelled());
      context->TryCancel();
    });
    HealthCheckResponse response;
    EXPECT_EQ(stub->Check(context.get(), {}, &response).error_code(), grpc::StatusCode::CANCELLED);
    cancel.join();
  }
  EXPECT_TRUE(WaitUntilCancelled(*cancellation));
  bool heard = false;
  cancellation->OnCancel([&heard] { heard = true; });
  EXPECT_TRUE(heard) << "it is too late to wait for it";
  held.front().call->Answer(grpc::Status::OK);
}

TEST(UnaryMethodTest, AWatchedCallKnowsItsDeadlineAndHearsWhenItHasPassed) {
  HeldService service(/*watched=*/true);
  QueuedServer server(service);
  auto stub = Health::NewStub(server.channel());
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(200)));
  HealthCheckResponse response;
  EXPECT_EQ(stub->Check(&context, {}, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  std::vector<HeldService::Held> held = service.WaitFor(1);
  const CallContext of_call = held.front().call->Context();
  EXPECT_LT(of_call.deadline, absl::Now() + absl::Seconds(1));
  EXPECT_TRUE(WaitUntilCancelled(*of_call.cancellation));
  held.front().call->Answer(grpc::Status::OK);
}

TEST(UnaryMethodTest, AWatchedCallThatIsAnsweredIsNotCancelled) {
  HeldService service(/*watched=*/true);
  QueuedServer server(service);
  Calls calls(server.channel(), 20);
  std::vector<std::shared_ptr<Cancellation>> cancellations;
  for (const HeldService::Held& one : service.WaitFor(20)) {
    cancellations.push_back(one.call->Context().cancellation);
    one.call->Answer(grpc::Status::OK);
  }
  for (const Calls::Call& call : calls.WaitForAll()) {
    EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  }
  server.Shutdown(absl::InfiniteDuration());
  for (const auto& cancellation : cancellations) EXPECT_FALSE(cancellation->cancelled());
}

TEST(UnaryMethodTest, WhatIsNoRequestIsRefusedAndTakesNobodysPlace) {
  HeldService service;
  QueuedServer server(service);
  // More than can wait at once.
  for (int i = 0; i < 20; ++i) {
    std::string response;
    const grpc::Status refused =
        Exchange(server.channel(), "/grpc.health.v1.Health/Check", kNoRequest, &response);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonOf(refused), "MALFORMED_REQUEST");
    EXPECT_FALSE(HasRetryInfo(refused));
    EXPECT_THAT(refused.error_message(), testing::HasSubstr("cannot be parsed"));
    EXPECT_EQ(
        Exchange(server.channel(), "/grpc.health.v1.Health/Other", "", &response).error_code(),
        grpc::StatusCode::UNIMPLEMENTED);
  }
  Calls calls(server.channel(), 20);
  for (const HeldService::Held& one : service.WaitFor(20)) one.call->Answer(grpc::Status::OK);
  for (const Calls::Call& call : calls.WaitForAll()) {
    EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  }
}

TEST(ParseRequestTest, NothingIsKeptOfWhatIsNoRequest) {
  HealthCheckRequest request;
  const std::string whole =
      "\x0a\x03"
      "abc";
  for (const std::string& bytes : {whole + kNoRequest, whole}) {
    const grpc::Slice slice(bytes);
    grpc::ByteBuffer buffer(&slice, 1);
    const bool is_request = bytes == whole;
    EXPECT_EQ(ParseRequest(&buffer, &request).ok(), is_request);
    EXPECT_EQ(request.service(), is_request ? "abc" : "");
    EXPECT_FALSE(buffer.Valid());
  }
}

TEST(UnaryMethodTest, TextThatIsNotUtf8IsTheCallersFault) {
  HeldService service;
  QueuedServer server(service);
  std::string response;
  const grpc::Status refused = Exchange(server.channel(), "/grpc.health.v1.Health/Check",
                                        "\x0a\x02\xff\xfe", &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(refused), "MALFORMED_REQUEST");
}

TEST(UnaryMethodTest, ARequestThatIsTooLargeIsRefusedForGoodAndLetGo) {
  HealthCheckRequest request;
  const grpc::Slice slice(std::string(kMaxRequestBytes + 1, 'x'));
  grpc::ByteBuffer buffer(&slice, 1);
  const absl::Status status = ParseRequest(&buffer, &request);
  EXPECT_FALSE(buffer.Valid());
  const grpc::Status refused = ToGrpcStatus(status);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(refused), "REQUEST_TOO_LARGE");
  EXPECT_FALSE(HasRetryInfo(refused));
}

// A caller that asks for large answers and does not read them.
TEST(UnaryMethodTest, AnAnswerThatNobodyTakesIsCountedUntilItIsGivenUp) {
  constexpr int64_t kAnswer = 4 << 20;
  HeldService service;
  CallShares shares({10, 100, 2 * kAnswer});
  QueuedServer server(service);
  {
    RawHttp2 client(server.port());
    ASSERT_TRUE(client.Greet());
    ASSERT_TRUE(client.Send(
        RawHttp2::Frame(RawHttp2::kHeaders, RawHttp2::kEndHeaders, 1,
                        RawHttp2::CallHeader("/grpc.health.v1.Health/Check")) +
        RawHttp2::Frame(RawHttp2::kData, RawHttp2::kEndStream, 1, RawHttp2::Message(""))));
    const HeldService::Held held = service.WaitFor(1).front();
    const std::string peer = held.call->Context().peer;
    EXPECT_EQ(peer, "127.0.0.1");
    absl::StatusOr<CallShares::Share> share =
        shares.Take("t", peer, 1, 1, CallShares::Excess::kRefused);
    ASSERT_TRUE(share.ok());
    // What the message does not know, it keeps and sends as it is.
    held.response->GetReflection()
        ->MutableUnknownFields(held.response)
        ->AddLengthDelimited(99, std::string(kAnswer, 'x'));
    ASSERT_TRUE(share->Answered(static_cast<int64_t>(held.response->ByteSizeLong())).ok());
    held.call->Answer(grpc::Status::OK, *std::move(share));
    // The client's window has room for 64 KiB of it.
    EXPECT_GE(shares.metrics().answer_bytes.value(), kAnswer);
    server.GiveUpUnsent();
    while (shares.metrics().answer_bytes.value() > 0) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_EQ(shares.metrics().calls.value(), 0);
  }
}

TEST(UnaryMethodTest, EveryQueueTakesCalls) {
  constexpr int kQueues = 3;
  constexpr int kCalls = 50;
  HeldService service;
  QueuedServer server(service, kQueues);
  std::vector<std::unique_ptr<Calls>> clients;
  for (int i = 0; i < 2 * kQueues; ++i) {
    clients.push_back(std::make_unique<Calls>(server.NewChannel(), kCalls));
  }
  // All wait at once, and each queue frees its own.
  const auto held = service.WaitFor(clients.size() * kCalls);
  std::set<std::thread::id> queues;
  for (const HeldService::Held& one : held) queues.insert(one.queue);
  EXPECT_EQ(queues.size(), size_t{kQueues});
  for (const HeldService::Held& one : held) one.call->Answer(grpc::Status::OK);
  for (const auto& client : clients) {
    for (const Calls::Call& call : client->WaitForAll()) {
      EXPECT_TRUE(call.status.ok()) << call.status.error_message();
    }
  }
}

}  // namespace
}  // namespace postrider
