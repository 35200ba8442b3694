#include "src/server/rpc/rpc_services.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "src/base/mutex.h"
#include "src/server/api/delivery_handlers.h"
#include "src/server/api/notification_handlers.h"
#include "src/server/api/webhook_handlers.h"
#include "src/server/api/webhook_tester.h"
#include "src/server/observe/metrics_page.h"
#include "tests/server/rpc/grpc_probe.h"
#include "tests/server/rpc/queued_server.h"
#include "tests/support/fake_status_source.h"
#include "tests/support/fake_transport.h"
#include "tests/support/manual_executor.h"
#include "tests/support/memory_outbox.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMaxInFlightBytes = 64'000;
// What a webhook's configuration may answer takes most of it.
constexpr int64_t kMaxAnswerBytes = 1'200'000;

// A call on a thread of its own.
class AsyncCall {
 public:
  explicit AsyncCall(std::function<grpc::Status()> call)
      : thread_([this, call = std::move(call)] {
          grpc::Status status = call();
          MutexLock lock(&mutex_);
          status_ = std::move(status);
        }) {}
  ~AsyncCall() { thread_.join(); }

  std::optional<grpc::Status> status() const {
    MutexLock lock(&mutex_);
    return status_;
  }

 private:
  mutable Mutex mutex_;
  std::optional<grpc::Status> status_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// The services behind a real gRPC server, over handlers whose outbox the test drives.
class RpcServicesTest : public ::testing::Test {
 protected:
  RpcServicesTest() {
    const auto& channel = server_->channel();
    webhook_stub_ = v1::WebhookService::NewStub(channel);
    notification_stub_ = v1::NotificationService::NewStub(channel);
    delivery_stub_ = v1::DeliveryService::NewStub(channel);
  }
  ~RpcServicesTest() override {
    // Answers what still waits.
    outbox_.reset();
    server_->Shutdown(absl::Seconds(2));
  }

  void Open() { gate_.Open({&webhooks_, &notifications_, &deliveries_}); }

  // Lets the outbox answer until the call has ended.
  grpc::Status Finish(const AsyncCall& call) {
    for (;;) {
      outbox_->RunPending();
      if (std::optional<grpc::Status> status = call.status()) return *std::move(status);
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  void WaitForQueuedWrites(size_t count) const {
    while (outbox_->queued_writes() < count) absl::SleepFor(absl::Milliseconds(1));
  }

  static v1::PublishNotificationRequest Request(size_t bytes) {
    v1::PublishNotificationRequest request;
    request.mutable_notification()->set_notification_type("T");
    request.mutable_notification()->set_json_payload("{\"a\":\"" + std::string(bytes, 'x') + "\"}");
    return request;
  }

  std::function<grpc::Status()> Publish(size_t bytes, const std::string& tenant = "") {
    return [this, bytes, tenant] {
      v1::PublishNotificationRequest request = Request(bytes);
      request.set_tenant(tenant);
      v1::PublishNotificationResponse response;
      return notification_stub_->PublishNotification(NewClientContext().get(), request, &response);
    };
  }

  // `stub->method` with an empty request.
  template <typename Stub, typename Request, typename Response>
  static std::function<grpc::Status()> Empty(
      Stub* stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*)) {
    return [stub, method] {
      Response response;
      return (stub->*method)(NewClientContext().get(), Request(), &response);
    };
  }

  struct Method {
    std::string name;
    bool reads;
    std::function<grpc::Status()> call;
  };
  // Every method of the API.
  std::vector<Method> Methods() {
    using W = v1::WebhookService::Stub;
    using N = v1::NotificationService::Stub;
    using D = v1::DeliveryService::Stub;
    W* w = webhook_stub_.get();
    N* n = notification_stub_.get();
    D* d = delivery_stub_.get();
    return {
        {"ConfigureWebhook", false, Empty(w, &W::ConfigureWebhook)},
        {"ValidateWebhook", false, Empty(w, &W::ValidateWebhook)},
        {"GetWebhook", true, Empty(w, &W::GetWebhook)},
        {"ListWebhooks", true, Empty(w, &W::ListWebhooks)},
        {"DeleteWebhook", false, Empty(w, &W::DeleteWebhook)},
        {"RotateSigningSecret", false, Empty(w, &W::RotateSigningSecret)},
        {"PublishNotification", false, Empty(n, &N::PublishNotification)},
        {"BatchPublishNotifications", false, Empty(n, &N::BatchPublishNotifications)},
        {"GetNotification", true, Empty(n, &N::GetNotification)},
        {"ListNotifications", true, Empty(n, &N::ListNotifications)},
        {"ListDeliveries", true, Empty(d, &D::ListDeliveries)},
        {"GetDelivery", true, Empty(d, &D::GetDelivery)},
        {"RetryDelivery", false, Empty(d, &D::RetryDelivery)},
    };
  }

  const CallMetrics::OfMethod& CountsOf(const std::string& name) const {
    size_t found = kMethodCount;
    ForEachMethod([&](const auto& method, size_t number) {
      if (method.name == name) found = number;
    });
    return gate_.metrics().methods[found];
  }
  uint64_t Ended(const std::string& name) const {
    uint64_t ended = 0;
    for (const Counter& counter : CountsOf(name).ended) ended += counter.value();
    return ended;
  }

  SeededRandom random_{7};
  MemoryStore store_;
  std::unique_ptr<MemoryOutbox> outbox_ =
      std::make_unique<MemoryOutbox>(SystemClock(), store_, nullptr);
  FakeTransport transport_;
  ManualExecutor executor_;
  WebhookTester tester_{{{&executor_, &transport_}}, SystemClock(), "1.2.3"};
  FakeStatusSource status_;
  WebhookHandlers webhooks_{*outbox_, tester_, status_, SystemClock(), random_};
  NotificationHandlers notifications_{*outbox_, 100'000};
  DeliveryHandlers deliveries_{*outbox_, status_, SystemClock()};

  CallGate gate_{SystemClock(), {1000, kMaxInFlightBytes, kMaxAnswerBytes}, nullptr};
  RpcServices services_{gate_};
  std::unique_ptr<QueuedServer> server_ = std::make_unique<QueuedServer>(services_);
  std::unique_ptr<v1::WebhookService::Stub> webhook_stub_;
  std::unique_ptr<v1::NotificationService::Stub> notification_stub_;
  std::unique_ptr<v1::DeliveryService::Stub> delivery_stub_;
};

TEST_F(RpcServicesTest, UntilItIsOpenEveryMethodSaysStarting) {
  for (const Method& method : Methods()) {
    const grpc::Status status = method.call();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(ReasonOf(status), "STARTING");
    EXPECT_TRUE(HasRetryInfo(status));
  }
}

TEST_F(RpcServicesTest, EveryMethodReachesItsHandlerAndIsCounted) {
  Open();
  for (const Method& method : Methods()) {
    const AsyncCall call(method.call);
    const grpc::Status status = Finish(call);
    // None of them is a request that the server itself fails at.
    EXPECT_THAT(status.error_code(),
                ::testing::AnyOf(grpc::StatusCode::OK, grpc::StatusCode::INVALID_ARGUMENT,
                                 grpc::StatusCode::NOT_FOUND))
        << status.error_message();
    EXPECT_EQ(Ended(method.name), 1u) << method.name;
  }
  EXPECT_EQ(gate_.metrics().in_flight.value(), 0);
  EXPECT_EQ(gate_.metrics().in_flight_bytes.value(), 0);
}

TEST_F(RpcServicesTest, WhenItDrainsOnlyReadsAreAdmitted) {
  Open();
  gate_.StopAdmission();
  gate_.StopAdmission();
  for (const Method& method : Methods()) {
    const AsyncCall call(method.call);
    const grpc::Status status = Finish(call);
    if (method.reads) {
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    } else {
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
      EXPECT_EQ(ReasonOf(status), "STOPPING");
      EXPECT_TRUE(HasRetryInfo(status));
    }
  }
}

TEST_F(RpcServicesTest, RequestsUnderWayAreBoundedByTheirBytesAndSharedByTenant) {
  Open();
  outbox_->HoldCommits(true);
  const AsyncCall first(Publish(kMaxInFlightBytes - kMaxInFlightBytes / 16));
  WaitForQueuedWrites(1);

  for (const size_t bytes : {size_t{2000}, kMaxInFlightBytes / 8}) {
    const grpc::Status refused = Publish(bytes)();
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonOf(refused), "TOO_MANY_REQUESTS");
    EXPECT_TRUE(HasRetryInfo(refused));
  }
  // What is left is for others.
  const AsyncCall other(Publish(2000, "other"));
  WaitForQueuedWrites(2);

  outbox_->HoldCommits(false);
  EXPECT_TRUE(Finish(first).ok());
  Finish(other);
  const AsyncCall again(Publish(2000));
  EXPECT_TRUE(Finish(again).ok());
  EXPECT_EQ(gate_.metrics().in_flight_bytes.value(), 0);
}

TEST_F(RpcServicesTest, AnAnswerThatFindsNoRoomIsRefusedAndPublishingGoesOn) {
  Open();
  const AsyncCall first(Publish(60'000));
  ASSERT_TRUE(Finish(first).ok());
  const AsyncCall configure([this] {
    v1::ConfigureWebhookRequest request;
    request.mutable_webhook()->set_name("hook");
    request.mutable_webhook()->set_url("https://receiver.example/");
    request.mutable_webhook()->set_enabled(true);
    v1::ConfigureWebhookResponse response;
    return webhook_stub_->ConfigureWebhook(NewClientContext().get(), request, &response);
  });
  while (executor_.empty()) {
    outbox_->RunPending();
    absl::SleepFor(absl::Milliseconds(1));
  }

  const AsyncCall list([this] {
    v1::ListNotificationsRequest request;
    request.set_page_size(1);
    v1::ListNotificationsResponse response;
    return notification_stub_->ListNotifications(NewClientContext().get(), request, &response);
  });
  const grpc::Status refused = Finish(list);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(refused), "TOO_MANY_REQUESTS");
  EXPECT_TRUE(HasRetryInfo(refused));
  EXPECT_EQ(CountsOf("ListNotifications")
                .ended[static_cast<size_t>(grpc::StatusCode::RESOURCE_EXHAUSTED)]
                .value(),
            1u);
  const AsyncCall second(Publish(100));
  EXPECT_TRUE(Finish(second).ok());
  executor_.Stop();
  Finish(configure);
}

TEST_F(RpcServicesTest, ACallThatTheOutboxDropsHearsThatTheServerStops) {
  Open();
  outbox_->HoldCommits(true);
  const AsyncCall call(Publish(100));
  WaitForQueuedWrites(1);
  outbox_.reset();
  std::optional<grpc::Status> status;
  while (!(status = call.status()).has_value()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(status->error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(*status), "STOPPING");
}

TEST_F(RpcServicesTest, InnerErrorsAreNotShownToCallers) {
  Open();
  outbox_->BreakDisk(/*stored=*/false);
  const AsyncCall call(Publish(100));
  const grpc::Status status = Finish(call);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNKNOWN);
  EXPECT_THAT(status.error_message(), HasSubstr("the disk failed"));
}

TEST_F(RpcServicesTest, ThePageShowsCallsByMethodAndCode) {
  Open();
  const AsyncCall good(Publish(100));
  ASSERT_TRUE(Finish(good).ok());
  const AsyncCall bad(
      Empty(notification_stub_.get(), &v1::NotificationService::Stub::PublishNotification));
  ASSERT_FALSE(Finish(bad).ok());
  MetricsPage page;
  services_.AddMetrics(&page);
  const std::string text = page.Text();
  EXPECT_THAT(text, HasSubstr("postrider_grpc_requests_total{code=\"OK\","
                              "method=\"PublishNotification\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("postrider_grpc_requests_total{code=\"INVALID_ARGUMENT\","
                              "method=\"PublishNotification\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("postrider_grpc_request_seconds_count{method=\"PublishNotification\"} 2"));
  EXPECT_THAT(text, HasSubstr("postrider_grpc_in_flight 0\n"));
}

}  // namespace
}  // namespace postrider
