#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/receivers.h"
#include "tests/e2e/server_process.h"
#include "tests/server/rpc/raw_http2.h"
#include "tests/support/http_sink.h"

// A server with few file descriptors, which receivers or callers use up.

namespace postrider {
namespace {

constexpr int kLimit = 256;

class DescriptorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.flags = {"--pump-threads", "1"};
    server_.before_exec = [] {
      const rlimit few{kLimit, kLimit};
      setrlimit(RLIMIT_NOFILE, &few);
    };
    ASSERT_TRUE(server_.Start());
  }

  int port() const {
    const std::vector<std::string> parts = absl::StrSplit(server_.grpc_address(), ':');
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(parts.back(), &port));
    return port;
  }
  // A caller that was never there gets in.
  CommandResult PublishAnew() const {
    return RunCommand({"publish", "--server", server_.grpc_address(), "--type", "OTHER",
                       "--json-payload", "{}"});
  }
  bool IsReady() const {
    const std::optional<HttpAnswer> answer = server_.Get("/readyz");
    return answer.has_value() && answer->status == 200;
  }
  // Of a metric without labels, or with these.
  double Metric(const std::string& name) const {
    const std::optional<HttpAnswer> page = server_.Get("/metrics");
    double value = -1;
    for (const absl::string_view line :
         absl::StrSplit(page.has_value() ? page->body : std::string(), '\n')) {
      if (absl::StartsWith(line, name + " ")) {
        EXPECT_TRUE(absl::SimpleAtod(line.substr(name.size() + 1), &value));
      }
    }
    return value;
  }

  // Callers that speak HTTP/2 and then say nothing, from one address.
  std::vector<std::unique_ptr<RawHttp2>> IdleCallers(int count, const char* from) const {
    std::vector<std::unique_ptr<RawHttp2>> callers;
    for (int i = 0; i < count; ++i) {
      callers.push_back(std::make_unique<RawHttp2>(port(), "", from));
      callers.back()->Greet();
    }
    return callers;
  }

  ServerProcess server_;
};

TEST_F(DescriptorsTest, ReceiversThatHangDoNotKeepCallersOut) {
  HttpSink hanging;
  hanging.SetScript(
      [](const SinkRequest& request) { return IsTest(request) ? Status(200) : Hanging(); });
  HttpSink healthy;
  const ApiClient api(server_.grpc_address());
  v1::Webhook webhook = WebhookAt("hanging", hanging.Url());
  webhook.set_max_concurrency(1024);
  webhook.mutable_timeout()->set_seconds(300);
  webhook.add_notification_types("HANG");
  api.Configure(webhook);
  v1::Webhook other = WebhookAt("healthy", healthy.Url());
  other.add_notification_types("OTHER");
  for (int i = 0; i < 2 * kLimit; ++i) api.Publish("{}", "HANG");
  // As many as the pump may have, and some that it could not begin with.
  ASSERT_TRUE(
      Eventually([&] { return Metric("postrider_attempts_postponed_total{pump=\"0\"}") > 0; }));
  EXPECT_GE(Deliveries(hanging).size(), 20u);

  EXPECT_TRUE(IsReady());
  const CommandResult published = PublishAnew();
  EXPECT_EQ(published.exit_code, 0) << published.err;
  EXPECT_LT(Metric("process_open_fds"), kLimit - 16);

  // Nobody is blamed for it, and it goes on when there is room.
  hanging.SetScript([](const SinkRequest&) { return Status(200); });
  EXPECT_EQ(server_.Terminate(), 0);
  ASSERT_TRUE(server_.Start());
  ApiClient(server_.grpc_address())
      .WaitForDeliveries("hanging", v1::DELIVERY_STATE_DELIVERED, 2 * kLimit);
}

TEST_F(DescriptorsTest, IdleCallersOfOneAddressDoNotKeepOthersOut) {
  const auto idle = IdleCallers(kLimit, "127.0.0.2");
  EXPECT_TRUE(IsReady());
  const CommandResult published = PublishAnew();
  EXPECT_EQ(published.exit_code, 0) << published.err;
  EXPECT_GT(Metric("postrider_grpc_connections_refused_total{bound=\"peer\"}"), 0);
}

TEST_F(DescriptorsTest, WhenNoNewCallerGetsInItIsNotReadyAndThenItIsAgain) {
  HttpSink sink;
  const ApiClient known(server_.grpc_address());
  known.Configure(WebhookAt("w", sink.Url()));
  {
    auto idle = IdleCallers(kLimit / 2, "127.0.0.2");
    for (auto& caller : IdleCallers(kLimit / 2, "127.0.0.3")) idle.push_back(std::move(caller));
    ASSERT_TRUE(Eventually([&] { return !IsReady(); }));
    EXPECT_NE(PublishAnew().exit_code, 0);
    // Who is in, and what is owed, goes on.
    known.Publish("{}");
    EXPECT_TRUE(WaitForDeliveries(sink, 1));
  }
  EXPECT_TRUE(Eventually([&] { return IsReady(); }));
  const CommandResult published = PublishAnew();
  EXPECT_EQ(published.exit_code, 0) << published.err;
  EXPECT_EQ(server_.Terminate(), 0);
}

// CVE-2023-4785: the limit is lowered under the server, so that accept itself fails.
TEST_F(DescriptorsTest, AcceptThatFailedOnceIsTriedAgain) {
  rlimit before{};
  const rlimit none{0, kLimit};
  ASSERT_EQ(prlimit(server_.process().pid(), RLIMIT_NOFILE, &none, &before), 0);
  RawHttp2 waits(port());
  EXPECT_TRUE(waits.connected());
  EXPECT_TRUE(server_.process().WaitForErr("no connection can be accepted"));
  ASSERT_EQ(prlimit(server_.process().pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  const CommandResult published = PublishAnew();
  EXPECT_EQ(published.exit_code, 0) << published.err;
  EXPECT_TRUE(Eventually([&] { return IsReady(); }));
}

// What gRPC has no bound for ends in the real binary, too, whose linker could have bound it
// otherwise than the tests'.
TEST_F(DescriptorsTest, AHostileClientIsCutOffByTheRealBinary) {
  RawHttp2 client(port());
  ASSERT_TRUE(client.Greet());
  client.Send(RawHttp2::Frame(RawHttp2::kHeaders, 0, 1, std::string(16'000, 'x')));
  for (int i = 0; i < 16; ++i) {
    client.Send(RawHttp2::Frame(RawHttp2::kContinuation, 0, 1, std::string(16'000, 'x')));
  }
  EXPECT_TRUE(client.WaitForEnd());
  EXPECT_TRUE(server_.process().WaitForErr("a header without an end"));
}

}  // namespace
}  // namespace postrider
