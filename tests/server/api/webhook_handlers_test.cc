#include "src/server/api/webhook_handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>
#include <limits>

#include "src/message/signing.h"
#include "tests/server/api/webhook_handlers_fixture.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

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
