#include "src/server/webhook_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "src/delivery/signing.h"
#include "tests/server/handler_fixture.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class WebhookHandlersTest : public HandlerFixture {
 protected:
  absl::Status TryConfigure(const v1::Webhook& webhook) {
    v1::ConfigureWebhookRequest request;
    *request.mutable_webhook() = webhook;
    v1::ConfigureWebhookResponse response;
    return Do(webhooks_, &WebhookHandlers::ConfigureWebhook, request, &response);
  }

  v1::Webhook Get(const std::string& name) {
    v1::GetWebhookRequest request;
    request.set_name(name);
    v1::GetWebhookResponse response;
    const absl::Status status = Do(webhooks_, &WebhookHandlers::GetWebhook, request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response.webhook();
  }

  // The stored row, secrets included.
  Webhook Row(const std::string& name) { return *store_.GetWebhook("default", name); }

  v1::ValidationResult Validate(const v1::ValidateWebhookRequest& request, TransferResult result) {
    auto call = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
    EXPECT_EQ(transport_.pending_count(), 1u);
    transport_.Answer(transport_.sent() - 1, std::move(result));
    Run();
    EXPECT_TRUE(call->status.has_value() && call->status->ok());
    return call->response.validation();
  }

  static TransferResult Answered(int status) {
    TransferResult result;
    result.http_status = status;
    result.body = "body";
    return result;
  }
};

TEST_F(WebhookHandlersTest, AWebhookTellsHowItsReceiverDoes) {
  Configure(AWebhook("bad", true));
  Configure(AWebhook("good", true));
  Health health;
  health.state = HealthState::kProbing;
  health.start = clock_.Now();
  health.next_attempt = clock_.Now() + absl::Minutes(1);
  health.last_error = "it answered 500";
  status_.health[Row("bad").id] = health;
  const auto expect_bad = [&](const v1::Health& told) {
    EXPECT_EQ(told.state(), v1::HEALTH_STATE_PROBING);
    EXPECT_EQ(told.start_time().seconds(), absl::ToUnixSeconds(health.start));
    EXPECT_EQ(told.next_attempt_time().seconds(), absl::ToUnixSeconds(health.next_attempt));
    EXPECT_EQ(told.last_error(), "it answered 500");
  };
  expect_bad(Get("bad").health());
  EXPECT_EQ(Get("good").health().state(), v1::HEALTH_STATE_HEALTHY);
  EXPECT_FALSE(Get("good").health().has_next_attempt_time());
  v1::ListWebhooksResponse list;
  ASSERT_TRUE(Do(webhooks_, &WebhookHandlers::ListWebhooks, v1::ListWebhooksRequest(), &list).ok());
  ASSERT_EQ(list.webhooks_size(), 2);
  expect_bad(list.webhooks(0).health());
  EXPECT_EQ(list.webhooks(1).health().state(), v1::HEALTH_STATE_HEALTHY);
}

TEST_F(WebhookHandlersTest, ADraftIsStoredUntested) {
  const v1::ConfigureWebhookResponse response = Configure(AWebhook("hook", false));
  EXPECT_EQ(transport_.sent(), 0u);
  EXPECT_FALSE(response.has_validation());
  EXPECT_THAT(response.signing_secret(), StartsWith("whsec_"));
  EXPECT_EQ(response.webhook().validation_state(), v1::VALIDATION_STATE_UNVALIDATED);
  EXPECT_FALSE(response.webhook().enabled());
}

TEST_F(WebhookHandlersTest, DefaultsAreFilledIn) {
  const v1::Webhook webhook = Configure(AWebhook("hook", false)).webhook();
  EXPECT_EQ(webhook.tenant(), "default");
  EXPECT_EQ(webhook.retry_policy().initial_backoff().seconds(), 5);
  EXPECT_EQ(webhook.retry_policy().multiplier(), 3);
  EXPECT_EQ(webhook.retry_policy().max_backoff().seconds(), 6 * 3600);
  EXPECT_EQ(webhook.retry_policy().max_age().seconds(), 72 * 3600);
  EXPECT_EQ(webhook.retry_policy().max_probe_interval().seconds(), 60);
  EXPECT_EQ(webhook.timeout().seconds(), 15);
  EXPECT_EQ(webhook.max_concurrency(), 16);
  EXPECT_FALSE(webhook.has_rate_limit());
  EXPECT_EQ(webhook.delivery_order(), v1::DELIVERY_ORDER_UNORDERED);
  EXPECT_FALSE(webhook.etag().empty());
  EXPECT_EQ(webhook.create_time().seconds(), absl::ToUnixSeconds(clock_.Now()));
}

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

TEST_F(WebhookHandlersTest, WhatIsStoredAndShownIsWhatIsSent) {
  v1::Webhook webhook = AWebhook("hook", false);
  webhook.set_url("https://b\xc3\xbc" "cher.example/hook");
  v1::Header* header = webhook.add_headers();
  header->set_name("X-Team");
  header->set_value(" \tblue ");
  const v1::Webhook stored = Configure(webhook).webhook();
  EXPECT_EQ(stored.url(), "https://xn--bcher-kva.example/hook");
  EXPECT_EQ(stored.headers(0).value(), "blue");
  EXPECT_EQ(Row("hook").url, stored.url());
  webhook.set_url("https://\xe2\x80\xae.example/");
  EXPECT_EQ(FieldsOf(TryConfigure(webhook)), "webhook.url");
}

TEST_F(WebhookHandlersTest, WhatIsReturnedCanBeSentBack) {
  v1::Webhook webhook = AWebhook("hook", false);
  webhook.mutable_rate_limit()->set_per_second(2.5);
  webhook.set_delivery_order(v1::DELIVERY_ORDER_ORDERED);
  webhook.add_notification_types("RUN_COMPLETED");
  const v1::Webhook first = Configure(webhook).webhook();
  v1::Webhook second = Configure(first).webhook();
  EXPECT_NE(first.etag(), second.etag());
  second.set_etag(first.etag());
  *second.mutable_update_time() = first.update_time();
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
}

TEST_F(WebhookHandlersTest, EnablingSendsASignedTestRequest) {
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

TEST_F(WebhookHandlersTest, AFailedTestStoresNothingAndTellsAll) {
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

TEST_F(WebhookHandlersTest, TheDetailsOfAFailedTestFitIntoTrailers) {
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
TEST_F(WebhookHandlersTest, TensOfThousandsOfHeadersOfAFailedTestAreCutShortAtOnce) {
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

TEST_F(WebhookHandlersTest, AValidConfigurationIsNotTestedAgain) {
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

TEST_F(WebhookHandlersTest, EtagsMustMatch) {
  v1::Webhook webhook = AWebhook("hook", false);
  webhook.set_etag("1-1");
  EXPECT_EQ(ReasonOf(TryConfigure(webhook)), "ETAG_MISMATCH");

  const std::string etag = Configure(AWebhook("hook", false)).webhook().etag();
  webhook.set_etag(etag);
  EXPECT_TRUE(TryConfigure(webhook).ok());
  const absl::Status status = TryConfigure(webhook);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(status), "ETAG_MISMATCH");
}

TEST_F(WebhookHandlersTest, AChangeDuringTheTestIsNoticed) {
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

TEST_F(WebhookHandlersTest, SensitiveValuesAreKeptAndNeverReturned) {
  v1::Webhook webhook = AWebhook("hook", true);
  v1::Header* header = webhook.add_headers();
  header->set_name("authorization");
  header->set_value("Bearer very-secret");
  header = webhook.add_headers();
  header->set_name("X-Plain");
  header->set_value("plain");
  header = webhook.add_headers();
  header->set_name("X-Mine");
  header->set_value("marked-secret");
  header->set_sensitive(true);

  const v1::ConfigureWebhookResponse response = Configure(webhook);
  EXPECT_THAT(response.DebugString(), Not(HasSubstr("very-secret")));
  EXPECT_THAT(response.DebugString(), Not(HasSubstr("marked-secret")));
  EXPECT_TRUE(response.webhook().headers(0).sensitive());
  EXPECT_EQ(response.webhook().headers(1).value(), "plain");
  EXPECT_EQ(response.validation().request().headers_size(), 8);

  // Sent back as it was returned, it is the same configuration, tested already.
  Configure(response.webhook());
  EXPECT_EQ(transport_.sent(), 1u);
  EXPECT_EQ(Row("hook").headers[0].value, "Bearer very-secret");
  EXPECT_EQ(Row("hook").headers[2].value, "marked-secret");

  // An empty value that is not sensitive is just empty.
  v1::Webhook unmarked = response.webhook();
  unmarked.clear_etag();
  unmarked.mutable_headers(2)->set_sensitive(false);
  unmarked.set_enabled(false);
  EXPECT_EQ(Configure(unmarked).webhook().headers(2).value(), "");
  EXPECT_EQ(Row("hook").headers[2].value, "");
}

TEST_F(WebhookHandlersTest, AnEmptySensitiveValueWithNothingStoredIsNamed) {
  v1::Webhook webhook = AWebhook("hook", false);
  webhook.add_headers()->set_name("X-Plain");
  webhook.add_headers()->set_name("X-Api-Key");
  const absl::Status status = TryConfigure(webhook);
  EXPECT_EQ(FieldsOf(status), "webhook.headers[1].value");
}

TEST_F(WebhookHandlersTest, BadFieldsAreAllNamed) {
  v1::Webhook webhook;
  webhook.set_tenant("no spaces");
  webhook.set_name("Upper");
  webhook.set_url("ftp://x/");
  webhook.add_headers()->set_name("Host");
  webhook.add_notification_types("ok");
  webhook.add_notification_types("not ok");
  webhook.mutable_timeout()->set_seconds(301);
  webhook.mutable_retry_policy()->set_multiplier(0.5);
  webhook.mutable_rate_limit();
  webhook.set_max_concurrency(1025);
  webhook.set_delivery_order(static_cast<v1::DeliveryOrder>(9));
  const absl::Status status = TryConfigure(webhook);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldsOf(status),
            "webhook.tenant webhook.name webhook.url webhook.headers[0].name "
            "webhook.notification_types[1] webhook.retry_policy.multiplier webhook.timeout "
            "webhook.max_concurrency webhook.rate_limit.per_second webhook.delivery_order");
}

TEST_F(WebhookHandlersTest, RetryPoliciesAreChecked) {
  const auto fields = [this](auto&& change) {
    v1::Webhook webhook = AWebhook("hook", false);
    change(webhook.mutable_retry_policy());
    return FieldsOf(TryConfigure(webhook));
  };
  using Policy = v1::RetryPolicy*;
  EXPECT_EQ(fields([](Policy p) { p->mutable_initial_backoff()->set_seconds(0); }),
            "webhook.retry_policy.initial_backoff");
  EXPECT_EQ(fields([](Policy p) {
              p->mutable_initial_backoff()->set_seconds(9);
              p->mutable_max_backoff()->set_seconds(8);
            }),
            "webhook.retry_policy.max_backoff");
  // A default gives way.
  EXPECT_EQ(fields([](Policy p) { p->mutable_max_backoff()->set_seconds(1); }), "");
  EXPECT_EQ(fields([](Policy p) { p->mutable_initial_backoff()->set_seconds(24 * 3600); }), "");
  EXPECT_EQ(fields([](Policy p) { p->set_multiplier(std::numeric_limits<double>::quiet_NaN()); }),
            "webhook.retry_policy.multiplier");
  EXPECT_EQ(fields([](Policy p) { p->set_max_attempts(-1); }), "webhook.retry_policy.max_attempts");
  EXPECT_EQ(fields([](Policy p) { p->mutable_max_age()->set_nanos(-5); }),
            "webhook.retry_policy.max_age");
  const auto interval = [&fields](int64_t seconds) {
    return fields([=](Policy p) { p->mutable_max_probe_interval()->set_seconds(seconds); });
  };
  for (const int64_t seconds : {0, 6 * 3600 + 1}) {
    EXPECT_EQ(interval(seconds), "webhook.retry_policy.max_probe_interval");
  }
  for (const int64_t seconds : {1, 6 * 3600}) EXPECT_EQ(interval(seconds), "");
  EXPECT_EQ(Get("hook").retry_policy().max_probe_interval().seconds(), 6 * 3600);
}

TEST_F(WebhookHandlersTest, WhoeverWaitsForAReceiverHearsThatItsTestSucceeded) {
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

TEST_F(WebhookHandlersTest, AMissingWebhookIsNamed) {
  v1::ConfigureWebhookRequest request;
  v1::ConfigureWebhookResponse response;
  EXPECT_EQ(FieldsOf(Do(webhooks_, &WebhookHandlers::ConfigureWebhook, request, &response)),
            "webhook");
  v1::ValidateWebhookRequest validate;
  v1::ValidateWebhookResponse validated;
  EXPECT_EQ(FieldsOf(Do(webhooks_, &WebhookHandlers::ValidateWebhook, validate, &validated)),
            "target");
}

TEST_F(WebhookHandlersTest, EnablingAgainClearsTheReason) {
  const v1::Webhook webhook = Configure(AWebhook("hook", true)).webhook();
  const Webhook row = Row("hook");
  outbox_.DisableWebhook(row.id, row.version, "it answered 410", [](absl::Status) {});
  outbox_.RecordOutcomes({{}, {{row.id, clock_.Now()}}}, [](absl::Status) {});
  Run();
  EXPECT_EQ(Get("hook").disabled_reason(), "it answered 410");
  EXPECT_FALSE(Get("hook").enabled());

  // Changed but not enabled: the reason stays.
  v1::Webhook changed = AWebhook("hook", false);
  changed.set_max_concurrency(2);
  EXPECT_EQ(Configure(changed).webhook().disabled_reason(), "it answered 410");

  changed.set_enabled(true);
  EXPECT_EQ(Configure(changed).webhook().disabled_reason(), "");
  EXPECT_EQ(Row("hook").failing_since, absl::InfiniteFuture());
}

TEST_F(WebhookHandlersTest, ValidatingAStoredWebhookKeepsTheResult) {
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

TEST_F(WebhookHandlersTest, AResultOfAFormerConfigurationIsNotKept) {
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

TEST_F(WebhookHandlersTest, ValidatingAnUnstoredWebhookStoresNothing) {
  v1::ValidateWebhookRequest request;
  request.mutable_webhook()->set_url("http://receiver.example/x");
  EXPECT_TRUE(Validate(request, Answered(200)).valid());
  EXPECT_TRUE(store_.LoadWebhooks().empty());
}

TEST_F(WebhookHandlersTest, StoredSecretsGoToTheirOwnReceiverOnly) {
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

TEST_F(WebhookHandlersTest, OneTenantsTestsAreBoundedAndKeepNobodyElseOut) {
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

TEST_F(WebhookHandlersTest, ATestEndsWithItsCallersDeadlineAndBlamesNobody) {
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

TEST_F(WebhookHandlersTest, ATestEndsWhenItsCallerCancels) {
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

TEST_F(WebhookHandlersTest, WhatOurOwnResourcesPreventIsNotBlamedOnTheReceiver) {
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

TEST_F(WebhookHandlersTest, WhatOutlivesItsCallersDeadlineIsNotStored) {
  context_.deadline = clock_.Now() + absl::Seconds(20);
  v1::ConfigureWebhookRequest request;
  *request.mutable_webhook() = AWebhook("hook", true);
  auto call = Start(webhooks_, &WebhookHandlers::ConfigureWebhook, request);
  clock_.Advance(absl::Seconds(21));
  transport_.Succeed(0, 200);
  Run();
  ASSERT_TRUE(call->status.has_value());
  EXPECT_EQ(call->status->code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(call->response.ByteSizeLong(), 0u);
  EXPECT_FALSE(store_.GetWebhook("default", "hook").ok()) << "its secret was shown to nobody";
}

TEST_F(WebhookHandlersTest, WhatWasCancelledBeforeItWasStoredIsNotStored) {
  context_.cancellation = std::make_shared<Cancellation>();
  Configure(AWebhook("hook", false));
  const Webhook before = Row("hook");
  context_.cancellation->Cancel();
  v1::RotateSigningSecretRequest rotate;
  rotate.set_name("hook");
  v1::RotateSigningSecretResponse rotated;
  EXPECT_EQ(Do(webhooks_, &WebhookHandlers::RotateSigningSecret, rotate, &rotated).code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(rotated.signing_secret(), "");
  EXPECT_EQ(Row("hook").secrets, before.secrets);
  EXPECT_EQ(TryConfigure(AWebhook("new", false)).code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(store_.GetWebhook("default", "new").ok());
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

TEST_F(WebhookHandlersTest, AStoppedLaneAnswers) {
  v1::ValidateWebhookRequest request;
  request.mutable_webhook()->set_url("http://receiver.example/x");
  auto sent = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  transport_.CancelAll();
  ASSERT_TRUE(sent->status.has_value());
  EXPECT_EQ(sent->status->code(), absl::StatusCode::kUnavailable);

  executor_.Stop();
  auto unsent = Start(webhooks_, &WebhookHandlers::ValidateWebhook, request);
  ASSERT_TRUE(unsent->status.has_value());
  EXPECT_EQ(unsent->status->code(), absl::StatusCode::kUnavailable);
}

TEST_F(WebhookHandlersTest, UnknownNamesAreNotFound) {
  const auto check = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr("nothing-here"));
  };
  v1::GetWebhookRequest get;
  get.set_name("nothing-here");
  v1::GetWebhookResponse got;
  check(Do(webhooks_, &WebhookHandlers::GetWebhook, get, &got));
  v1::DeleteWebhookRequest remove;
  remove.set_name("nothing-here");
  v1::DeleteWebhookResponse removed;
  check(Do(webhooks_, &WebhookHandlers::DeleteWebhook, remove, &removed));
  v1::RotateSigningSecretRequest rotate;
  rotate.set_name("nothing-here");
  v1::RotateSigningSecretResponse rotated;
  check(Do(webhooks_, &WebhookHandlers::RotateSigningSecret, rotate, &rotated));
  v1::ValidateWebhookRequest validate;
  validate.mutable_ref()->set_name("nothing-here");
  v1::ValidateWebhookResponse validated;
  check(Do(webhooks_, &WebhookHandlers::ValidateWebhook, validate, &validated));
  v1::ListWebhooksRequest list;
  list.set_tenant("nothing-here");
  v1::ListWebhooksResponse listed;
  check(Do(webhooks_, &WebhookHandlers::ListWebhooks, list, &listed));
}

TEST_F(WebhookHandlersTest, DeletesAndLists) {
  for (const char* name : {"a", "b", "c"}) Configure(AWebhook(name, false));
  v1::ListWebhooksRequest list;
  list.set_page_size(2);
  v1::ListWebhooksResponse page;
  ASSERT_TRUE(Do(webhooks_, &WebhookHandlers::ListWebhooks, list, &page).ok());
  ASSERT_EQ(page.webhooks_size(), 2);
  EXPECT_EQ(page.webhooks(1).name(), "b");
  list.set_page_token(page.next_page_token());
  ASSERT_TRUE(Do(webhooks_, &WebhookHandlers::ListWebhooks, list, &page).ok());
  ASSERT_EQ(page.webhooks_size(), 1);
  EXPECT_EQ(page.webhooks(0).name(), "c");
  EXPECT_TRUE(page.next_page_token().empty());
  list.set_page_token("rubbish");
  EXPECT_EQ(FieldsOf(Do(webhooks_, &WebhookHandlers::ListWebhooks, list, &page)), "page_token");
  list.set_page_token("");
  list.set_page_size(-1);
  EXPECT_EQ(FieldsOf(Do(webhooks_, &WebhookHandlers::ListWebhooks, list, &page)), "page_size");

  v1::DeleteWebhookRequest remove;
  remove.set_name("b");
  v1::DeleteWebhookResponse removed;
  EXPECT_TRUE(Do(webhooks_, &WebhookHandlers::DeleteWebhook, remove, &removed).ok());
  EXPECT_FALSE(store_.GetWebhook("default", "b").ok());
}

TEST_F(WebhookHandlersTest, RotatesSecrets) {
  const std::string first = Configure(AWebhook("hook", false)).signing_secret();
  v1::RotateSigningSecretRequest rotate;
  rotate.set_name("hook");
  v1::RotateSigningSecretResponse rotated;
  ASSERT_TRUE(Do(webhooks_, &WebhookHandlers::RotateSigningSecret, rotate, &rotated).ok());
  std::vector<SigningSecret> secrets = Row("hook").secrets;
  ASSERT_EQ(secrets.size(), 2u);
  EXPECT_EQ(FormatSecret(secrets[0].key), rotated.signing_secret());
  EXPECT_EQ(secrets[0].expires, absl::InfiniteFuture());
  EXPECT_EQ(FormatSecret(secrets[1].key), first);
  EXPECT_EQ(secrets[1].expires, clock_.Now() + absl::Hours(24));

  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(Do(webhooks_, &WebhookHandlers::RotateSigningSecret, rotate, &rotated).ok());
  }
  EXPECT_EQ(Do(webhooks_, &WebhookHandlers::RotateSigningSecret, rotate, &rotated).code(),
            absl::StatusCode::kFailedPrecondition);

  // Without an overlap the former ones are gone at once.
  rotate.mutable_overlap()->set_seconds(0);
  ASSERT_TRUE(Do(webhooks_, &WebhookHandlers::RotateSigningSecret, rotate, &rotated).ok());
  EXPECT_EQ(Row("hook").secrets.size(), 1u);

  rotate.mutable_overlap()->set_seconds(31 * 24 * 3600);
  EXPECT_EQ(FieldsOf(Do(webhooks_, &WebhookHandlers::RotateSigningSecret, rotate, &rotated)),
            "overlap");
}

TEST_F(WebhookHandlersTest, ADiskWithoutRoomIsToldOf) {
  outbox_.FailWrites(1, absl::ResourceExhaustedError("the disk is full"));
  const absl::Status status = TryConfigure(AWebhook("hook", false));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace postrider
