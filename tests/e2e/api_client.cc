#include "tests/e2e/api_client.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

constexpr char kDetailsTrailer[] = "grpc-status-details-bin";

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  // Else channels to the same address share a connection, and its back-off, across restarts.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

std::vector<std::string> RpcResult::Fields() const {
  std::vector<std::string> fields;
  const auto bad_request = Get<google::rpc::BadRequest>();
  if (!bad_request.has_value()) return fields;
  for (const auto& violation : bad_request->field_violations()) fields.push_back(violation.field());
  return fields;
}

std::ostream& operator<<(std::ostream& out, const RpcResult& result) {
  return out << "code " << result.code << ": " << result.message << "\n"
             << result.details.ShortDebugString();
}

ApiClient::ApiClient(const std::string& address) {
  const auto channel = Connect(address);
  stubs_ = {v1::WebhookService::NewStub(channel), v1::NotificationService::NewStub(channel),
            v1::DeliveryService::NewStub(channel)};
}

RpcResult ApiClient::Result(const grpc::Status& status, const grpc::ClientContext& context) {
  RpcResult result;
  result.code = status.error_code();
  result.message = status.error_message();
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find(kDetailsTrailer);
  if (found != trailers.end() &&
      !result.details.ParseFromArray(found->second.data(),
                                     static_cast<int>(found->second.size()))) {
    ADD_FAILURE() << kDetailsTrailer << " is no google.rpc.Status";
  }
  return result;
}

std::string ApiClient::Configure(const v1::Webhook& webhook) const {
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = webhook;
  v1::ConfigureWebhookResponse response;
  const RpcResult result = Call(&v1::WebhookService::Stub::ConfigureWebhook, request, &response);
  EXPECT_TRUE(result.ok()) << result;
  return response.signing_secret();
}

std::string ApiClient::Publish(const std::string& json_payload, const std::string& type,
                               const std::string& key) const {
  v1::PublishNotificationRequest request;
  request.set_idempotency_key(key);
  request.mutable_notification()->set_notification_type(type);
  request.mutable_notification()->set_model_name("test");
  request.mutable_notification()->set_model_id(28740);
  request.mutable_notification()->set_json_payload(json_payload);
  v1::PublishNotificationResponse response;
  const RpcResult result =
      Call(&v1::NotificationService::Stub::PublishNotification, request, &response);
  EXPECT_TRUE(result.ok()) << result;
  return response.notification_id();
}

v1::Webhook ApiClient::GetWebhook(const std::string& name) const {
  v1::GetWebhookRequest request;
  request.set_name(name);
  v1::GetWebhookResponse response;
  const RpcResult result = Call(&v1::WebhookService::Stub::GetWebhook, request, &response);
  EXPECT_TRUE(result.ok()) << result;
  return response.webhook();
}

std::vector<v1::Delivery> ApiClient::ListDeliveries(const std::string& webhook,
                                                    v1::DeliveryState state) const {
  std::vector<v1::Delivery> deliveries;
  v1::ListDeliveriesRequest request;
  request.set_webhook_name(webhook);
  request.set_state(state);
  request.set_page_size(1000);
  do {
    v1::ListDeliveriesResponse response;
    const RpcResult result = Call(&v1::DeliveryService::Stub::ListDeliveries, request, &response);
    EXPECT_TRUE(result.ok()) << result;
    deliveries.insert(deliveries.end(), response.deliveries().begin(), response.deliveries().end());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return deliveries;
}

v1::GetDeliveryResponse ApiClient::GetDelivery(const std::string& id) const {
  v1::GetDeliveryRequest request;
  request.set_delivery_id(id);
  v1::GetDeliveryResponse response;
  const RpcResult result = Call(&v1::DeliveryService::Stub::GetDelivery, request, &response);
  EXPECT_TRUE(result.ok()) << result;
  return response;
}

std::vector<v1::Delivery> ApiClient::WaitForDeliveries(const std::string& webhook,
                                                       v1::DeliveryState state,
                                                       size_t count) const {
  std::vector<v1::Delivery> deliveries;
  EXPECT_TRUE(Eventually([&] {
    deliveries = ListDeliveries(webhook, state);
    return deliveries.size() == count || testing::Test::HasFailure();
  })) << "there are "
      << deliveries.size() << " deliveries of " << webhook << " in state "
      << v1::DeliveryState_Name(state) << ", not " << count;
  return deliveries;
}

v1::Webhook WebhookAt(const std::string& name, const std::string& url, absl::Duration backoff) {
  v1::Webhook webhook;
  webhook.set_name(name);
  webhook.set_url(url);
  webhook.set_enabled(true);
  *webhook.mutable_retry_policy()->mutable_initial_backoff() = ToProtoDuration(backoff);
  *webhook.mutable_retry_policy()->mutable_max_backoff() = ToProtoDuration(backoff);
  webhook.mutable_retry_policy()->set_multiplier(1);
  return webhook;
}

google::protobuf::Duration ToProtoDuration(absl::Duration duration) {
  google::protobuf::Duration proto;
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  proto.set_seconds(nanos / 1'000'000'000);
  proto.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return proto;
}

std::string BodyOf(const std::string& json_payload, const std::string& type) {
  return absl::StrCat(R"({"header":{"model_name":"test","model_id":28740,"notification_type":")",
                      type, R"("},"payload":)", json_payload, "}");
}

bool Eventually(const std::function<bool()>& condition, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

}  // namespace postrider
