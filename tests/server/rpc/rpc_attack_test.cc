#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "src/base/clock.h"
#include "src/server/rpc/caller_connections.h"
#include "src/server/rpc/rpc_server.h"
#include "src/server/rpc/rpc_services.h"
#include "tests/server/rpc/grpc_probe.h"
#include "tests/server/rpc/raw_http2.h"
#include "tests/server/rpc/test_certificates.h"

// What a hostile client does to the server that gRPC 1.51 has no bound for. The services are not
// open: a call that reaches them is answered STARTING.

namespace postrider {
namespace {

constexpr char kMethod[] = "/postrider.v1.NotificationService/PublishNotification";

class RpcAttackTest : public ::testing::TestWithParam<bool> {
 protected:
  RpcAttackTest() {
    config_.listen = "127.0.0.1:0";
    if (!GetParam()) return;
    config_.tls_cert = certificates_.server_cert();
    config_.tls_key = certificates_.server_key();
  }
  ~RpcAttackTest() override {
    if (server_ != nullptr) server_->Shutdown(absl::Seconds(2));
  }

  void Start() {
    auto started = RpcServer::Start(config_, {&services_});
    ASSERT_TRUE(std::holds_alternative<std::unique_ptr<RpcServer>>(started))
        << std::get<Failure>(started).message;
    server_ = std::move(std::get<std::unique_ptr<RpcServer>>(started));
  }

  std::unique_ptr<RawHttp2> Connect(const std::string& protocol = "h2") {
    return std::make_unique<RawHttp2>(server_->address().port,
                                      GetParam() ? certificates_.ca() : "", "127.0.0.1", protocol);
  }

  // An honest caller is answered.
  grpc::Status Call(grpc_compression_algorithm algorithm = GRPC_COMPRESS_NONE) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadWholeFile(certificates_.ca());
    const auto stub = v1::NotificationService::NewStub(grpc::CreateCustomChannel(
        server_->address().ToString(),
        GetParam() ? grpc::SslCredentials(options) : grpc::InsecureChannelCredentials(),
        arguments));
    v1::PublishNotificationRequest request;
    request.mutable_notification()->set_json_payload(std::string(100'000, ' '));
    v1::PublishNotificationResponse response;
    const auto context = NewClientContext();
    context->set_compression_algorithm(algorithm);
    return stub->PublishNotification(context.get(), request, &response);
  }
  void ExpectServing() { EXPECT_EQ(ReasonOf(Call()), "STARTING"); }

  // So many clients, and by us: gRPC ends connections, too, some time later.
  void ExpectCutOff(uint64_t count) {
    EXPECT_EQ(server_->connections().metrics().cut_off.value(), count);
  }

  ServerConfig config_;
  TestCertificates certificates_;
  CallGate gate_{SystemClock(), {1000, 1 << 20, 1 << 20}, nullptr};
  RpcServices services_{gate_};
  std::unique_ptr<RpcServer> server_;
};

INSTANTIATE_TEST_SUITE_P(PlainAndTls, RpcAttackTest, ::testing::Bool(),
                         [](const auto& tested) { return tested.param ? "Tls" : "Plain"; });

// CVE-2023-33953: gRPC would copy all of it with each frame, and wait for more.
TEST_P(RpcAttackTest, AHeaderThatGoesOnAndOnIsCutOff) {
  Start();
  uint64_t cut_off = 0;
  // The second is gRPC's own name for it, which it takes, too.
  for (const char* protocol : {"h2", "grpc-exp"}) {
    SCOPED_TRACE(protocol);
    const auto client = Connect(protocol);
    ASSERT_TRUE(client->Greet());
    client->Send(RawHttp2::Frame(RawHttp2::kHeaders, 0, 1,
                                 RawHttp2::CallHeader(kMethod, "x", std::string(16'000, 'x'))
                                     .substr(0, 16'000)));
    const std::string more =
        RawHttp2::Frame(RawHttp2::kContinuation, 0, 1, std::string(16'000, 'x'));
    for (int i = 0; i < 16 && client->Send(more); ++i) {
    }
    EXPECT_TRUE(client->WaitForEnd());
    ExpectServing();
    ExpectCutOff(++cut_off);
  }
}

// CVE-2023-44487
TEST_P(RpcAttackTest, ACallerWhoBeginsAndGivesUpOverAndOverIsCutOff) {
  Start();
  const auto client = Connect();
  ASSERT_TRUE(client->Greet());
  std::string flood;
  for (uint32_t stream = 1; stream < 1000; stream += 2) {
    flood += RawHttp2::Frame(RawHttp2::kHeaders, RawHttp2::kEndHeaders, stream,
                             RawHttp2::CallHeader(kMethod));
    flood += RawHttp2::Frame(RawHttp2::kResetStream, 0, stream, std::string(4, '\0'));
  }
  // Of what is over already: so many come in one piece, however busy the machine is.
  for (int i = 0; i < 10'000; ++i) {
    flood += RawHttp2::Frame(RawHttp2::kResetStream, 0, 1, std::string(4, '\0'));
  }
  client->Send(flood);
  EXPECT_TRUE(client->WaitForEnd());
  ExpectServing();
  ExpectCutOff(1);
}

TEST_P(RpcAttackTest, ACallerWhoSaysNothingIsCutOff) {
  config_.grpc_handshake_timeout = absl::Milliseconds(100);
  Start();
  // Not even TLS.
  RawHttp2 silent(server_->address().port);
  EXPECT_TRUE(silent.WaitForEnd());
  // TLS, if it is wanted, and no HTTP/2.
  const auto client = Connect();
  EXPECT_TRUE(client->WaitForEnd());
  config_.grpc_handshake_timeout = absl::Seconds(10);
}

TEST_P(RpcAttackTest, WhatIsNotHttp2IsCutOff) {
  Start();
  const auto client = Connect();
  ASSERT_TRUE(client->Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_TRUE(client->WaitForEnd());
  ExpectServing();
  ExpectCutOff(1);
}

// A megabyte of it may be a gigabyte when it is inflated.
TEST_P(RpcAttackTest, CompressedRequestsAreRefusedAndNotInflated) {
  Start();
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    const grpc::Status status = Call(algorithm);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  }
  ExpectServing();
}

TEST_P(RpcAttackTest, WhatEndsIsNotCountedAnyMore) {
  Start();
  ExpectServing();
  const Gauge& open = server_->connections().metrics().open;
  const Counter& accepted = server_->connections().metrics().accepted;
  {
    const auto client = Connect();
    ASSERT_TRUE(client->Greet());
    // The one before may be open still.
    while (accepted.value() < 2) absl::SleepFor(absl::Milliseconds(1));
  }
  while (open.value() > 0) absl::SleepFor(absl::Milliseconds(1));
}

}  // namespace
}  // namespace postrider
