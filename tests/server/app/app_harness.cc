#include "tests/server/app/app_harness.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "tests/server/rpc/grpc_probe.h"

namespace postrider {
namespace {

// Only a defect meets it, however slow the machine.
constexpr absl::Duration kTimeout = absl::Seconds(60);

}  // namespace

AppHarness::AppHarness() {
  config_.data_dir = directory_.File("data");
  config_.listen = "127.0.0.1:0";
  config_.http_listen = "127.0.0.1:0";
  config_.allow_networks = {"127.0.0.0/8"};
  config_.min_free_bytes = 0;
}

AppHarness::~AppHarness() { Destroy(); }

void AppHarness::Destroy() { app_.reset(); }

std::optional<Failure> AppHarness::TryStart() {
  Destroy();
  auto started = App::Start(config_, [this] {
    MutexLock lock(&mutex_);
    ++notifications_seen_;
    notified_.SignalAll();
  });
  if (auto* failure = std::get_if<Failure>(&started)) return std::move(*failure);
  app_ = std::move(std::get<std::unique_ptr<App>>(started));
  Connect();
  return std::nullopt;
}

void AppHarness::Start() {
  const std::optional<Failure> failure = TryStart();
  if (!failure.has_value()) return;
  std::fprintf(stderr, "the App did not start: %s\n", failure->message.c_str());
  std::abort();
}

void AppHarness::Connect() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  channel_ = grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), arguments);
  webhooks_ = v1::WebhookService::NewStub(channel_);
  notifications_ = v1::NotificationService::NewStub(channel_);
  deliveries_ = v1::DeliveryService::NewStub(channel_);
}

grpc::Status AppHarness::Configure(const v1::Webhook& webhook) {
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = webhook;
  v1::ConfigureWebhookResponse response;
  return webhooks_->ConfigureWebhook(NewClientContext().get(), request, &response);
}

grpc::Status AppHarness::Publish(const std::string& json, std::string* id) {
  v1::PublishNotificationRequest request;
  request.mutable_notification()->set_notification_type("TEST");
  request.mutable_notification()->set_json_payload(json);
  v1::PublishNotificationResponse response;
  const grpc::Status status =
      notifications_->PublishNotification(NewClientContext().get(), request, &response);
  *id = response.notification_id();
  return status;
}

std::vector<v1::Delivery> AppHarness::DeliveriesOf(const std::string& notification_id) {
  v1::ListDeliveriesRequest request;
  request.set_notification_id(notification_id);
  v1::ListDeliveriesResponse response;
  const grpc::Status status =
      deliveries_->ListDeliveries(NewClientContext().get(), request, &response);
  if (!status.ok()) return {};
  return {response.deliveries().begin(), response.deliveries().end()};
}

bool AppHarness::WaitUntilIdle() {
  const absl::Time deadline = absl::Now() + kTimeout;
  MutexLock lock(&mutex_);
  while (!app_->idle()) {
    if (absl::Now() >= deadline) return false;
    notified_.WaitFor(&mutex_, deadline - absl::Now());
  }
  return true;
}

bool AppHarness::WaitForState(const std::string& notification_id, v1::DeliveryState state) {
  for (const absl::Time deadline = absl::Now() + kTimeout; absl::Now() < deadline;) {
    const std::vector<v1::Delivery> found = DeliveriesOf(notification_id);
    bool all = !found.empty();
    for (const v1::Delivery& delivery : found) all = all && delivery.state() == state;
    if (all) return true;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return false;
}

v1::Webhook WebhookAt(const std::string& name, const std::string& url) {
  v1::Webhook webhook;
  webhook.set_name(name);
  webhook.set_url(url);
  webhook.set_enabled(true);
  webhook.mutable_retry_policy()->mutable_initial_backoff()->set_nanos(10'000'000);
  return webhook;
}

}  // namespace postrider
