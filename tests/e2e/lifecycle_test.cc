#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <list>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "src/base/failure.h"
#include "src/message/json.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/receivers.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_client.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::HasSubstr;

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

TEST(StartTest, TheLogSaysWhereEachSettingCameFrom) {
  ServerProcess server;
  server.flags = {"--drain-timeout", "7s"};
  server.environment = {"POSTRIDER_RETENTION=30d", "POSTRIDER_PORT=tcp://10.0.0.1:7411"};
  ASSERT_TRUE(server.Start());
  EXPECT_EQ(server.Terminate(), 0);
  const std::string err = server.process().err();
  EXPECT_THAT(err, HasSubstr("msg=setting flag=drain-timeout value=7s from=flag"));
  EXPECT_THAT(err, HasSubstr("msg=setting flag=retention value=30d from=POSTRIDER_RETENTION"));
  EXPECT_THAT(err, HasSubstr("max-outbox-bytes=16GiB"));
  EXPECT_THAT(err, HasSubstr("variables=POSTRIDER_PORT"));
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
  // It is told once a second.
  EXPECT_TRUE(Eventually([&] {
    return testing::Value(
        server.Get("/metrics")->body,
        testing::AllOf(HasSubstr("\npostrider_owed_deliveries{state=\"enabled\"} 0\n"),
                       HasSubstr("\npostrider_owed_deliveries{state=\"disabled\"} 0\n"),
                       HasSubstr("\npostrider_oldest_due_seconds 0\n")));
  }));
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

TEST(AdminTest, SlowAndIdleClientsKeepNobodyFromTheHealthPageNorFromAStop) {
  // A thousand here, and a thousand there.
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const int port = server.http_port();
  std::list<RawConnection> clients;
  for (int i = 0; i < 1000; ++i) clients.emplace_back(port);
  for (int i = 0; i < 20; ++i) {
    // A request that never ends, and answers that nobody reads.
    clients.emplace_back(port).Send("GET /metrics HTTP/1.1\r\nX: " + std::string(1000, 'x'));
    std::string many;
    for (int j = 0; j < 500; ++j) many += "GET /metrics HTTP/1.1\r\n\r\n";
    clients.emplace_back(port).Send(many);
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(server.Get("/healthz")->status, 200);
    EXPECT_EQ(server.Get("/readyz")->status, 200);
  }
  EXPECT_EQ(server.Terminate(), 0);
}

TEST(AdminTest, AnEndlessHeaderTakesNoMemory) {
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  RawConnection client(server.http_port());
  client.Send("GET /healthz HTTP/1.1\r\n");
  const std::string lines(1 << 20, 'x');
  bool taken = true;
  for (int i = 0; i < 64 && taken; ++i) taken = client.Send("X: y\r\n" + lines + "\r\n");
  EXPECT_FALSE(taken);
  EXPECT_EQ(server.Get("/healthz")->status, 200);
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

  // A second signal breaks off what the first one waits for, unless it comes at once.
  EXPECT_TRUE(Eventually([&] {
    server.process().Signal(SIGTERM);
    return server.process().ended();
  }));
  EXPECT_EQ(server.process().WaitForEnd(), 0);
}

TEST(StopTest, TwoSignalsWithinASecondAreOne) {
  HttpSink sink;
  ServerProcess server;
  server.flags = {"--drain-timeout", "60s"};
  ASSERT_TRUE(server.Start());
  {
    const ApiClient api(server.grpc_address());
    api.Configure(WebhookAt("w", sink.Url()));
    sink.SetScript([](const SinkRequest&) {
      SinkAnswer answer;
      answer.delay = absl::Milliseconds(1500);
      return answer;
    });
    api.Publish("{}");
    ASSERT_TRUE(WaitForDeliveries(sink, 1));
  }
  // Two that the kernel keeps apart.
  server.process().Signal(SIGINT);
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_THAT(server.process().err(), testing::Not(HasSubstr("second signal")));
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  EXPECT_EQ(api.ListDeliveries("w", v1::DELIVERY_STATE_DELIVERED).size(), 1u);
}

TEST(ReloadTest, SighupReadsCertificatesAndNameServersAgainAndEndsNothing) {
  HttpSink sink;
  ServerProcess server;
  ASSERT_TRUE(server.Start());
  const ApiClient api(server.grpc_address());
  api.Configure(WebhookAt("w", sink.Url()));
  server.process().Signal(SIGHUP);
  ASSERT_TRUE(server.process().WaitForErr("reloaded: certificates"));
  EXPECT_TRUE(Eventually([&] {
    return testing::Value(server.Get("/metrics")->body,
                          testing::ContainsRegex("postrider_dns_reloads_total[^\n]* [1-9]"));
  }));
  api.Publish("{}");
  EXPECT_TRUE(WaitForDeliveries(sink, 1));
  EXPECT_EQ(server.Terminate(), 0);
}

}  // namespace
}  // namespace postrider
