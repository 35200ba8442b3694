#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_sink.h"

// What bad input gets, row by row of the table in the design: each against the real server.

namespace postrider {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// One server for all that does not harm it.
class InputTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new ServerProcess();
    server_->Start();
    api_ = new ApiClient(server_->grpc_address());
  }
  static void TearDownTestSuite() {
    delete api_;
    delete server_;
  }

  static RpcResult Configure(const v1::Webhook& webhook) {
    v1::ConfigureWebhookRequest request;
    *request.mutable_webhook() = webhook;
    v1::ConfigureWebhookResponse response;
    return api_->Call(&v1::WebhookService::Stub::ConfigureWebhook, request, &response);
  }

  static RpcResult Validate(const v1::Webhook& webhook, v1::ValidationResult* result) {
    v1::ValidateWebhookRequest request;
    *request.mutable_webhook() = webhook;
    v1::ValidateWebhookResponse response;
    const RpcResult answer =
        api_->Call(&v1::WebhookService::Stub::ValidateWebhook, request, &response);
    *result = response.validation();
    return answer;
  }

  static RpcResult PublishJson(const std::string& json) {
    v1::PublishNotificationRequest request;
    request.mutable_notification()->set_notification_type("TEST");
    request.mutable_notification()->set_model_name("test");
    request.mutable_notification()->set_model_id(28740);
    request.mutable_notification()->set_json_payload(json);
    v1::PublishNotificationResponse response;
    return api_->Call(&v1::NotificationService::Stub::PublishNotification, request, &response);
  }

  // The answer is INVALID_ARGUMENT and names these fields. A draft is asked for, so that nothing
  // but the check itself can refuse it.
  static void ExpectRefused(v1::Webhook webhook, const std::vector<std::string>& fields) {
    webhook.set_enabled(false);
    const RpcResult configured = Configure(webhook);
    EXPECT_EQ(configured.code, grpc::StatusCode::INVALID_ARGUMENT) << configured;
    EXPECT_EQ(configured.Fields(), fields) << configured;
    v1::ValidationResult unused;
    const RpcResult validated = Validate(webhook, &unused);
    EXPECT_EQ(validated.code, grpc::StatusCode::INVALID_ARGUMENT) << validated;
    EXPECT_EQ(validated.Fields(), fields) << validated;
  }

  static v1::Webhook WithHeaders(const std::vector<std::pair<std::string, std::string>>& headers) {
    v1::Webhook webhook = WebhookAt("headers", "http://127.0.0.1:9/");
    for (const auto& [name, value] : headers) {
      webhook.add_headers()->set_name(name);
      webhook.mutable_headers()->rbegin()->set_value(value);
    }
    return webhook;
  }

  static inline ServerProcess* server_ = nullptr;
  static inline ApiClient* api_ = nullptr;
};

// ---- URLs and headers

TEST_F(InputTest, AUrlThatCannotBeUsedIsNamed) {
  const std::string urls[] = {
      "",
      "/hook",
      "hook",
      "example.com/hook",
      "//example.com/hook",
      "ftp://example.com/hook",
      "file:///etc/passwd",
      "https:example.com",
      "http://",
      "http:///hook",
      "http://user@example.com/hook",
      "http://user:password@example.com/hook",
      "http://example.com/hook#fragment",
      "http://example.com/ho\nok",
      "http://example.com/ho\rok",
      "http://example.com/ho\tok",
      "http://example.com/ho\x7fok",
      std::string("http://example.com/ho\0ok", 23),
      "http://example.com/ho ok",
      "http://example.com:0/",
      "http://example.com:65536/",
      absl::StrCat("http://example.com/", std::string(2048 - 18, 'x')),
  };
  for (const std::string& url : urls) {
    SCOPED_TRACE(testing::PrintToString(url));
    ExpectRefused(WebhookAt("url", url), {"webhook.url"});
  }
  const RpcResult too_long = Configure(WebhookAt("url", std::string(3000, 'x')));
  EXPECT_THAT(too_long.message, AllOf(HasSubstr("3000"), HasSubstr("2048")));

  v1::Webhook longest =
      WebhookAt("url", absl::StrCat("http://example.com/", std::string(2048 - 19, 'x')));
  longest.set_enabled(false);
  ASSERT_EQ(longest.url().size(), 2048u);
  EXPECT_TRUE(Configure(longest).ok());
}

TEST_F(InputTest, AHeaderThatCannotBeSentIsNamedByItsIndex) {
  const std::pair<std::string, std::string> good = {"X-Good", "1"};
  for (const std::string& name :
       {std::string(""), std::string("has space"), std::string("has:colon"), std::string("a\nb"),
        std::string("a\0b", 3), std::string("(x)"), std::string("\xC3\xA4")}) {
    SCOPED_TRACE(testing::PrintToString(name));
    ExpectRefused(WithHeaders({good, {name, "1"}}), {"webhook.headers[1].name"});
  }
  for (const std::string& value :
       {std::string("a\rb"), std::string("a\nb"), std::string("a\r\nInjected: 1"),
        std::string("a\0b", 3), std::string("\x1b[0m")}) {
    SCOPED_TRACE(testing::PrintToString(value));
    ExpectRefused(WithHeaders({good, good, {"X-Bad", value}}), {"webhook.headers[2].value"});
  }
  for (const char* name : {"Host", "content-length", "Transfer-Encoding", "CONNECTION", "Expect",
                           "webhook-id", "Webhook-Timestamp", "webhook-signature"}) {
    SCOPED_TRACE(name);
    ExpectRefused(WithHeaders({{name, "1"}}), {"webhook.headers[0].name"});
  }
  ExpectRefused(WithHeaders({{"Host", "1"}, good, {"a b", "c\nd"}}),
                {"webhook.headers[0].name", "webhook.headers[2].name", "webhook.headers[2].value"});
}

TEST_F(InputTest, TooManyHeadersOrTooLargeOnesAreRefusedWithBothNumbers) {
  std::vector<std::pair<std::string, std::string>> headers(64, {"X-Same", "1"});
  v1::Webhook most = WithHeaders(headers);
  most.set_enabled(false);
  EXPECT_TRUE(Configure(most).ok());
  headers.push_back({"X-Same", "1"});
  ExpectRefused(WithHeaders(headers), {"webhook.headers[64]"});
  EXPECT_THAT(Configure(WithHeaders(headers)).message, AllOf(HasSubstr("65"), HasSubstr("64")));

  v1::Webhook largest = WithHeaders({{"X", std::string(16 * 1024 - 1, 'v')}});
  largest.set_enabled(false);
  EXPECT_TRUE(Configure(largest).ok());
  const v1::Webhook larger = WithHeaders({{"X", std::string(16 * 1024, 'v')}});
  ExpectRefused(larger, {"webhook.headers[0]"});
  EXPECT_THAT(Configure(larger).message, AllOf(HasSubstr("16385"), HasSubstr("16384")));
}

// ---- Receivers that do not answer with 200

struct BadReceiver {
  std::string what;
  SinkAnswer answer;
  int http_status;
  // A part of the sentence that says what to do.
  std::string advice;
};

SinkAnswer Answering(int status) {
  SinkAnswer answer;
  answer.status = status;
  return answer;
}

SinkAnswer Behaving(SinkAnswer::Way way, const std::string& body = "") {
  SinkAnswer answer;
  answer.way = way;
  answer.body = body;
  return answer;
}

TEST_F(InputTest, AReceiverThatDoesNotAnswerWith200IsNotValidAndIsNotEnabled) {
  SinkAnswer moved = Answering(301);
  moved.headers = {{"Location", "https://example.com/new"}};
  const BadReceiver receivers[] = {
      {"201", Answering(201), 201, "have the receiver answer 200"},
      {"204", Answering(204), 204, "have the receiver answer 200"},
      {"301", moved, 301, "\"https://example.com/new\", and redirects are not followed: configure"},
      {"404", Answering(404), 404, "check the URL"},
      {"500", Answering(500), 500, "see its answer and its log"},
      {"silence", Behaving(SinkAnswer::Way::kHang), 0, "raise the webhook's timeout"},
      {"an end", Behaving(SinkAnswer::Way::kDrop), 0, "see the receiver's log"},
      {"garbage", Behaving(SinkAnswer::Way::kRaw, "this is no HTTP\r\n\r\n"), 0,
       "check that the URL names a web server"},
  };
  for (const BadReceiver& receiver : receivers) {
    SCOPED_TRACE(receiver.what);
    HttpSink sink([&receiver](const SinkRequest&) { return receiver.answer; });
    v1::Webhook webhook = WebhookAt("bad-receiver", sink.Url("/hook?x=1"));
    // The silent one is given up soon; the others need not be quick.
    *webhook.mutable_timeout() =
        ToProtoDuration(receiver.what == "silence" ? absl::Milliseconds(500) : absl::Minutes(1));
    v1::ValidationResult result;
    const RpcResult answer = Validate(webhook, &result);
    ASSERT_TRUE(answer.ok()) << answer;
    EXPECT_FALSE(result.valid());
    EXPECT_EQ(result.http_status(), receiver.http_status);
    EXPECT_THAT(result.error(), HasSubstr(receiver.advice));
    EXPECT_EQ(result.has_response(), receiver.http_status != 0);
    EXPECT_EQ(result.request().method(), "POST");
    EXPECT_EQ(result.request().url(), webhook.url());
    ASSERT_GE(sink.request_count(), 1u);
    EXPECT_EQ(result.request().body(), sink.requests()[0].body);

    const RpcResult configured = Configure(webhook);
    EXPECT_EQ(configured.code, grpc::StatusCode::FAILED_PRECONDITION) << configured;
    EXPECT_EQ(configured.Get<google::rpc::ErrorInfo>()->reason(), "VALIDATION_FAILED");
    const auto carried = configured.Get<v1::ValidationResult>();
    ASSERT_TRUE(carried.has_value()) << configured;
    EXPECT_EQ(carried->http_status(), receiver.http_status);
    v1::GetWebhookRequest get;
    get.set_name(webhook.name());
    v1::GetWebhookResponse unused;
    EXPECT_EQ(api_->Call(&v1::WebhookService::Stub::GetWebhook, get, &unused).code,
              grpc::StatusCode::NOT_FOUND);
  }
}

TEST_F(InputTest, AReceiverThatCannotBeReachedIsNotValid) {
  // A port that is taken, where nobody listens.
  const int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(holder, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(holder, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string refusing = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));

  const std::pair<std::string, std::string> unreachable[] = {
      {absl::StrCat("http://", refusing, "/"), "start the receiver, or correct the host and port"},
      {"http://receiver.invalid/", "receiver.invalid"},
      // Not among the networks that the server was allowed.
      {"http://10.1.2.3/", "--allow-network"},
      {"http://169.254.169.254/latest/meta-data", "this machine's own credentials"},
  };
  for (const auto& [url, advice] : unreachable) {
    SCOPED_TRACE(url);
    v1::ValidationResult result;
    const RpcResult answer = Validate(WebhookAt("unreachable", url), &result);
    ASSERT_TRUE(answer.ok()) << answer;
    EXPECT_FALSE(result.valid());
    EXPECT_EQ(result.http_status(), 0);
    EXPECT_FALSE(result.has_response());
    EXPECT_THAT(result.error(), HasSubstr(advice));
    EXPECT_EQ(Configure(WebhookAt("unreachable", url)).code, grpc::StatusCode::FAILED_PRECONDITION);
  }
  close(holder);
}

// ---- What is not there

TEST_F(InputTest, WhatIsNotThereIsNotFound) {
  HttpSink sink;
  api_->Configure(WebhookAt("there", sink.Url()));
  const std::string id = api_->Publish("{}");
  const auto deliveries = api_->WaitForDeliveries("there", v1::DELIVERY_STATE_DELIVERED, 1);
  ASSERT_EQ(deliveries.size(), 1u);
  const std::string delivery_id = deliveries[0].delivery_id();
  v1::Webhook other = WebhookAt("other", sink.Url());
  other.set_tenant("other");
  api_->Configure(other);

  const auto expect = [this](auto method, auto request, auto response, const std::string& reason) {
    const RpcResult result = api_->Call(method, request, &response);
    EXPECT_EQ(result.code, grpc::StatusCode::NOT_FOUND) << result;
    const auto info = result.Get<google::rpc::ErrorInfo>();
    ASSERT_TRUE(info.has_value()) << result;
    EXPECT_EQ(info->domain(), "postrider");
    EXPECT_EQ(info->reason(), reason) << result;
  };
  using Webhooks = v1::WebhookService::Stub;
  using Notifications = v1::NotificationService::Stub;
  using Delivering = v1::DeliveryService::Stub;

  for (const auto& [tenant, name] :
       {std::pair("", "missing"), std::pair("other", "there"), std::pair("nobody", "there")}) {
    SCOPED_TRACE(absl::StrCat(tenant, "/", name));
    v1::GetWebhookRequest get;
    get.set_tenant(tenant);
    get.set_name(name);
    expect(&Webhooks::GetWebhook, get, v1::GetWebhookResponse(), "WEBHOOK_NOT_FOUND");
    v1::DeleteWebhookRequest remove;
    remove.set_tenant(tenant);
    remove.set_name(name);
    expect(&Webhooks::DeleteWebhook, remove, v1::DeleteWebhookResponse(), "WEBHOOK_NOT_FOUND");
    v1::RotateSigningSecretRequest rotate;
    rotate.set_tenant(tenant);
    rotate.set_name(name);
    expect(&Webhooks::RotateSigningSecret, rotate, v1::RotateSigningSecretResponse(),
           "WEBHOOK_NOT_FOUND");
    v1::ValidateWebhookRequest validate;
    validate.mutable_ref()->set_tenant(tenant);
    validate.mutable_ref()->set_name(name);
    expect(&Webhooks::ValidateWebhook, validate, v1::ValidateWebhookResponse(),
           "WEBHOOK_NOT_FOUND");
    v1::ListDeliveriesRequest list;
    list.set_tenant(tenant);
    list.set_webhook_name(name);
    expect(&Delivering::ListDeliveries, list, v1::ListDeliveriesResponse(), "NOT_FOUND");
  }

  v1::PublishNotificationRequest publish;
  publish.set_tenant("nobody");
  publish.mutable_notification()->set_notification_type("T");
  publish.mutable_notification()->set_json_payload("{}");
  expect(&Notifications::PublishNotification, publish, v1::PublishNotificationResponse(),
         "TENANT_NOT_FOUND");
  v1::ListWebhooksRequest list_webhooks;
  list_webhooks.set_tenant("nobody");
  expect(&Webhooks::ListWebhooks, list_webhooks, v1::ListWebhooksResponse(), "NOT_FOUND");
  v1::ListNotificationsRequest list_notifications;
  list_notifications.set_tenant("nobody");
  expect(&Notifications::ListNotifications, list_notifications, v1::ListNotificationsResponse(),
         "NOT_FOUND");

  // Nonsense, an id of the other kind, another tenant's.
  for (const auto& [tenant, wrong] :
       {std::pair<std::string, std::string>("", "nonsense"), {"", delivery_id}, {"other", id}}) {
    SCOPED_TRACE(wrong);
    v1::GetNotificationRequest get;
    get.set_tenant(tenant);
    get.set_notification_id(wrong);
    expect(&Notifications::GetNotification, get, v1::GetNotificationResponse(),
           "NOTIFICATION_NOT_FOUND");
  }
  for (const auto& [tenant, wrong] :
       {std::pair<std::string, std::string>("", "nonsense"), {"", id}, {"other", delivery_id}}) {
    SCOPED_TRACE(wrong);
    v1::GetDeliveryRequest get;
    get.set_tenant(tenant);
    get.set_delivery_id(wrong);
    expect(&Delivering::GetDelivery, get, v1::GetDeliveryResponse(), "DELIVERY_NOT_FOUND");
    v1::RetryDeliveryRequest retry;
    retry.set_tenant(tenant);
    retry.set_delivery_id(wrong);
    expect(&Delivering::RetryDelivery, retry, v1::RetryDeliveryResponse(), "DELIVERY_NOT_FOUND");
  }
}

// ---- Notifications

TEST_F(InputTest, ANotificationThatIsTooLargeIsRefusedWithBothSizes) {
  const size_t empty = BodyOf("{\"pad\":\"\"}").size();
  const auto padded_to = [empty](size_t size) {
    return absl::StrCat("{\"pad\":\"", std::string(size - empty, 'x'), "\"}");
  };
  EXPECT_TRUE(PublishJson(padded_to(256 * 1024)).ok());
  for (const size_t size : {size_t{256 * 1024 + 1}, size_t{4 << 20}}) {
    const RpcResult result = PublishJson(padded_to(size));
    EXPECT_EQ(result.code, grpc::StatusCode::INVALID_ARGUMENT) << result;
    EXPECT_THAT(result.Fields(), ElementsAre("notification"));
    EXPECT_THAT(result.message,
                AllOf(HasSubstr(absl::StrCat("is ", size, " bytes")), HasSubstr("at most 262144"),
                      HasSubstr("--max-notification-bytes")));
  }
}

TEST_F(InputTest, APayloadThatIsNoJsonObjectIsRefusedWithTheOffsetOfTheFault) {
  const std::pair<std::string, int> payloads[] = {
      {"", 0},           {"[]", 0},         {"null", 0},        {"  7", 2},
      {"{\"a\":1,}", 7}, {"{\"a\":01}", 6}, {"{\"a\":1} x", 8}, {"{\"a\":\"\\ud800\"}", 6},
      {"{\"a\":1", 6},
  };
  for (const auto& [payload, offset] : payloads) {
    SCOPED_TRACE(payload);
    const RpcResult result = PublishJson(payload);
    EXPECT_EQ(result.code, grpc::StatusCode::INVALID_ARGUMENT) << result;
    EXPECT_THAT(result.Fields(), ElementsAre("notification.json_payload"));
    EXPECT_THAT(result.message, HasSubstr(absl::StrCat("at byte ", offset, ",")));
  }
}

}  // namespace
}  // namespace postrider
