#include "src/server/rpc/rpc_server.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "src/base/clock.h"
#include "src/server/rpc/rpc_services.h"
#include "tests/server/rpc/grpc_probe.h"
#include "tests/server/rpc/test_certificates.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A server whose services were never opened: a call that reaches them is answered STARTING.
class RpcServerTest : public ::testing::Test {
 protected:
  RpcServerTest() { config_.listen = "127.0.0.1:0"; }
  ~RpcServerTest() override {
    if (server_ != nullptr) server_->Shutdown(absl::Seconds(2));
  }

  // A message that is empty when the server runs.
  Failure Start() {
    auto started = RpcServer::Start(config_, {&services_});
    if (auto* failure = std::get_if<Failure>(&started)) return std::move(*failure);
    server_ = std::move(std::get<std::unique_ptr<RpcServer>>(started));
    return {ExitCode::kOk, ""};
  }

  void UseTls() {
    config_.tls_cert = certificates_.server_cert();
    config_.tls_key = certificates_.server_key();
  }

  std::shared_ptr<grpc::Channel> Channel(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server_->address().ToString(), credentials, arguments);
  }

  // The reason that the services give, or the error of a call that did not get so far.
  std::string Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    return Call(Channel(credentials));
  }
  static std::string Call(const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = v1::WebhookService::NewStub(channel);
    v1::GetWebhookResponse response;
    const grpc::Status status = stub->GetWebhook(NewClientContext().get(), {}, &response);
    const std::string reason = ReasonOf(status);
    return reason.empty() ? "not reached: " + status.error_message() : reason;
  }

  static std::shared_ptr<grpc::ChannelCredentials> Tls(const std::string& ca,
                                                       const std::string& cert = "",
                                                       const std::string& key = "") {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadWholeFile(ca);
    if (!cert.empty()) {
      options.pem_cert_chain = ReadWholeFile(cert);
      options.pem_private_key = ReadWholeFile(key);
    }
    return grpc::SslCredentials(options);
  }

  ServerConfig config_;
  TestCertificates certificates_;
  CallGate gate_{SystemClock(), {1000, 1 << 20, 1 << 20}, nullptr};
  RpcServices services_{gate_};
  std::unique_ptr<RpcServer> server_;
};

TEST_F(RpcServerTest, PicksAPortAndAnswers) {
  ASSERT_EQ(Start().message, "");
  EXPECT_EQ(server_->address().host, "127.0.0.1");
  EXPECT_GT(server_->address().port, 0);
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()), "STARTING");
}

TEST_F(RpcServerTest, HealthIsWhatItIsTold) {
  ASSERT_EQ(Start().message, "");
  const auto channel = Channel(grpc::InsecureChannelCredentials());
  const auto check = [&channel](const std::string& expected) {
    for (const char* service :
         {"", "postrider.v1.WebhookService", "postrider.v1.NotificationService",
          "postrider.v1.DeliveryService"}) {
      EXPECT_EQ(HealthOf(channel, service), expected) << service;
    }
  };
  check("NOT_SERVING");
  server_->SetServing(true);
  check("SERVING");
  server_->SetServing(false);
  check("NOT_SERVING");
  EXPECT_THAT(HealthOf(channel, "postrider.v1.Other"), Not(HasSubstr("SERVING")));
}

TEST_F(RpcServerTest, ReflectionListsTheServices) {
  ASSERT_EQ(Start().message, "");
  EXPECT_THAT(
      ReflectedServices(Channel(grpc::InsecureChannelCredentials())),
      AllOf(HasSubstr("postrider.v1.WebhookService"), HasSubstr("postrider.v1.NotificationService"),
            HasSubstr("postrider.v1.DeliveryService"), HasSubstr("grpc.health.v1.Health")));
}

// Newer clients ask for nothing else.
TEST_F(RpcServerTest, ReflectionOfVersionOneDescribesTheServices) {
  ASSERT_EQ(Start().message, "");
  const auto stub = grpc::reflection::v1::ServerReflection::NewStub(
      Channel(grpc::InsecureChannelCredentials()));
  const auto context = NewClientContext();
  const auto stream = stub->ServerReflectionInfo(context.get());
  const auto ask = [&stream](const grpc::reflection::v1::ServerReflectionRequest& request) {
    grpc::reflection::v1::ServerReflectionResponse response;
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    return response;
  };
  grpc::reflection::v1::ServerReflectionRequest request;
  request.set_list_services("");
  std::set<std::string> names;
  const auto listed = ask(request);
  for (const auto& service : listed.list_services_response().service()) {
    names.insert(service.name());
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"postrider.v1.WebhookService",
                                              "postrider.v1.NotificationService",
                                              "postrider.v1.DeliveryService"}));
  // All that is listed, with all that it imports: a pool can be made of it.
  // v1alpha's is gRPC's own.
  for (const std::string& name : names) {
    request.set_file_containing_symbol(name);
    const auto files = ask(request).file_descriptor_response();
    ASSERT_GT(files.file_descriptor_proto_size(), 0) << name;
    google::protobuf::SimpleDescriptorDatabase database;
    for (const std::string& bytes : files.file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(bytes));
      ASSERT_TRUE(database.Add(file));
    }
    google::protobuf::DescriptorPool pool(&database);
    EXPECT_NE(pool.FindServiceByName(name), nullptr) << name;
  }
  request.set_file_containing_symbol("postrider.v1.Nothing");
  EXPECT_EQ(ask(request).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_file_by_filename("postrider/v1/webhook_service.proto");
  EXPECT_GT(ask(request).file_descriptor_response().file_descriptor_proto_size(), 0);
  request.clear_message_request();
  EXPECT_EQ(ask(request).error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RpcServerTest, SpeaksTls) {
  UseTls();
  ASSERT_EQ(Start().message, "");
  EXPECT_EQ(Call(Tls(certificates_.ca())), "STARTING");
  EXPECT_THAT(Call(Tls(certificates_.other_ca())), HasSubstr("not reached"));
  EXPECT_THAT(Call(grpc::InsecureChannelCredentials()), HasSubstr("not reached"));
}

TEST_F(RpcServerTest, AsksForACertificateOfTheAuthority) {
  UseTls();
  config_.tls_client_ca = certificates_.ca();
  ASSERT_EQ(Start().message, "");
  EXPECT_EQ(Call(Tls(certificates_.ca(), certificates_.client_cert(), certificates_.client_key())),
            "STARTING");
  EXPECT_THAT(Call(Tls(certificates_.ca())), HasSubstr("not reached"));
  EXPECT_THAT(Call(Tls(certificates_.ca(), certificates_.other_cert(), certificates_.other_key())),
              HasSubstr("not reached"));
}

// As an operator renews it, in place.
void Overwrite(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

TEST_F(RpcServerTest, RenewedCertificatesAreUsedAfterAReloadAndOpenConnectionsStay) {
  UseTls();
  config_.tls_client_ca = certificates_.ca();
  ASSERT_EQ(Start().message, "");
  const auto old_client =
      Tls(certificates_.ca(), certificates_.client_cert(), certificates_.client_key());
  const std::shared_ptr<grpc::Channel> open = Channel(old_client);
  EXPECT_EQ(Call(open), "STARTING");

  const TestCertificates renewed;
  const auto new_client = Tls(renewed.ca(), renewed.client_cert(), renewed.client_key());
  Overwrite(config_.tls_cert, ReadWholeFile(renewed.server_cert()));
  Overwrite(config_.tls_key, ReadWholeFile(renewed.server_key()));
  Overwrite(config_.tls_client_ca, ReadWholeFile(renewed.ca()));
  EXPECT_THAT(Call(new_client), HasSubstr("not reached"));
  ASSERT_TRUE(server_->ReloadCertificates().ok());
  EXPECT_EQ(Call(new_client), "STARTING");
  EXPECT_THAT(Call(old_client), HasSubstr("not reached"));
  EXPECT_EQ(Call(open), "STARTING");
}

TEST_F(RpcServerTest, AReloadOfFilesThatDoNotFitChangesNothing) {
  UseTls();
  ASSERT_EQ(Start().message, "");
  const auto client = Tls(certificates_.ca());
  const TestCertificates renewed;
  // The key is to come.
  Overwrite(config_.tls_cert, ReadWholeFile(renewed.server_cert()));
  const absl::Status status = server_->ReloadCertificates();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("--tls-cert"), HasSubstr("belong together")));
  EXPECT_EQ(Call(client), "STARTING");
  Overwrite(config_.tls_key, ReadWholeFile(renewed.server_key()));
  EXPECT_TRUE(server_->ReloadCertificates().ok());
  EXPECT_EQ(Call(Tls(renewed.ca())), "STARTING");
}

TEST_F(RpcServerTest, AFileThatCannotBeReadIsNamedWithItsFlag) {
  UseTls();
  config_.tls_key = "/nowhere/server.key";
  const Failure failure = Start();
  EXPECT_EQ(failure.code, ExitCode::kConfig);
  EXPECT_THAT(failure.message, AllOf(HasSubstr("--tls-key"), HasSubstr("/nowhere/server.key")));
}

TEST_F(RpcServerTest, FilesThatAreNoPemAreRefused) {
  UseTls();
  config_.tls_key = certificates_.File("garbage", "garbage\n");
  const Failure failure = Start();
  EXPECT_EQ(failure.code, ExitCode::kConfig);
  EXPECT_THAT(failure.message, AllOf(HasSubstr("--tls-key"), HasSubstr(config_.tls_key)));
}

TEST_F(RpcServerTest, AKeyOfAnotherCertificateIsRefused) {
  UseTls();
  config_.tls_key = certificates_.client_key();
  const Failure failure = Start();
  EXPECT_EQ(failure.code, ExitCode::kConfig);
  EXPECT_THAT(failure.message, AllOf(HasSubstr("--tls-cert"), HasSubstr("belong together")));
}

TEST_F(RpcServerTest, AnAuthorityThatIsNoPemIsNamed) {
  UseTls();
  config_.tls_client_ca = certificates_.File("garbage", "garbage\n");
  const Failure failure = Start();
  EXPECT_EQ(failure.code, ExitCode::kConfig);
  EXPECT_THAT(failure.message, AllOf(HasSubstr("--tls-client-ca"), HasSubstr("garbage")));
}

TEST_F(RpcServerTest, APortThatIsTakenIsSaid) {
  ASSERT_EQ(Start().message, "");
  config_.listen = server_->address().ToString();
  CallGate gate(SystemClock(), {1, 1, 1}, nullptr);
  RpcServices others(gate);
  auto second = RpcServer::Start(config_, {&others});
  ASSERT_TRUE(std::holds_alternative<Failure>(second));
  const Failure& failure = std::get<Failure>(second);
  EXPECT_EQ(failure.code, ExitCode::kUnavailable);
  EXPECT_THAT(failure.message,
              AllOf(HasSubstr("--listen " + config_.listen), HasSubstr("Address already in use")));
}

TEST_F(RpcServerTest, AnAddressThatIsNotOursIsSaid) {
  config_.listen = "192.0.2.1:0";
  const Failure failure = Start();
  EXPECT_EQ(failure.code, ExitCode::kUnavailable);
  EXPECT_THAT(failure.message, HasSubstr("Cannot assign requested address"));
}

TEST_F(RpcServerTest, ShutdownEndsAWatchAndDoesNotWaitForItsClient) {
  ASSERT_EQ(Start().message, "");
  const auto stub = grpc::health::v1::Health::NewStub(Channel(grpc::InsecureChannelCredentials()));
  const auto context = NewClientContext();
  const auto reader = stub->Watch(context.get(), {});
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  server_->Shutdown(absl::Seconds(10));
  EXPECT_FALSE(reader->Read(&response));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  // A call that is cancelled when the time is over does not say that.
  EXPECT_THAT(status.error_message(), HasSubstr("the server is stopping"));
}

TEST_F(RpcServerTest, ShutdownIsIdempotentAndEndsAnswering) {
  ASSERT_EQ(Start().message, "");
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()), "STARTING");
  server_->Shutdown(absl::Seconds(2));
  server_->Shutdown(absl::Seconds(2));
  // The queues are gone, so nothing may be handed to them.
  server_->SetServing(true);
  EXPECT_THAT(Call(grpc::InsecureChannelCredentials()), HasSubstr("not reached"));
}

}  // namespace
}  // namespace postrider
