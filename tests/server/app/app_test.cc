#include "src/server/app/app.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "src/base/mutex.h"
#include "tests/server/app/app_harness.h"
#include "tests/server/rpc/grpc_probe.h"
#include "tests/support/http_client.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Text(const std::optional<Failure>& failure) {
  return failure.has_value() ? failure->message : "no failure";
}

// Lets requests wait until it is opened. Thread-safe.
class Door {
 public:
  void Open() {
    MutexLock lock(&mutex_);
    open_ = true;
    opened_.SignalAll();
  }
  void Close() {
    MutexLock lock(&mutex_);
    open_ = false;
  }
  // For a sink's script. The sink serves nobody meanwhile.
  void Pass() {
    MutexLock lock(&mutex_);
    while (!open_) opened_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar opened_;
  bool open_ ABSL_GUARDED_BY(mutex_) = true;
};

class AppTest : public ::testing::Test {
 protected:
  // The sink's thread may still wait.
  void TearDown() override { door_.Open(); }

  // A webhook at the sink, past the gate.
  void ConfigureSink() {
    const grpc::Status status = harness_.Configure(WebhookAt("hook", sink_.Url()));
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(sink_.request_count(), 1u);
  }

  // Those that came after the test request.
  std::vector<SinkRequest> Received() const {
    std::vector<SinkRequest> requests = sink_.requests();
    requests.erase(requests.begin(), requests.begin() + 1);
    return requests;
  }

  Door door_;
  HttpSink sink_;
  AppHarness harness_;
};

TEST_F(AppTest, DeliversWhatIsPublished) {
  harness_.Start();
  ConfigureSink();
  std::string id;
  ASSERT_TRUE(harness_.Publish(R"({"big":9007199254740993,"a":1e400})", &id).ok());
  EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));

  const std::vector<SinkRequest> received = Received();
  ASSERT_EQ(received.size(), 1u);
  EXPECT_EQ(received[0].method, "POST");
  EXPECT_EQ(received[0].target, "/hook");
  EXPECT_THAT(received[0].body, HasSubstr(R"({"big":9007199254740993,"a":1e400})"));
  EXPECT_EQ(received[0].Header("content-type"), "application/json");
  EXPECT_TRUE(received[0].Header("webhook-signature").has_value());

  const std::vector<v1::Delivery> deliveries = harness_.DeliveriesOf(id);
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries[0].webhook_name(), "hook");
  EXPECT_EQ(deliveries[0].attempt_count(), 1);
  EXPECT_EQ(deliveries[0].last_http_status(), 200);
}

TEST_F(AppTest, ValidatesAStoredWebhook) {
  harness_.Start();
  ConfigureSink();
  sink_.SetScript([](const SinkRequest&) { return SinkAnswer{.status = 204}; });
  v1::ValidateWebhookRequest request;
  request.mutable_ref()->set_name("hook");
  v1::ValidateWebhookResponse response;
  ASSERT_TRUE(
      harness_.webhooks().ValidateWebhook(NewClientContext().get(), request, &response).ok());
  EXPECT_FALSE(response.validation().valid());
  EXPECT_EQ(response.validation().http_status(), 204);
  EXPECT_EQ(response.validation().request().url(), sink_.Url());
  EXPECT_EQ(response.validation().request().body(), sink_.requests().back().body);
}

TEST_F(AppTest, AWebhookThatFailsItsTestIsRefusedWithWhatCameOfIt) {
  harness_.Start();
  sink_.SetScript([](const SinkRequest&) { return SinkAnswer{.status = 500, .body = "broken"}; });
  const grpc::Status status = harness_.Configure(WebhookAt("hook", sink_.Url()));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::ValidationResult result;
  const google::rpc::Status details = DetailsOf(status);
  EXPECT_TRUE(std::any_of(details.details().begin(), details.details().end(),
                          [&result](const auto& detail) { return detail.UnpackTo(&result); }));
  EXPECT_FALSE(result.valid());
  EXPECT_EQ(result.http_status(), 500);
  EXPECT_EQ(result.response().body(), "broken");

  v1::GetWebhookRequest get;
  get.set_name("hook");
  v1::GetWebhookResponse stored;
  EXPECT_EQ(harness_.webhooks().GetWebhook(NewClientContext().get(), get, &stored).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(AppTest, ReceiversOnLoopbackAreRefusedUnlessTheyAreAllowed) {
  harness_.config().allow_networks.clear();
  harness_.Start();
  const grpc::Status status = harness_.Configure(WebhookAt("hook", sink_.Url()));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("--allow-network"));
  EXPECT_EQ(sink_.connection_count(), 0u);
}

TEST_F(AppTest, AFailedDeliveryIsTriedAgain) {
  harness_.Start();
  ConfigureSink();
  sink_.SetScript([this](const SinkRequest&) {
    return SinkAnswer{.status = sink_.request_count() < 4 ? 503 : 200};
  });
  std::string id;
  ASSERT_TRUE(harness_.Publish("{}", &id).ok());
  EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));
  const std::vector<SinkRequest> received = Received();
  ASSERT_EQ(received.size(), 3u);
  EXPECT_EQ(received[0].Header("webhook-id"), received[2].Header("webhook-id"));

  v1::GetDeliveryRequest request;
  request.set_delivery_id(harness_.DeliveriesOf(id).at(0).delivery_id());
  v1::GetDeliveryResponse response;
  ASSERT_TRUE(harness_.deliveries().GetDelivery(NewClientContext().get(), request, &response).ok());
  ASSERT_EQ(response.attempts_size(), 3);
  EXPECT_EQ(response.attempts(0).http_status(), 503);
  EXPECT_EQ(response.attempts(2).http_status(), 200);
}

TEST_F(AppTest, SaysThatItServes) {
  harness_.Start();
  EXPECT_EQ(HealthOf(harness_.channel(), ""), "SERVING");
  EXPECT_EQ(HealthOf(harness_.channel(), "postrider.v1.DeliveryService"), "SERVING");
  EXPECT_THAT(ReflectedServices(harness_.channel()), HasSubstr("postrider.v1.DeliveryService"));
  const int port = harness_.app().http_address().port;
  EXPECT_THAT(HttpGet(port, "/readyz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(HttpGet(port, "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(HttpGet(port, "/metrics"),
              AllOf(HasSubstr("postrider_outbox_"), HasSubstr("postrider_attempts_total"),
                    HasSubstr("postrider_grpc_in_flight"), HasSubstr("\nprocess_max_fds "),
                    HasSubstr("\npostrider_build_info{version=\"0."),
                    HasSubstr("\npostrider_outbox_max_bytes 17179869184\n"),
                    HasSubstr("\npostrider_outbox_min_free_bytes 0\n"),
                    HasSubstr("\npostrider_http_connections 1\n"),
                    HasSubstr("process_cpu_seconds_total")));
}

TEST_F(AppTest, WhileItDrainsItRefusesWritesAndAnswersReads) {
  harness_.Start();
  ConfigureSink();
  std::string id;
  ASSERT_TRUE(harness_.Publish("{}", &id).ok());
  ASSERT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));

  harness_.app().BeginDrain();
  EXPECT_EQ(HealthOf(harness_.channel(), ""), "NOT_SERVING");
  EXPECT_EQ(HealthOf(harness_.channel(), "postrider.v1.NotificationService"), "NOT_SERVING");
  const int port = harness_.app().http_address().port;
  EXPECT_THAT(HttpGet(port, "/readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(HttpGet(port, "/healthz"), StartsWith("HTTP/1.1 200"));

  std::string refused;
  const grpc::Status publish = harness_.Publish("{}", &refused);
  EXPECT_EQ(publish.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(publish), "STOPPING");
  EXPECT_TRUE(HasRetryInfo(publish));
  const grpc::Status configure = harness_.Configure(WebhookAt("hook", sink_.Url()));
  EXPECT_EQ(configure.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(harness_.DeliveriesOf(id).size(), 1u);
  EXPECT_TRUE(harness_.WaitUntilIdle());
}

TEST_F(AppTest, ADrainWaitsForWhatIsUnderWayAndRecordsIt) {
  harness_.Start();
  ConfigureSink();
  door_.Close();
  sink_.SetScript([this](const SinkRequest&) {
    door_.Pass();
    return SinkAnswer{};
  });
  std::string id;
  ASSERT_TRUE(harness_.Publish("{}", &id).ok());
  ASSERT_TRUE(sink_.WaitForRequests(2));

  harness_.app().BeginDrain();
  EXPECT_FALSE(harness_.app().idle());
  door_.Open();
  ASSERT_TRUE(harness_.WaitUntilIdle());
  // On disk, not merely on its way there.
  const std::vector<v1::Delivery> deliveries = harness_.DeliveriesOf(id);
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries[0].state(), v1::DELIVERY_STATE_DELIVERED);

  harness_.Start();
  EXPECT_EQ(harness_.DeliveriesOf(id).at(0).state(), v1::DELIVERY_STATE_DELIVERED);
  EXPECT_EQ(sink_.request_count(), 2u);
}

TEST_F(AppTest, NothingNewIsSentOnceItDrains) {
  harness_.Start();
  v1::Webhook webhook = WebhookAt("hook", sink_.Url());
  webhook.set_max_concurrency(1);
  ASSERT_TRUE(harness_.Configure(webhook).ok());
  door_.Close();
  sink_.SetScript([this](const SinkRequest&) {
    door_.Pass();
    return SinkAnswer{};
  });
  std::string first;
  std::string second;
  ASSERT_TRUE(harness_.Publish("{}", &first).ok());
  ASSERT_TRUE(harness_.Publish("{}", &second).ok());
  ASSERT_TRUE(sink_.WaitForRequests(2));
  harness_.app().BeginDrain();
  door_.Open();
  ASSERT_TRUE(harness_.WaitUntilIdle());
  EXPECT_EQ(sink_.request_count(), 2u);
  EXPECT_EQ(harness_.DeliveriesOf(second).at(0).state(), v1::DELIVERY_STATE_PENDING);

  harness_.Start();
  EXPECT_TRUE(harness_.WaitForState(second, v1::DELIVERY_STATE_DELIVERED));
}

TEST_F(AppTest, WhatIsAbandonedStaysOwedAndTheNextAppDeliversIt) {
  harness_.Start();
  ConfigureSink();
  sink_.SetScript([](const SinkRequest&) { return SinkAnswer{.way = SinkAnswer::Way::kHang}; });
  std::string id;
  ASSERT_TRUE(harness_.Publish("{}", &id).ok());
  ASSERT_TRUE(sink_.WaitForRequests(2));

  harness_.app().BeginDrain();
  harness_.app().Abandon();
  ASSERT_TRUE(harness_.WaitUntilIdle());
  EXPECT_EQ(harness_.DeliveriesOf(id).at(0).state(), v1::DELIVERY_STATE_PENDING);

  sink_.SetScript({});
  harness_.Start();
  EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));
  const std::vector<SinkRequest> received = Received();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(received[0].Header("webhook-id"), received[1].Header("webhook-id"));
  // An attempt that was broken off by us says nothing about the receiver.
  EXPECT_EQ(harness_.DeliveriesOf(id).at(0).attempt_count(), 1);
}

TEST_F(AppTest, AStopDoesNotWaitForReceivers) {
  harness_.Start();
  ConfigureSink();
  sink_.SetScript([](const SinkRequest&) { return SinkAnswer{.way = SinkAnswer::Way::kHang}; });
  std::string id;
  ASSERT_TRUE(harness_.Publish("{}", &id).ok());
  v1::Webhook slow = WebhookAt("slow", sink_.Url("/slow"));
  slow.mutable_timeout()->set_seconds(300);
  grpc::Status configured;
  std::thread caller([&] { configured = harness_.Configure(slow); });
  // The test request, the delivery, and the test request of the other webhook.
  ASSERT_TRUE(sink_.WaitForRequests(3));
  // The receivers' timeouts are far away, and so is that of the test itself.
  harness_.app().Stop();
  caller.join();
  EXPECT_EQ(configured.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(configured), "STOPPING");
}

TEST_F(AppTest, StopIsIdempotent) {
  harness_.Start();
  harness_.app().Stop();
  harness_.app().Stop();
  harness_.app().BeginDrain();
  harness_.app().Abandon();
  harness_.Start();
  EXPECT_EQ(HealthOf(harness_.channel(), ""), "SERVING");
}

TEST_F(AppTest, StopsAtAnyMomentWithCallsUnderWayAndLosesNothing) {
  harness_.config().pump_threads = 2;
  harness_.Start();
  ConfigureSink();
  Mutex mutex;
  std::set<std::string> acknowledged;
  for (int round = 0; round < 10; ++round) {
    if (round > 0) harness_.Start();
    std::atomic<int> published = 0;
    std::atomic<int> others = 0;
    std::atomic<int> ended = 0;
    std::vector<std::thread> callers;
    callers.reserve(4);
    for (int i = 0; i < 4; ++i) {
      callers.emplace_back([&] {
        for (;;) {
          std::string id;
          const grpc::Status status = harness_.Publish("{}", &id);
          if (!status.ok()) {
            const bool stopping = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                                  status.error_code() == grpc::StatusCode::CANCELLED;
            EXPECT_TRUE(stopping) << status.error_code() << ": " << status.error_message();
            ++ended;
            return;
          }
          ++published;
          MutexLock lock(&mutex);
          acknowledged.insert(id);
        }
      });
    }
    callers.emplace_back([&] {
      v1::ListDeliveriesResponse response;
      while (harness_.deliveries().ListDeliveries(NewClientContext().get(), {}, &response).ok()) {
        ++others;
      }
      ++ended;
    });
    while ((published < 5 * round || others == 0) && ended == 0) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    harness_.app().Stop();
    for (std::thread& caller : callers) caller.join();
    harness_.app().Stop();
  }
  harness_.Start();
  for (const std::string& id : acknowledged) {
    EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED)) << id;
  }
  std::set<std::string> delivered;
  for (const SinkRequest& request : Received()) delivered.insert(*request.Header("webhook-id"));
  EXPECT_GE(delivered.size(), acknowledged.size());
}

TEST_F(AppTest, ADataDirectoryHasOneApp) {
  harness_.Start();
  AppHarness second;
  second.config().data_dir = harness_.config().data_dir;
  const std::optional<Failure> failure = second.TryStart();
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kCannotUse);
  EXPECT_THAT(failure->message,
              AllOf(HasSubstr(harness_.config().data_dir), HasSubstr(std::to_string(getpid()))));
  // The first is none the worse for it.
  EXPECT_EQ(HealthOf(harness_.channel(), ""), "SERVING");
  harness_.Destroy();
  EXPECT_EQ(Text(second.TryStart()), "no failure");
}

TEST_F(AppTest, AnAddressThatIsTakenIsSaid) {
  harness_.Start();
  AppHarness second;
  second.config().listen = harness_.address();
  std::optional<Failure> failure = second.TryStart();
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kUnavailable);
  EXPECT_THAT(failure->message, HasSubstr("--listen"));

  second.config().listen = "127.0.0.1:0";
  second.config().http_listen = harness_.app().http_address().ToString();
  failure = second.TryStart();
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kUnavailable);
  EXPECT_THAT(failure->message, HasSubstr("--http-listen"));
  // Nothing of it is left behind.
  second.config().http_listen = "127.0.0.1:0";
  EXPECT_EQ(Text(second.TryStart()), "no failure");
}

TEST_F(AppTest, ANetworkThatIsNoneIsNamed) {
  harness_.config().allow_networks = {"127.0.0.0/8", "10.0.0.0/33"};
  const std::optional<Failure> failure = harness_.TryStart();
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kUsage);
  EXPECT_THAT(failure->message, HasSubstr("--allow-network 10.0.0.0/33"));
}

TEST_F(AppTest, AForeignDatabaseIsRefusedAndUntouched) {
  harness_.Start();
  harness_.Destroy();
  const std::string path = harness_.config().data_dir + "/outbox.db";
  const std::string garbage(8192, 'x');
  std::ofstream(path, std::ios::trunc) << garbage;
  const std::optional<Failure> failure = harness_.TryStart();
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kData);
  EXPECT_THAT(failure->message, HasSubstr(path));
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), garbage);
}

TEST_F(AppTest, ADirectoryThatCannotBeMadeIsNamed) {
  harness_.config().data_dir = "/dev/null/data";
  const std::optional<Failure> failure = harness_.TryStart();
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kCannotUse);
  EXPECT_THAT(failure->message, HasSubstr("/dev/null"));
}

TEST_F(AppTest, ARequestOver16MiBIsRefusedAndTheRestGoesOn) {
  harness_.Start();
  std::string id;
  const grpc::Status status = harness_.Publish(std::string(size_t{17} << 20, ' '), &id);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(harness_.Publish("{}", &id).ok());
}

TEST_F(AppTest, SeveralPumpsShareTheWebhooks) {
  harness_.config().pump_threads = 3;
  harness_.Start();
  constexpr int kWebhooks = 24;
  for (int i = 0; i < kWebhooks; ++i) {
    const std::string name = "hook-" + std::to_string(i);
    ASSERT_TRUE(harness_.Configure(WebhookAt(name, sink_.Url("/" + name))).ok());
  }
  std::string id;
  ASSERT_TRUE(harness_.Publish("{}", &id).ok());
  EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));
  EXPECT_EQ(harness_.DeliveriesOf(id).size(), size_t{kWebhooks});
  EXPECT_EQ(sink_.request_count(), size_t{2 * kWebhooks});

  const std::string page = HttpGet(harness_.app().http_address().port, "/metrics");
  for (const char* pump : {"pump=\"0\"", "pump=\"1\"", "pump=\"2\""}) {
    EXPECT_THAT(page, HasSubstr(pump));
  }
  harness_.app().BeginDrain();
  EXPECT_TRUE(harness_.WaitUntilIdle());
}

TEST_F(AppTest, WebhooksAreThereAfterARestart) {
  harness_.Start();
  ConfigureSink();
  harness_.Start();
  std::string id;
  ASSERT_TRUE(harness_.Publish("{}", &id).ok());
  EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));
}

}  // namespace
}  // namespace postrider
