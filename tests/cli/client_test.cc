#include "src/cli/client.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "google/rpc/error_details.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "src/base/clock.h"
#include "src/server/rpc/rpc_server.h"
#include "src/server/rpc/rpc_services.h"
#include "tests/server/rpc/test_certificates.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Codes of google.rpc.
constexpr int kDeadlineExceeded = 4;
constexpr int kUnavailable = 14;

std::string RefusalOf(const ClientOptions& options, ClientExit expected) {
  auto client = Client::Create(options);
  const auto* refusal = std::get_if<Client::Refusal>(&client);
  if (refusal == nullptr) return "not refused";
  EXPECT_EQ(refusal->exit, expected);
  return refusal->sentence;
}

google::rpc::Status Publish(const ClientOptions& options) {
  auto client = Client::Create(options);
  if (const auto* refusal = std::get_if<Client::Refusal>(&client)) {
    ADD_FAILURE() << refusal->sentence;
    return {};
  }
  v1::PublishNotificationResponse response;
  return std::get<std::unique_ptr<Client>>(client)->Publish({}, &response);
}

TEST(ClientTest, PlaintextIsForLoopbackOnly) {
  ClientOptions options;
  for (const char* server : {"10.0.0.1:7411", "postrider.example:7411", "127.example.com:7411",
                             "[::]:7411", "0.0.0.0:7411"}) {
    options.server = server;
    options.insecure = false;
    EXPECT_THAT(RefusalOf(options, ClientExit::kUsage),
                AllOf(HasSubstr(server), HasSubstr("--tls"), HasSubstr("--insecure")));
    options.insecure = true;
    EXPECT_EQ(RefusalOf(options, ClientExit::kUsage), "not refused");
  }
  options.insecure = false;
  for (const char* server : {"127.0.0.1:7411", "[::1]:7411", "localhost:7411"}) {
    options.server = server;
    EXPECT_EQ(RefusalOf(options, ClientExit::kUsage), "not refused");
  }
  options.server = "10.0.0.1:7411";
  options.tls = true;
  EXPECT_EQ(RefusalOf(options, ClientExit::kUsage), "not refused");
}

TEST(ClientTest, OptionsThatContradictAreRefused) {
  ClientOptions options;
  options.server = "localhost";
  EXPECT_THAT(RefusalOf(options, ClientExit::kUsage), HasSubstr("HOST:PORT"));
  options = {};
  options.client_cert = "/cert";
  EXPECT_THAT(RefusalOf(options, ClientExit::kUsage), HasSubstr("--client-key"));
  options = {};
  options.tls = true;
  options.insecure = true;
  EXPECT_THAT(RefusalOf(options, ClientExit::kUsage), HasSubstr("--insecure"));
}

TEST(ClientTest, AFileThatCannotBeReadIsNamed) {
  ClientOptions options;
  options.tls_ca = "/nowhere/ca.pem";
  EXPECT_THAT(RefusalOf(options, ClientExit::kNoInput), HasSubstr("/nowhere/ca.pem"));
}

TEST(ClientTest, AServerThatIsNotThereIsSaid) {
  ClientOptions options;
  // Port 1 of loopback: nobody listens there.
  options.server = "127.0.0.1:1";
  const google::rpc::Status status = Publish(options);
  EXPECT_EQ(status.code(), kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("no Postrider server was reached at 127.0.0.1:1"));
}

// A server whose services are not open: what reaches them is answered STARTING.
class ClientServerTest : public ::testing::Test {
 protected:
  ClientServerTest() { config_.listen = "127.0.0.1:0"; }
  ~ClientServerTest() override {
    if (server_ != nullptr) server_->Shutdown(absl::Seconds(2));
  }

  void Start() {
    auto started = RpcServer::Start(config_, {&services_});
    if (auto* failure = std::get_if<Failure>(&started)) FAIL() << failure->message;
    server_ = std::move(std::get<std::unique_ptr<RpcServer>>(started));
    options_.server = server_->address().ToString();
  }

  void UseTls() {
    config_.tls_cert = certificates_.server_cert();
    config_.tls_key = certificates_.server_key();
  }

  ServerConfig config_;
  TestCertificates certificates_;
  CallGate gate_{SystemClock(), {1000, 1 << 20, 1 << 20}, nullptr};
  RpcServices services_{gate_};
  std::unique_ptr<RpcServer> server_;
  ClientOptions options_;
};

TEST_F(ClientServerTest, WhatTheServerSaysComesWithItsDetails) {
  Start();
  const google::rpc::Status status = Publish(options_);
  EXPECT_EQ(status.code(), kUnavailable);
  EXPECT_EQ(status.message(), "the server is starting: try again in a moment");
  google::rpc::RetryInfo retry;
  bool found = false;
  for (const auto& detail : status.details()) found = found || detail.UnpackTo(&retry);
  EXPECT_TRUE(found);
}

TEST_F(ClientServerTest, SpeaksTlsWithTheAuthorityItIsGiven) {
  UseTls();
  Start();
  options_.tls_ca = certificates_.ca();
  EXPECT_THAT(Publish(options_).message(), HasSubstr("starting"));
  options_.tls_ca = certificates_.other_ca();
  EXPECT_THAT(Publish(options_).message(), HasSubstr("no Postrider server was reached"));
  // The system's authorities have not signed it.
  options_.tls_ca = "";
  options_.tls = true;
  EXPECT_THAT(Publish(options_).message(), HasSubstr("no Postrider server was reached"));
}

TEST_F(ClientServerTest, ATlsServerThatIsCalledWithoutTlsIsSaid) {
  UseTls();
  Start();
  const google::rpc::Status status = Publish(options_);
  EXPECT_EQ(status.code(), kUnavailable);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("speaks TLS, and was called without"), HasSubstr("--tls-ca"),
                    Not(HasSubstr("no Postrider server"))));
}

TEST_F(ClientServerTest, APlainServerThatIsCalledWithTlsIsSaid) {
  Start();
  options_.tls_ca = certificates_.ca();
  const google::rpc::Status status = Publish(options_);
  EXPECT_EQ(status.code(), kUnavailable);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("does not speak TLS: leave out the TLS flags"),
                                      Not(HasSubstr("no Postrider server"))));
}

TEST_F(ClientServerTest, ShowsItsCertificate) {
  UseTls();
  config_.tls_client_ca = certificates_.ca();
  Start();
  options_.tls_ca = certificates_.ca();
  EXPECT_THAT(Publish(options_).message(), Not(HasSubstr("starting")));
  options_.client_cert = certificates_.client_cert();
  options_.client_key = certificates_.client_key();
  EXPECT_THAT(Publish(options_).message(), HasSubstr("starting"));
}

// Keeps its callers waiting until it stops.
class SilentService final : public v1::NotificationService::CallbackService {
 public:
  grpc::ServerUnaryReactor* PublishNotification(grpc::CallbackServerContext* context,
                                                const v1::PublishNotificationRequest*,
                                                v1::PublishNotificationResponse*) override {
    class Reactor final : public grpc::ServerUnaryReactor {
     public:
      void OnCancel() override { Finish(grpc::Status::CANCELLED); }
      void OnDone() override { delete this; }
    };
    static_cast<void>(context);
    return new Reactor;
  }
};

TEST(ClientTest, AServerThatDoesNotAnswerInTimeIsSaid) {
  SilentService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ClientOptions options;
  options.server = "127.0.0.1:" + std::to_string(port);
  options.timeout = absl::Milliseconds(100);
  const google::rpc::Status status = Publish(options);
  EXPECT_EQ(status.code(), kDeadlineExceeded);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(options.server), HasSubstr("in time")));
  server->Shutdown();
}

}  // namespace
}  // namespace postrider
