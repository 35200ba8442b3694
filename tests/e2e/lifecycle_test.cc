#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "src/delivery/json.h"
#include "src/delivery/signing.h"
#include "src/server/exit_codes.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

SinkAnswer Status(int status) {
  SinkAnswer answer;
  answer.status = status;
  return answer;
}

SinkAnswer Hanging() {
  SinkAnswer answer;
  answer.way = SinkAnswer::Way::kHang;
  return answer;
}

bool IsTest(const SinkRequest& request) {
  return absl::StartsWith(request.Header("webhook-id").value_or(""), "test_");
}

// The requests that are no tests of a configuration.
std::vector<SinkRequest> Deliveries(const HttpSink& sink) {
  std::vector<SinkRequest> requests = sink.requests();
  requests.erase(std::remove_if(requests.begin(), requests.end(), IsTest), requests.end());
  return requests;
}

bool WaitForDeliveries(const HttpSink& sink, size_t count) {
  return Eventually([&] { return Deliveries(sink).size() >= count; });
}

// Starts `postrider serve` with these flags only, and waits for its end.
CommandResult ServeWith(std::vector<std::string> args,
                        const std::vector<std::string>& environment = {}) {
  args.insert(args.begin(), "serve");
  return RunCommand(args, "", environment);
}

int Code(ExitCode code) { return static_cast<int>(code); }

std::string WriteFile(const ScratchDir& dir, const std::string& name, const std::string& content) {
  std::ofstream(dir.File(name)) << content;
  return dir.File(name);
}

// ---- Start

TEST(StartTest, TheReadyLineIsAllThatGoesToStandardOutput) {
  HttpSink sink;
  ServerProcess server;
  server.flags = {"--log-level", "debug"};
  ASSERT_TRUE(server.Start());
  EXPECT_THAT(server.ready_line(), testing::MatchesRegex("ready grpc=127\\.0\\.0\\.1:[1-9][0-9]* "
                                                         "http=127\\.0\\.0\\.1:[1-9][0-9]*"));
  const ApiClient api(server.grpc_address());
  api.Configure(WebhookAt("w", sink.Url()));
  api.Publish("{}");
  ASSERT_TRUE(WaitForDeliveries(sink, 1));
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_EQ(server.process().out(), server.ready_line() + "\n");
  EXPECT_THAT(server.process().err(), HasSubstr("stopped"));
}

TEST(StartTest, ASecondServerOnTheSameDirectoryIsRefusedAndTheFirstGoesOn) {
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const CommandResult second = RunCommand(ServerProcess::Arguments(server.data_dir()));
  EXPECT_EQ(second.exit_code, Code(ExitCode::kCannotUse));
  EXPECT_THAT(second.err, HasSubstr(server.data_dir()));
  EXPECT_THAT(second.err, HasSubstr(absl::StrCat("process ", server.process().pid())));
  EXPECT_EQ(second.out, "");
  ApiClient(server.grpc_address()).Publish("{}");
  EXPECT_EQ(server.Terminate(), 0);
}

TEST(StartTest, AnAddressThatIsTakenIsNamed) {
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  for (const auto& [flag, address] : {std::pair("--listen", server.grpc_address()),
                                      std::pair("--http-listen", server.http_address())}) {
    const ScratchDir dir;
    const std::string other = absl::StrCat(flag) == "--listen" ? "--http-listen" : "--listen";
    const CommandResult result =
        ServeWith({"--data-dir", dir.File("data"), flag, address, other, "127.0.0.1:0"});
    EXPECT_EQ(result.exit_code, Code(ExitCode::kUnavailable)) << flag;
    EXPECT_THAT(result.err, HasSubstr(absl::StrCat(flag, " ", address)));
    EXPECT_THAT(result.err, HasSubstr("Address already in use"));
  }
}

TEST(StartTest, PlaintextBeyondLoopbackNeedsInsecure) {
  const ScratchDir dir;
  const CommandResult refused = ServeWith(
      {"--data-dir", dir.File("data"), "--listen", "0.0.0.0:0", "--http-listen", "127.0.0.1:0"});
  EXPECT_EQ(refused.exit_code, Code(ExitCode::kUsage));
  EXPECT_THAT(refused.err, HasSubstr("--insecure"));
  EXPECT_FALSE(std::filesystem::exists(dir.File("data")));

  Process::Options options;
  options.args = {"serve",     "--data-dir",    dir.File("data"), "--listen",
                  "0.0.0.0:0", "--http-listen", "127.0.0.1:0",    "--insecure"};
  Process insecure(options);
  EXPECT_TRUE(insecure.WaitForLine("ready grpc=0.0.0.0:").has_value()) << insecure.err();
}

TEST(StartTest, SigtermDuringTheStartEndsItInOrder) {
  for (int i = 0; i < 10; ++i) {
    ServerProcess server;
    server.Launch();
    // From the making of the lock file on, the signal is not the system's to handle.
    ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(server.data_dir() + "/lock"); }));
    EXPECT_EQ(server.Terminate(), 0) << server.process().err();
    ASSERT_TRUE(server.Start());
    EXPECT_EQ(server.Terminate(), 0);
  }
}

// ---- Configuration

TEST(ConfigurationTest, WhatIsNotKnownIsRefused) {
  const ScratchDir dir;
  const CommandResult flag = ServeWith({"--data-dir", dir.File("data"), "--no-such-flag", "1"});
  EXPECT_EQ(flag.exit_code, Code(ExitCode::kUsage));
  EXPECT_THAT(flag.err, HasSubstr("--no-such-flag"));

  const CommandResult variable =
      ServeWith({"--data-dir", dir.File("data")}, {"POSTRIDER_NO_SUCH_FLAG=1"});
  EXPECT_EQ(variable.exit_code, Code(ExitCode::kConfig));
  EXPECT_THAT(variable.err, HasSubstr("POSTRIDER_NO_SUCH_FLAG"));

  const std::string file =
      WriteFile(dir, "postrider.toml", "# ours\ndrain-timeout = \"5s\"\nno-such-key = 1\n");
  const CommandResult key = ServeWith({"--data-dir", dir.File("data"), "--config", file});
  EXPECT_EQ(key.exit_code, Code(ExitCode::kConfig));
  EXPECT_THAT(key.err, HasSubstr(file + ":3: "));
  EXPECT_THAT(key.err, HasSubstr("no-such-key"));
  EXPECT_FALSE(std::filesystem::exists(dir.File("data")));
}

// What the server says that a notification may have at most.
std::string LargestNotification(const ServerProcess& server) {
  v1::PublishNotificationRequest request;
  request.mutable_notification()->set_notification_type("T");
  request.mutable_notification()->set_json_payload(
      absl::StrCat("{\"pad\":\"", std::string(300000, 'x'), "\"}"));
  v1::PublishNotificationResponse response;
  return ApiClient(server.grpc_address())
      .Call(&v1::NotificationService::Stub::PublishNotification, request, &response)
      .message;
}

TEST(ConfigurationTest, TheCommandLineWinsOverTheEnvironmentAndThatOverTheFile) {
  const ScratchDir dir;
  const std::string file = WriteFile(dir, "postrider.toml", "max-notification-bytes = 1111\n");
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  EXPECT_THAT(LargestNotification(server), HasSubstr("at most 262144"));
  EXPECT_EQ(server.Terminate(), 0);

  server.flags = {"--config", file};
  ASSERT_TRUE(server.Start());
  EXPECT_THAT(LargestNotification(server), HasSubstr("at most 1111"));
  EXPECT_EQ(server.Terminate(), 0);

  server.environment = {"POSTRIDER_MAX_NOTIFICATION_BYTES=2222"};
  ASSERT_TRUE(server.Start());
  EXPECT_THAT(LargestNotification(server), HasSubstr("at most 2222"));
  EXPECT_EQ(server.Terminate(), 0);

  server.flags = {"--config", file, "--max-notification-bytes", "3333"};
  ASSERT_TRUE(server.Start());
  EXPECT_THAT(LargestNotification(server), HasSubstr("at most 3333"));
  EXPECT_EQ(server.Terminate(), 0);
}

// ---- What it shows of itself

TEST(AdminTest, HealthReadinessAndMetricsAreServed) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  api.Configure(WebhookAt("w", sink.Url()));
  api.Publish("{}");
  api.WaitForDeliveries("w", v1::DELIVERY_STATE_DELIVERED, 1);

  EXPECT_EQ(server.Get("/healthz")->status, 200);
  EXPECT_EQ(server.Get("/readyz")->status, 200);
  EXPECT_EQ(server.Get("/nothing")->status, 404);
  const std::optional<HttpAnswer> metrics = server.Get("/metrics");
  ASSERT_TRUE(metrics.has_value());
  EXPECT_EQ(metrics->status, 200);
  EXPECT_THAT(metrics->body, HasSubstr("\npostrider_outbox_notifications_published_total 1\n"));
  EXPECT_THAT(metrics->body,
              testing::ContainsRegex("\npostrider_attempts_total\\{[^}]*\"success[^}]*\\} 1\n"));
  EXPECT_THAT(metrics->body, testing::ContainsRegex("\npostrider_grpc_requests_total\\{code=\"OK\","
                                                    "method=\"PublishNotification\"\\} 1\n"));
}

TEST(AdminTest, LogsAreLinesOfJsonOnStandardErrorWhenAskedFor) {
  HttpSink sink([](const SinkRequest& request) { return Status(IsTest(request) ? 200 : 410); });
  ServerProcess server;
  server.flags = {"--log-format=json", "--log-level=debug"};
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  api.Configure(WebhookAt("w", sink.Url()));
  api.Publish("{}");
  EXPECT_TRUE(Eventually([&] { return !api.GetWebhook("w").enabled(); }));
  EXPECT_EQ(server.Terminate(), 0);

  const std::string err = server.process().err();
  int lines = 0;
  for (const absl::string_view line : absl::StrSplit(err, '\n', absl::SkipEmpty())) {
    ++lines;
    EXPECT_TRUE(CheckJsonObject({line.data(), line.size()}).ok()) << line;
    for (const char* key : {"\"time\":\"", "\"level\":\"", "\"msg\":\""}) {
      EXPECT_THAT(std::string(line), HasSubstr(key));
    }
  }
  EXPECT_GE(lines, 4) << err;
  EXPECT_THAT(err, HasSubstr("webhook disabled"));
}

// ---- Stop

TEST(StopTest, ARequestUnderWayIsFinishedAndRecorded) {
  HttpSink sink;
  ServerProcess server;
  server.flags = {"--drain-timeout", "60s"};
  ASSERT_TRUE(server.Start());
  {
    const ApiClient api(server.grpc_address());
    api.Configure(WebhookAt("w", sink.Url()));
    sink.SetScript([](const SinkRequest&) {
      SinkAnswer answer;
      answer.delay = absl::Milliseconds(500);
      return answer;
    });
    api.Publish("{}");
    ASSERT_TRUE(WaitForDeliveries(sink, 1));
  }
  EXPECT_EQ(server.Terminate(), 0);

  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  const auto delivered = api.ListDeliveries("w", v1::DELIVERY_STATE_DELIVERED);
  ASSERT_EQ(delivered.size(), 1u);
  EXPECT_EQ(delivered[0].attempt_count(), 1);
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_EQ(Deliveries(sink).size(), 1u);
}

TEST(StopTest, AHangingReceiverIsAbandonedAndDeliveredToAfterTheRestart) {
  HttpSink sink;
  ServerProcess server;
  server.flags = {"--drain-timeout", "300ms"};
  ASSERT_TRUE(server.Start());
  {
    const ApiClient api(server.grpc_address());
    api.Configure(WebhookAt("w", sink.Url()));
    sink.SetScript([](const SinkRequest&) { return Hanging(); });
    api.Publish("{\"n\":1}");
    ASSERT_TRUE(WaitForDeliveries(sink, 1));
  }
  const absl::Time stop = absl::Now();
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_GE(absl::Now() - stop, absl::Milliseconds(300));

  sink.SetScript([](const SinkRequest&) { return Status(200); });
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  const auto delivered = api.WaitForDeliveries("w", v1::DELIVERY_STATE_DELIVERED, 1);
  ASSERT_EQ(delivered.size(), 1u);
  // What was broken off is no attempt: the receiver had no chance to answer.
  EXPECT_EQ(delivered[0].attempt_count(), 1);
  EXPECT_EQ(Deliveries(sink).back().body, BodyOf("{\"n\":1}"));
}

TEST(StopTest, WhileItDrainsItTakesNothingNewAndSaysSo) {
  HttpSink sink;
  ServerProcess server;
  server.flags = {"--drain-timeout", "60s"};
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  api.Configure(WebhookAt("w", sink.Url()));
  sink.SetScript([](const SinkRequest&) { return Hanging(); });
  api.Publish("{}");
  ASSERT_TRUE(WaitForDeliveries(sink, 1));

  server.process().Signal(SIGTERM);
  EXPECT_TRUE(Eventually([&] {
    const auto answer = server.Get("/readyz");
    return answer.has_value() && answer->status == 503;
  }));
  EXPECT_EQ(server.Get("/healthz")->status, 200);
  v1::PublishNotificationRequest request;
  request.mutable_notification()->set_notification_type("T");
  request.mutable_notification()->set_json_payload("{}");
  v1::PublishNotificationResponse response;
  const RpcResult result =
      api.Call(&v1::NotificationService::Stub::PublishNotification, request, &response);
  EXPECT_EQ(result.code, grpc::StatusCode::UNAVAILABLE) << result;
  EXPECT_EQ(result.Get<google::rpc::ErrorInfo>()->reason(), "STOPPING") << result;
  EXPECT_TRUE(result.Get<google::rpc::RetryInfo>().has_value()) << result;
  EXPECT_EQ(api.GetWebhook("w").name(), "w");

  // A second signal breaks off what the first one waits for.
  EXPECT_EQ(server.Terminate(), 0);
}

// ---- Deliveries that fail

TEST(RetryTest, AttemptsGoOnAfterARestartWithTheirBackoff) {
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
  // Attempt n+1 comes no sooner than 0.8 * initial * 2^(n-1) after attempt n, also where n was
  // made by the process that was killed. Requests may be more than attempts, by the one that was
  // under way at the kill.
  const auto time_of = [](const v1::Attempt& attempt) {
    return absl::FromUnixSeconds(attempt.start_time().seconds()) +
           absl::Nanoseconds(attempt.start_time().nanos());
  };
  for (int n = 1; n < found.attempts_size(); ++n) {
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
