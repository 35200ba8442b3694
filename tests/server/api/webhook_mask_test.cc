#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/api/webhook_handlers_fixture.h"

namespace postrider {
namespace {

// Changes what the paths name of "hook", or says why not.
class WebhookMaskTest : public WebhookHandlersTest {
 protected:
  WebhookMaskTest() {
    v1::Webhook webhook = AWebhook("hook", true);
    AddHeader("X-Team", "billing", false, &webhook);
    AddHeader("Authorization", "Bearer very-secret", true, &webhook);
    webhook.mutable_timeout()->set_seconds(7);
    webhook.mutable_retry_policy()->set_max_attempts(9);
    webhook.mutable_rate_limit()->set_per_second(2);
    webhook.add_notification_types("A");
    before_ = Configure(webhook).webhook();
  }

  static void AddHeader(const std::string& name, const std::string& value, bool sensitive,
                        v1::Webhook* webhook) {
    v1::Header* header = webhook->add_headers();
    header->set_name(name);
    header->set_value(value);
    header->set_sensitive(sensitive);
  }

  absl::Status TryChange(const std::vector<std::string>& paths, v1::Webhook webhook,
                         int test_status = 200) {
    if (webhook.name().empty()) webhook.set_name("hook");
    v1::ConfigureWebhookRequest request;
    *request.mutable_webhook() = std::move(webhook);
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    const size_t sent = transport_.sent();
    auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
    tests_ = transport_.sent() - sent;
    transport_.SucceedAll(test_status);
    Run();
    after_ = call->response.webhook();
    return call->status.value_or(absl::InternalError("has not ended"));
  }

  v1::Webhook before_;
  v1::Webhook after_;
  // How many test requests the change has cost.
  size_t tests_ = 0;
};

TEST_F(WebhookMaskTest, OnlyWhatIsNamedIsChangedAndNoTestIsSentForIt) {
  v1::Webhook change;
  change.mutable_retry_policy()->set_max_attempts(3);
  change.set_max_concurrency(2);
  change.set_url("https://not-named.example/");
  ASSERT_TRUE(TryChange({"retry_policy.max_attempts", "max_concurrency"}, change).ok());
  EXPECT_EQ(tests_, 0u);
  EXPECT_EQ(after_.retry_policy().max_attempts(), 3);
  EXPECT_EQ(after_.max_concurrency(), 2);
  EXPECT_NE(after_.etag(), before_.etag());
  v1::Webhook expected = before_;
  expected.mutable_retry_policy()->set_max_attempts(3);
  expected.set_max_concurrency(2);
  expected.set_etag(after_.etag());
  *expected.mutable_update_time() = after_.update_time();
  EXPECT_EQ(after_.SerializeAsString(), expected.SerializeAsString());
  EXPECT_EQ(Row("hook").headers[1].value, "Bearer very-secret");
}

TEST_F(WebhookMaskTest, OneHeaderIsSetOrRemoved) {
  v1::Webhook change;
  AddHeader("X-TEAM", "sales", false, &change);
  AddHeader("X-Not-Named", "x", false, &change);
  ASSERT_TRUE(TryChange({"headers.x-team"}, change).ok());
  EXPECT_EQ(tests_, 1u) << "it is another request now";
  ASSERT_EQ(after_.headers_size(), 2);
  EXPECT_EQ(after_.headers(0).value(), "sales");
  EXPECT_EQ(Row("hook").headers[1].value, "Bearer very-secret");

  ASSERT_TRUE(TryChange({"headers.`X-Team`", "headers.X.New"}, [] {
                v1::Webhook webhook;
                AddHeader("X.New", "n", false, &webhook);
                return webhook;
              }()).ok());
  ASSERT_EQ(after_.headers_size(), 2);
  EXPECT_EQ(after_.headers(0).name(), "Authorization");
  EXPECT_EQ(after_.headers(1).name(), "X.New");
  ASSERT_TRUE(TryChange({"headers"}, {}).ok());
  EXPECT_EQ(after_.headers_size(), 0);
}

TEST_F(WebhookMaskTest, WhatIsNamedAndUnsetGetsItsDefault) {
  ASSERT_TRUE(TryChange({"timeout", "rate_limit", "notification_types"}, {}).ok());
  EXPECT_EQ(after_.timeout().seconds(), 15);
  EXPECT_FALSE(after_.has_rate_limit());
  EXPECT_EQ(after_.notification_types_size(), 0);
  EXPECT_EQ(after_.retry_policy().max_attempts(), 9);
}

TEST_F(WebhookMaskTest, TheGateIsAskedOnlyWhereTheRequestOrEnabledChanges) {
  ASSERT_TRUE(TryChange({"enabled"}, {}).ok());
  EXPECT_FALSE(after_.enabled());
  v1::Webhook change;
  change.set_url("https://receiver.example/other");
  ASSERT_TRUE(TryChange({"url"}, change).ok());
  EXPECT_EQ(tests_, 0u) << "it is not enabled";
  change.set_enabled(true);
  const absl::Status refused = TryChange({"enabled"}, change, /*test_status=*/500);
  EXPECT_EQ(ReasonOf(refused), "VALIDATION_FAILED");
  EXPECT_FALSE(Row("hook").enabled);
  ASSERT_TRUE(TryChange({"enabled"}, change).ok());
  EXPECT_EQ(tests_, 1u);
  EXPECT_EQ(after_.validation_state(), v1::VALIDATION_STATE_VALID);

  // A receiver that is invalid by now does not stop its owner from making it slower.
  v1::ValidateWebhookRequest validate;
  validate.mutable_ref()->set_name("hook");
  Validate(validate, Answered(500));
  change.set_max_concurrency(1);
  ASSERT_TRUE(TryChange({"max_concurrency"}, change).ok());
  EXPECT_EQ(tests_, 0u);
  EXPECT_EQ(after_.validation_state(), v1::VALIDATION_STATE_INVALID);
}

TEST_F(WebhookMaskTest, AWebhookThatIsNotThereIsNotFound) {
  v1::Webhook change;
  change.set_name("nothing-here");
  change.set_url("https://receiver.example/");
  const absl::Status status = TryChange({"url"}, change);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(status), "WEBHOOK_NOT_FOUND");
}

TEST_F(WebhookMaskTest, TheEtagCountsWithAMaskToo) {
  v1::Webhook change;
  change.set_etag("another");
  EXPECT_EQ(ReasonOf(TryChange({"enabled"}, change)), "ETAG_MISMATCH");
  EXPECT_TRUE(Row("hook").enabled);
  change.set_etag(before_.etag());
  EXPECT_TRUE(TryChange({"enabled"}, change).ok());
}

TEST_F(WebhookMaskTest, PathsThatNobodyCanChangeAreRefused) {
  for (const char* path :
       {"nonsense", "", "tenant", "name", "etag", "validation_state", "health", "create_time",
        "headers.", "timeout.seconds", "retry_policy.nonsense", "url.x", "*"}) {
    EXPECT_EQ(FieldsOf(TryChange({"url", path}, before_)), "update_mask.paths[1]") << path;
  }
  v1::ConfigureWebhookRequest request;
  request.mutable_webhook()->set_name("hook");
  request.mutable_update_mask();
  v1::ConfigureWebhookResponse response;
  EXPECT_EQ(FieldsOf(Do(webhooks_, &WebhookHandlers::ConfigureWebhook, request, &response)),
            "update_mask");
  v1::Webhook bad;
  bad.set_url("/relative");
  EXPECT_EQ(FieldsOf(TryChange({"url"}, bad)), "webhook.url");
}

// Else each path is looked for among all headers, and all writes wait for that.
TEST_F(WebhookMaskTest, MoreThanAWebhookCanHaveIsRefused) {
  EXPECT_EQ(FieldsOf(TryChange(std::vector<std::string>(201, "headers.a"), {})), "update_mask");
  v1::Webhook many;
  for (int i = 0; i < 65; ++i) AddHeader("B", "b", false, &many);
  EXPECT_EQ(FieldsOf(TryChange({"headers.a"}, many)), "webhook.headers");
  EXPECT_TRUE(TryChange(std::vector<std::string>(200, "headers.a"), {}).ok());
}

}  // namespace
}  // namespace postrider
