#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>
#include <utility>

#include "src/message/signing.h"
#include "src/server/rpc/grpc_status.h"
#include "tests/server/api/webhook_handlers_fixture.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What a webhook is asked before it is enabled, and what is kept and told of it.
class WebhookTestRequestTest : public WebhookHandlersTest {};

TEST_F(WebhookTestRequestTest, EnablingSendsASignedTestRequest) {
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = AWebhook("hook", true);
  auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
  ASSERT_EQ(transport_.sent(), 1u);
  EXPECT_FALSE(call->status.has_value());
  EXPECT_EQ(
      *transport_.request(0).body,
      R"({"header":{"model_name":"postrider","model_id":0,"notification_type":"WEBHOOK_VALIDATION"},"payload":{}})");
  const SignatureHeaders headers{std::string(transport_.header(0, "webhook-id")),
                                 std::string(transport_.header(0, "webhook-timestamp")),
                                 std::string(transport_.header(0, "webhook-signature"))};

  transport_.Succeed(0, 200);
  Run();
  ASSERT_TRUE(call->status.has_value());
  ASSERT_TRUE(call->status->ok()) << *call->status;
  EXPECT_TRUE(call->response.validation().valid());
  EXPECT_TRUE(call->response.webhook().enabled());
  EXPECT_EQ(call->response.webhook().validation_state(), v1::VALIDATION_STATE_VALID);
  const absl::StatusOr<std::string> key = ParseSecret(call->response.signing_secret());
  ASSERT_TRUE(key.ok());
  EXPECT_TRUE(VerifySignature(*key, headers, *transport_.request(0).body, clock_.Now()).ok());
}

TEST_F(WebhookTestRequestTest, AFailedTestStoresNothingAndTellsAll) {
  for (const int status : {201, 204, 301, 404, 500}) {
    v1::ConfigureWebhookRequest request;
    *request.mutable_webhook() = AWebhook("hook", true);
    auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
    transport_.Succeed(transport_.sent() - 1, status);
    Run();
    ASSERT_TRUE(call->status.has_value());
    EXPECT_EQ(call->status->code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(*call->status), "VALIDATION_FAILED");
    v1::ValidationResult result;
    bool found = false;
    const google::rpc::Status rpc = ToRpcStatus(*call->status);
    for (const auto& any : rpc.details()) {
      found = found || any.UnpackTo(&result);
    }
    ASSERT_TRUE(found);
    EXPECT_FALSE(result.valid());
    EXPECT_EQ(result.http_status(), status);
    EXPECT_THAT(result.error(), HasSubstr(std::to_string(status)));
    EXPECT_EQ(call->response.ByteSizeLong(), 0u);
    EXPECT_FALSE(store_.GetWebhook("default", "hook").ok());
  }
}

TEST_F(WebhookTestRequestTest, TheDetailsOfAFailedTestFitIntoTrailers) {
  v1::Webhook webhook = AWebhook("hook", true);
  for (int i = 0; i < 12; ++i) {
    v1::Header* header = webhook.add_headers();
    header->set_name("X-H" + std::to_string(i));
    header->set_value(std::string(1000, 'v'));
  }
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = webhook;
  auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
  TransferResult answer = Answered(500);
  answer.body = std::string(4096, 'b');
  answer.response_headers = {{"X-Long", std::string(3000, 'h')}};
  transport_.Answer(0, std::move(answer));
  Run();
  const grpc::Status status = ToGrpcStatus(*call->status);
  EXPECT_LT(status.error_details().size(), 5100u);
  google::rpc::Status rpc;
  ASSERT_TRUE(rpc.ParseFromString(status.error_details()));
  v1::ValidationResult result;
  bool found = false;
  for (const auto& any : rpc.details()) found = found || any.UnpackTo(&result);
  ASSERT_TRUE(found);
  EXPECT_EQ(result.http_status(), 500);
  EXPECT_EQ(result.request().url(), webhook.url());
}

// It is done on the thread that delivers: with a walk over all for each it would take a minute.
TEST_F(WebhookTestRequestTest, TensOfThousandsOfHeadersOfAFailedTestAreCutShortAtOnce) {
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = AWebhook("hook", true);
  auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
  TransferResult answer = Answered(500);
  answer.response_headers.assign(80'000, {"a", "b"});
  transport_.Answer(0, std::move(answer));
  Run();
  ASSERT_TRUE(call->status.has_value());
  EXPECT_LT(ToGrpcStatus(*call->status).error_details().size(), 5100u);
}

TEST_F(WebhookTestRequestTest, AValidConfigurationIsNotTestedAgain) {
  Configure(AWebhook("hook", true));
  ASSERT_EQ(transport_.sent(), 1u);
  v1::Webhook changed = AWebhook("hook", true);
  changed.set_max_concurrency(3);
  const v1::ConfigureWebhookResponse response = Configure(changed);
  EXPECT_EQ(transport_.sent(), 1u);
  EXPECT_TRUE(response.signing_secret().empty());
  EXPECT_EQ(response.webhook().max_concurrency(), 3);

  // Disabled and enabled again, it is still the tested one.
  changed.set_enabled(false);
  Configure(changed);
  changed.set_enabled(true);
  Configure(changed);
  EXPECT_EQ(transport_.sent(), 1u);

  changed.set_url("https://receiver.example/other");
  Configure(changed);
  EXPECT_EQ(transport_.sent(), 2u);
}

TEST_F(WebhookTestRequestTest, AChangeDuringTheTestIsNoticed) {
  Configure(AWebhook("hook", false));
  v1::Webhook with_secret = AWebhook("hook", true);
  v1::Header* header = with_secret.add_headers();
  header->set_name("Authorization");
  header->set_value("Bearer one");
  Configure(with_secret);

  // This one keeps the stored value, which changes while it is tested.
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = with_secret;
  request.mutable_webhook()->mutable_headers(0)->clear_value();
  request.mutable_webhook()->set_url("https://receiver.example/new");
  auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
  ASSERT_EQ(transport_.pending_count(), 1u);
  v1::Webhook draft = with_secret;
  draft.set_enabled(false);
  draft.mutable_headers(0)->set_value("Bearer two");
  EXPECT_TRUE(TryConfigure(draft).ok());

  transport_.SucceedAll(200);
  Run();
  ASSERT_TRUE(call->status.has_value());
  EXPECT_EQ(call->status->code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(*call->status), "CHANGED_MEANWHILE");
  EXPECT_EQ(Row("hook").headers[0].value, "Bearer two");
}

TEST_F(WebhookTestRequestTest, WhoeverWaitsForAReceiverHearsThatItsTestSucceeded) {
  std::vector<std::pair<WebhookId, int64_t>> heard;
  webhooks_.SetOnValid([&](WebhookId id, int64_t version) { heard.emplace_back(id, version); });
  Configure(AWebhook("hook", true));
  v1::ValidateWebhookRequest request;
  request.mutable_ref()->set_name("hook");
  EXPECT_FALSE(Validate(request, Answered(500)).valid());
  EXPECT_TRUE(heard.empty());
  const Webhook tested = Row("hook");
  EXPECT_TRUE(Validate(request, Answered(200)).valid());
  EXPECT_TRUE(Validate(request, Answered(200)).valid());
  ASSERT_EQ(heard.size(), 2u) << "also when the result is known already";
  EXPECT_EQ(heard[0], std::make_pair(tested.id, tested.version));
  EXPECT_EQ(heard[1], std::make_pair(tested.id, Row("hook").version));
  v1::ValidateWebhookRequest unstored;
  *unstored.mutable_webhook() = AWebhook("hook", true);
  EXPECT_TRUE(Validate(unstored, Answered(200)).valid());
  EXPECT_EQ(heard.size(), 2u);
}

TEST_F(WebhookTestRequestTest, ValidatingAStoredWebhookKeepsTheResult) {
  Configure(AWebhook("hook", false));
  v1::ValidateWebhookRequest request;
  request.mutable_ref()->set_name("hook");
  EXPECT_FALSE(Validate(request, Answered(500)).valid());
  EXPECT_EQ(Get("hook").validation_state(), v1::VALIDATION_STATE_INVALID);

  EXPECT_TRUE(Validate(request, Answered(200)).valid());
  const v1::Webhook valid = Get("hook");
  EXPECT_EQ(valid.validation_state(), v1::VALIDATION_STATE_VALID);

  // The same again changes nothing.
  EXPECT_TRUE(Validate(request, Answered(200)).valid());
  EXPECT_EQ(Get("hook").etag(), valid.etag());

  // And enabling it needs no other test.
  const size_t sent = transport_.sent();
  Configure(AWebhook("hook", true));
  EXPECT_EQ(transport_.sent(), sent);
}

TEST_F(WebhookTestRequestTest, AResultOfAFormerConfigurationIsNotKept) {
  Configure(AWebhook("hook", false));
  v1::ValidateWebhookRequest request;
  request.mutable_ref()->set_name("hook");
  auto call = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  v1::Webhook other = AWebhook("hook", false);
  other.set_url("https://receiver.example/other");
  EXPECT_TRUE(TryConfigure(other).ok());
  transport_.SucceedAll(200);
  Run();
  ASSERT_TRUE(call->status.has_value());
  EXPECT_TRUE(call->status->ok()) << *call->status;
  EXPECT_TRUE(call->response.validation().valid());
  EXPECT_EQ(Get("hook").validation_state(), v1::VALIDATION_STATE_UNVALIDATED);
}

TEST_F(WebhookTestRequestTest, ValidatingAnUnstoredWebhookStoresNothing) {
  v1::ValidateWebhookRequest request;
  request.mutable_webhook()->set_url("http://receiver.example/x");
  EXPECT_TRUE(Validate(request, Answered(200)).valid());
  EXPECT_TRUE(store_.LoadWebhooks().empty());
}

TEST_F(WebhookTestRequestTest, StoredSecretsGoToTheirOwnReceiverOnly) {
  v1::Webhook webhook = AWebhook("hook", true);
  v1::Header* header = webhook.add_headers();
  header->set_name("Authorization");
  header->set_value("Bearer very-secret");
  Configure(webhook);
  const std::string key = Row("hook").secrets[0].key;

  v1::ValidateWebhookRequest request;
  *request.mutable_webhook() = webhook;
  request.mutable_webhook()->mutable_headers(0)->clear_value();
  request.mutable_webhook()->set_url("https://RECEIVER.example:443/other");
  const v1::ValidationResult result = Validate(request, Answered(200));
  EXPECT_EQ(transport_.header(1, "Authorization"), "Bearer very-secret");
  EXPECT_THAT(result.DebugString(), Not(HasSubstr("very-secret")));
  const SignatureHeaders signature{std::string(transport_.header(1, "webhook-id")),
                                   std::string(transport_.header(1, "webhook-timestamp")),
                                   std::string(transport_.header(1, "webhook-signature"))};
  EXPECT_TRUE(VerifySignature(key, signature, *transport_.request(1).body, clock_.Now()).ok());

  for (const char* url : {"https://evil.example/hook", "http://receiver.example/hook",
                          "https://receiver.example:8443/hook"}) {
    request.mutable_webhook()->set_url(url);
    v1::ValidateWebhookResponse response;
    EXPECT_EQ(FieldsOf(Do(webhooks_, &WebhookHandlers::ValidateWebhook, request, &response)),
              "webhook.headers[0].value")
        << url;
  }
  EXPECT_EQ(transport_.sent(), 2u);
}

TEST_F(WebhookTestRequestTest, OneTenantsTestsAreBoundedAndKeepNobodyElseOut) {
  v1::ValidateWebhookRequest request;
  request.mutable_webhook()->set_url("http://receiver.example/x");
  std::vector<std::unique_ptr<Call<v1::ValidateWebhookResponse>>> calls;
  for (int i = 0; i < TestShares::kMax - TestShares::kForNewcomers; ++i) {
    calls.push_back(Start(webhooks_, &WebhookHandlers::ValidateWebhook, request));
  }
  v1::ValidateWebhookResponse response;
  const absl::Status status = Do(webhooks_, &WebhookHandlers::ValidateWebhook, request, &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), "TOO_MANY_TESTS");
  v1::ValidateWebhookRequest other = request;
  other.mutable_webhook()->set_tenant("other");
  auto others = Start(webhooks_, &WebhookHandlers::ValidateWebhook, other);
  EXPECT_FALSE(others->status.has_value());
  transport_.Succeed(transport_.sent() - 1);
  Run();
  EXPECT_TRUE(others->status.has_value());

  transport_.Succeed(0);
  Run();
  EXPECT_TRUE(calls[0]->status.has_value());
  auto next = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  EXPECT_FALSE(next->status.has_value());
  transport_.SucceedAll();
  Run();
  EXPECT_TRUE(next->status.has_value());
}

TEST_F(WebhookTestRequestTest, ATestEndsWithItsCallersDeadlineAndBlamesNobody) {
  Configure(AWebhook("hook", true));
  context_.deadline = clock_.Now() + absl::Seconds(2);
  v1::ValidateWebhookRequest request;
  request.mutable_ref()->set_name("hook");
  auto call = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  EXPECT_EQ(transport_.request(1).target->timeout, absl::Seconds(2));
  transport_.Fail(1, TransferError::kTimeout);
  Run();
  ASSERT_TRUE(call->status.has_value());
  EXPECT_EQ(call->status->code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Row("hook").validation_state, ValidationState::kValid);
}

TEST_F(WebhookTestRequestTest, ATestEndsWhenItsCallerCancels) {
  context_.cancellation = std::make_shared<Cancellation>();
  v1::ValidateWebhookRequest request;
  request.mutable_webhook()->set_url("http://receiver.example/x");
  auto call = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  EXPECT_EQ(transport_.pending_count(), 1u);
  context_.cancellation->Cancel();
  Run();
  EXPECT_EQ(transport_.pending_count(), 0u);
  ASSERT_TRUE(call->status.has_value());
  EXPECT_EQ(call->status->code(), absl::StatusCode::kCancelled);
  // Nothing is sent for one that was cancelled before.
  auto late = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  EXPECT_EQ(late->status->code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(transport_.sent(), 1u);
}

TEST_F(WebhookTestRequestTest, WhatOurOwnResourcesPreventIsNotBlamedOnTheReceiver) {
  Configure(AWebhook("hook", true));
  v1::ValidateWebhookRequest request;
  request.mutable_ref()->set_name("hook");
  auto call = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  transport_.Fail(1, TransferError::kNoResources, "no file descriptors are left");
  Run();
  ASSERT_TRUE(call->status.has_value());
  EXPECT_EQ(call->status->code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(*call->status), "OUT_OF_RESOURCES");
  EXPECT_EQ(Row("hook").validation_state, ValidationState::kValid);
}

TEST(TestSharesTest, WhoeverIsAloneMayHaveNearlyAllAndNewcomersFindAPlace) {
  TestShares shares;
  const auto enter = [&shares](const std::string& tenant, int times) {
    int entered = 0;
    while (entered < times && shares.Enter(tenant).ok()) ++entered;
    return entered;
  };
  EXPECT_EQ(enter("greedy", 100), 56);
  // Two of them share what is left.
  EXPECT_EQ(enter("second", 100), 1);
  EXPECT_EQ(enter("third", 100), 1);
  // What the first gives back goes to those who have less, up to equal shares.
  for (int i = 0; i < 20; ++i) shares.Leave("greedy");
  EXPECT_EQ(enter("greedy", 100), 0);
  EXPECT_EQ(enter("second", 100), 17);
  EXPECT_EQ(enter("third", 100), 1);
  EXPECT_EQ(enter("fourth", 100), 1);
}

}  // namespace
}  // namespace postrider
