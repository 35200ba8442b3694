#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "src/message/signing.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/receivers.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_sink.h"

// What becomes of deliveries over retries, limits and changes of their webhook.

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// ---- Deliveries that fail

TEST(RetryTest, AttemptsGoOnAfterARestart) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  constexpr absl::Duration kInitial = absl::Milliseconds(100);
  v1::Webhook webhook = WebhookAt("w", sink.Url(), kInitial);
  webhook.mutable_retry_policy()->set_multiplier(2);
  *webhook.mutable_retry_policy()->mutable_max_backoff() = ToProtoDuration(absl::Hours(1));
  std::string id;
  int before = 0;
  {
    const ApiClient api(server.grpc_address());
    api.Configure(webhook);
    sink.SetScript([](const SinkRequest&) { return Status(500); });
    api.Publish("{}");
    EXPECT_TRUE(Eventually([&] {
      const auto pending = api.ListDeliveries("w", v1::DELIVERY_STATE_PENDING);
      if (pending.size() != 1) return false;
      id = pending[0].delivery_id();
      before = pending[0].attempt_count();
      return before >= 3;
    }));
  }
  server.Kill();
  const size_t came_before = Deliveries(sink).size();
  sink.SetScript([came_before, &sink](const SinkRequest&) {
    return Status(Deliveries(sink).size() > came_before + 1 ? 200 : 500);
  });
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  api.WaitForDeliveries("w", v1::DELIVERY_STATE_DELIVERED, 1);
  const v1::GetDeliveryResponse found = api.GetDelivery(id);
  EXPECT_GE(found.delivery().attempt_count(), before + 2);
  ASSERT_EQ(found.attempts_size(), found.delivery().attempt_count());
  for (int i = 0; i < found.attempts_size(); ++i) {
    EXPECT_EQ(found.attempts(i).number(), i + 1);
    EXPECT_EQ(found.attempts(i).http_status(), i + 1 < found.attempts_size() ? 500 : 200);
  }
  // Attempt n+1 comes no sooner than 0.8 * initial * 2^(n-1) after attempt n. Those after the
  // restart may: a webhook that was failing then is probed, at the pace of probes. Requests may be
  // more than attempts, by the one that was under way at the kill.
  const auto time_of = [](const v1::Attempt& attempt) {
    return absl::FromUnixSeconds(attempt.start_time().seconds()) +
           absl::Nanoseconds(attempt.start_time().nanos());
  };
  for (int n = 1; n < before; ++n) {
    EXPECT_GE(time_of(found.attempts(n)) - time_of(found.attempts(n - 1)),
              0.8 * kInitial * (1 << (n - 1)) - absl::Milliseconds(1))
        << "after attempt " << n;
  }
}

TEST(RetryTest, ADeliveryIsDeadAfterItsAttemptsAndARetryDeliversIt) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  v1::Webhook webhook = WebhookAt("w", sink.Url());
  webhook.mutable_retry_policy()->set_max_attempts(2);
  api.Configure(webhook);
  sink.SetScript([](const SinkRequest&) {
    SinkAnswer answer = Status(500);
    answer.body = "out of order";
    return answer;
  });
  api.Publish("{\"n\":1}");
  const auto dead = api.WaitForDeliveries("w", v1::DELIVERY_STATE_DEAD, 1);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(dead[0].attempt_count(), 2);
  EXPECT_EQ(dead[0].last_http_status(), 500);
  EXPECT_EQ(Deliveries(sink).size(), 2u);
  EXPECT_EQ(api.GetDelivery(dead[0].delivery_id()).attempts(1).response_body(), "out of order");

  sink.SetScript([](const SinkRequest&) { return Status(200); });
  const CommandResult retried =
      RunCommand({"deliveries", "retry", dead[0].delivery_id(), "--server", server.grpc_address()});
  EXPECT_EQ(retried.exit_code, 0) << retried.err;
  EXPECT_THAT(retried.out, HasSubstr("pending"));
  const auto delivered = api.WaitForDeliveries("w", v1::DELIVERY_STATE_DELIVERED, 1);
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].delivery_id(), dead[0].delivery_id());
  EXPECT_EQ(delivered[0].attempt_count(), 3);
}

TEST(RetryTest, ARetryToADisabledWebhookSaysThatNothingIsSent) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  v1::Webhook webhook = WebhookAt("w", sink.Url());
  webhook.mutable_retry_policy()->set_max_attempts(1);
  api.Configure(webhook);
  sink.SetScript([](const SinkRequest&) { return Status(500); });
  api.Publish("{}");
  const auto dead = api.WaitForDeliveries("w", v1::DELIVERY_STATE_DEAD, 1);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_FALSE(dead[0].has_hold());
  webhook.set_enabled(false);
  api.Configure(webhook);

  const CommandResult retried =
      RunCommand({"deliveries", "retry", dead[0].delivery_id(), "--server", server.grpc_address()});
  EXPECT_EQ(retried.exit_code, 0) << retried.err;
  EXPECT_THAT(retried.out, HasSubstr("held back"));
  EXPECT_THAT(retried.out, HasSubstr("disabled"));
  const v1::GetDeliveryResponse found = api.GetDelivery(dead[0].delivery_id());
  EXPECT_EQ(found.delivery().state(), v1::DELIVERY_STATE_PENDING);
  EXPECT_EQ(found.delivery().hold().reason(), v1::HOLD_REASON_DISABLED);
  EXPECT_EQ(Deliveries(sink).size(), 1u);
}

TEST(RetryTest, RetryAfterIsAFloorUnderTheDelay) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  api.Configure(WebhookAt("w", sink.Url(), absl::Milliseconds(1)));
  sink.SetScript([&sink](const SinkRequest&) {
    if (Deliveries(sink).size() > 1) return Status(200);
    SinkAnswer answer = Status(503);
    answer.headers = {{"Retry-After", "2"}};
    return answer;
  });
  api.Publish("{}");
  ASSERT_TRUE(WaitForDeliveries(sink, 2));
  const auto requests = Deliveries(sink);
  EXPECT_GE(requests[1].time - requests[0].time, absl::Seconds(2) - absl::Milliseconds(1));
}

TEST(RetryTest, GoneDisablesTheWebhookUntilItIsEnabledAgain) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  const v1::Webhook webhook = WebhookAt("w", sink.Url());
  api.Configure(webhook);
  sink.SetScript([](const SinkRequest&) { return Status(410); });
  api.Publish("{\"n\":1}");
  ASSERT_TRUE(Eventually([&] { return !api.GetWebhook("w").enabled(); }));
  EXPECT_THAT(api.GetWebhook("w").disabled_reason(), HasSubstr("410"));
  // It is owed nothing new while it is disabled.
  api.Publish("{\"n\":2}");
  EXPECT_EQ(api.ListDeliveries("w", v1::DELIVERY_STATE_UNSPECIFIED).size(), 1u);

  sink.SetScript([](const SinkRequest&) { return Status(200); });
  api.Configure(webhook);
  EXPECT_EQ(api.GetWebhook("w").disabled_reason(), "");
  api.WaitForDeliveries("w", v1::DELIVERY_STATE_DELIVERED, 1);
  for (const SinkRequest& request : Deliveries(sink)) {
    EXPECT_EQ(request.body, BodyOf("{\"n\":1}"));
  }
}

TEST(RetryTest, ADeletedWebhooksDeliveriesAreCancelled) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  api.Configure(WebhookAt("w", sink.Url()));
  sink.SetScript([](const SinkRequest&) { return Status(500); });
  const std::string id = api.Publish("{}");
  ASSERT_TRUE(WaitForDeliveries(sink, 1));
  v1::DeleteWebhookRequest remove;
  remove.set_name("w");
  v1::DeleteWebhookResponse removed;
  ASSERT_TRUE(api.Call(&v1::WebhookService::Stub::DeleteWebhook, remove, &removed).ok());

  v1::ListDeliveriesRequest request;
  request.set_notification_id(id);
  v1::ListDeliveriesResponse response;
  EXPECT_TRUE(Eventually([&] {
    const RpcResult result =
        api.Call(&v1::DeliveryService::Stub::ListDeliveries, request, &response);
    EXPECT_TRUE(result.ok()) << result;
    return response.deliveries_size() == 1 &&
           response.deliveries(0).state() == v1::DELIVERY_STATE_CANCELLED;
  })) << response.DebugString();
}

// ---- One receiver and the others

TEST(LimitTest, TheRateLimitHolds) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  v1::Webhook webhook = WebhookAt("w", sink.Url());
  webhook.mutable_rate_limit()->set_per_second(20);
  webhook.mutable_rate_limit()->set_burst(3);
  api.Configure(webhook);
  const absl::Time start = absl::Now();
  constexpr int kCount = 20;
  for (int i = 0; i < kCount; ++i) api.Publish("{}");
  ASSERT_TRUE(WaitForDeliveries(sink, kCount));
  // The burst may come at once; each one after it needs a twentieth of a second more. Counted from
  // before the first was published, so that no delay on the way makes it look faster.
  const auto requests = Deliveries(sink);
  for (int i = 0; i < kCount; ++i) {
    EXPECT_GE(requests[static_cast<size_t>(i)].time - start,
              absl::Milliseconds(50) * std::max(0, i - 2) - absl::Milliseconds(1))
        << "request " << i;
  }
}

TEST(LimitTest, APumpThatHasNoTimeIsHelped) {
  HttpSink sinks[3];
  ServerProcess server;
  server.flags = {"--pump-threads=2"};
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  for (int i = 0; i < 3; ++i) {
    v1::Webhook webhook = WebhookAt(absl::StrCat("w", i), sinks[i].Url());
    webhook.set_max_concurrency(64);
    api.Configure(webhook);
  }
  v1::BatchPublishNotificationsRequest batch;
  for (int i = 0; i < 500; ++i) {
    v1::Notification& notification = *batch.add_requests()->mutable_notification();
    notification.set_notification_type("TEST");
    notification.set_json_payload("{}");
  }
  // Whether a pump has time depends on the machine: what one backlog does not show, the next may.
  size_t published = 0;
  EXPECT_TRUE(Eventually([&] {
    v1::BatchPublishNotificationsResponse response;
    if (!api.Call(&v1::NotificationService::Stub::BatchPublishNotifications, batch, &response)
             .ok()) {
      return false;
    }
    published += 500;
    for (const HttpSink& sink : sinks) EXPECT_TRUE(WaitForDeliveries(sink, published));
    const std::string metrics = server.Get("/metrics")->body;
    constexpr char kNone[] = "postrider_requests_handed_over_total{pump=\"";
    return !absl::StrContains(metrics, absl::StrCat(kNone, "0\"} 0\n")) ||
           !absl::StrContains(metrics, absl::StrCat(kNone, "1\"} 0\n"));
  }));
  EXPECT_EQ(server.Terminate(), 0);
  for (const HttpSink& sink : sinks) EXPECT_EQ(Deliveries(sink).size(), published);
}

TEST(LimitTest, ABlackHoleDoesNotHoldUpAnotherReceiver) {
  HttpSink hole;
  HttpSink good;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  v1::Webhook black = WebhookAt("hole", hole.Url());
  *black.mutable_timeout() = ToProtoDuration(absl::Minutes(5));
  api.Configure(black);
  api.Configure(WebhookAt("good", good.Url()));
  hole.SetScript([](const SinkRequest&) { return Hanging(); });
  constexpr size_t kCount = 300;
  for (size_t i = 0; i < kCount; ++i) api.Publish("{}");
  EXPECT_EQ(api.WaitForDeliveries("good", v1::DELIVERY_STATE_DELIVERED, kCount).size(), kCount);
  EXPECT_EQ(api.ListDeliveries("hole", v1::DELIVERY_STATE_PENDING).size(), kCount);
  // Its window, and no more.
  EXPECT_LE(Deliveries(hole).size(), 16u);
  EXPECT_GE(Deliveries(hole).size(), 1u);
}

// ---- Secrets

TEST(SecretTest, AfterARotationBothSecretsSignForTheOverlap) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  const std::string first = api.Configure(WebhookAt("w", sink.Url()));
  const auto rotate = [&api](std::optional<absl::Duration> overlap) {
    v1::RotateSigningSecretRequest request;
    request.set_name("w");
    if (overlap.has_value()) *request.mutable_overlap() = ToProtoDuration(*overlap);
    v1::RotateSigningSecretResponse response;
    const RpcResult result =
        api.Call(&v1::WebhookService::Stub::RotateSigningSecret, request, &response);
    EXPECT_TRUE(result.ok()) << result;
    return response.signing_secret();
  };
  // How many signatures the next request has, and which secrets have made one.
  const auto signed_by = [&](const std::vector<std::string>& secrets) {
    const size_t before = Deliveries(sink).size();
    api.Publish("{}");
    EXPECT_TRUE(WaitForDeliveries(sink, before + 1));
    const SinkRequest request = Deliveries(sink).back();
    const SignatureHeaders headers = {request.Header("webhook-id").value_or(""),
                                      request.Header("webhook-timestamp").value_or(""),
                                      request.Header("webhook-signature").value_or("")};
    const std::vector<std::string> signatures = absl::StrSplit(headers.signature, ' ');
    std::vector<int> result = {static_cast<int>(signatures.size())};
    for (size_t i = 0; i < secrets.size(); ++i) {
      const absl::Status verified =
          VerifySignature(*ParseSecret(secrets[i]), headers, request.body, request.time);
      if (verified.ok()) result.push_back(static_cast<int>(i));
    }
    return result;
  };
  EXPECT_THAT(signed_by({first}), ElementsAre(1, 0));
  const std::string second = rotate(std::nullopt);
  EXPECT_NE(second, first);
  EXPECT_THAT(signed_by({first, second}), ElementsAre(2, 0, 1));
  const std::string third = rotate(absl::ZeroDuration());
  EXPECT_THAT(signed_by({first, second, third}), ElementsAre(1, 2));
}

}  // namespace
}  // namespace postrider
