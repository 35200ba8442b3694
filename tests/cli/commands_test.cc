#include "src/cli/commands.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>
#include <utility>

#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "src/base/random.h"
#include "tests/cli/commands_fixture.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CommandFlagsTest, WrongFlagsAreUsageErrors) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"nonsense"},
      {"publish", "--nonsense"},
      {"publish", "--json-payload", "{}", "--model-id", "x"},
      {"publish", "--json-payload", "{}", "--timeout", "10"},
      {"publish", "--json-payload", "{}", "--server", "nowhere"},
      {"publish", "--json-payload", "{}", "--server", "10.0.0.1:1"},
      {"configure", "--name", "hook"},
      {"configure", "--url", "http://x/"},
      {"configure", "--name", "a", "--url", "http://x/", "--header", "no colon"},
      {"configure", "--name", "a", "--url", "http://x/", "--retry-initial", "5"},
      {"configure", "--name", "a", "--url", "http://x/", "--burst", "2"},
      {"deliveries", "--state", "lost"},
      {"deliveries", "--since", "yesterday"},
      {"deliveries", "--limit", "0"},
      {"deliveries", "get"},
      {"deliveries", "get", "a", "b"},
      {"validate", "stray"},
      {"listen", "--listen", "8080"},
      {"listen", "--secret", "nonsense"},
      {"listen", "--status", "99"},
      {"listen", "--count", "-1"},
      {"listen", "--delay", "1"},
  };
  for (const std::vector<std::string>& arguments : wrong) {
    const ProgramRun run = RunProgram(arguments);
    std::string shown;
    for (const std::string& argument : arguments) shown += argument + " ";
    EXPECT_EQ(run.exit_code, kUsage) << shown;
    EXPECT_NE(run.err, "") << shown;
    EXPECT_EQ(run.out, "") << shown;
  }
}

TEST(CommandFlagsTest, AHeaderThatIsWrongIsNotRepeated) {
  const ProgramRun run = RunProgram(
      {"configure", "--name", "a", "--url", "http://x/", "--sensitive-header", "hunter2"});
  EXPECT_EQ(run.exit_code, kUsage);
  EXPECT_THAT(run.err, Not(HasSubstr("hunter2")));
}

TEST(CommandFlagsTest, HelpListsTheExitCodes) {
  for (const char* command :
       {"publish", "configure", "validate", "webhooks", "deliveries", "listen"}) {
    const ProgramRun run = RunProgram({command, "--help"});
    EXPECT_EQ(run.exit_code, kOk);
    EXPECT_THAT(run.out, AllOf(HasSubstr("Exit codes:"), HasSubstr("75")));
  }
}

TEST(CommandFlagsTest, HelpOfDeliveriesListsTheStates) {
  EXPECT_THAT(RunProgram({"deliveries", "--help"}).out,
              HasSubstr("pending, delivered, dead or cancelled"));
}

TEST(CommandFlagsTest, AServerThatIsNotThereIsUnavailable) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"publish", "--type", "T", "--json-payload", "{}"},
                                             {"configure", "--name", "a", "--url", "http://x/"},
                                             {"validate", "--name", "a"},
                                             {"deliveries"},
                                             {"deliveries", "get", "a"},
                                             {"deliveries", "retry", "a"}}) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--server", "127.0.0.1:1"});
    const ProgramRun run = RunProgram(arguments);
    EXPECT_EQ(run.exit_code, kUnavailable) << command[0];
    EXPECT_THAT(run.err, HasSubstr("127.0.0.1:1")) << command[0];
  }
}

TEST(CommandFlagsTest, AFileOfTheConnectionThatCannotBeReadIsNoInput) {
  const ProgramRun run = RunProgram({"deliveries", "--tls-ca", "/nowhere/ca.pem"});
  EXPECT_EQ(run.exit_code, kNoInput);
  EXPECT_THAT(run.err, HasSubstr("/nowhere/ca.pem"));
}

TEST(CommandFlagsTest, TheConnectionIsTakenFromTheEnvironmentToo) {
  setenv("POSTRIDER_SERVER", "127.0.0.1:2", 1);
  const ProgramRun from_environment = RunProgram({"deliveries"});
  const ProgramRun from_flag = RunProgram({"deliveries", "--server", "127.0.0.1:1"});
  unsetenv("POSTRIDER_SERVER");
  EXPECT_THAT(from_environment.err, HasSubstr("127.0.0.1:2"));
  EXPECT_THAT(from_flag.err, HasSubstr("127.0.0.1:1"));
}

// Answers with what the test wants.
class FakeServices : public v1::NotificationService::Service, public v1::DeliveryService::Service {
 public:
  grpc::Status PublishNotification(grpc::ServerContext*, const v1::PublishNotificationRequest*,
                                   v1::PublishNotificationResponse*) override {
    return status;
  }

  // Endless pages of three.
  grpc::Status ListDeliveries(grpc::ServerContext*, const v1::ListDeliveriesRequest* request,
                              v1::ListDeliveriesResponse* response) override {
    const int start = request->page_token().empty() ? 0 : std::stoi(request->page_token());
    const int count = std::min(3, request->page_size());
    for (int i = 0; i < count; ++i) {
      response->add_deliveries()->set_delivery_id("d" + std::to_string(start + i));
    }
    response->set_next_page_token(std::to_string(start + count));
    return grpc::Status::OK;
  }

  grpc::Status status;
};

class FakeServerTest : public ::testing::Test {
 protected:
  FakeServerTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<v1::NotificationService::Service*>(&services_));
    builder.RegisterService(static_cast<v1::DeliveryService::Service*>(&services_));
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~FakeServerTest() override { server_->Shutdown(); }

  FakeServices services_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(FakeServerTest, EachKindOfErrorHasItsExitCode) {
  const std::pair<grpc::StatusCode, int> kinds[] = {
      {grpc::StatusCode::OK, kOk},
      {grpc::StatusCode::INVALID_ARGUMENT, kRefused},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, kTryLater},
      {grpc::StatusCode::UNAVAILABLE, kUnavailable},
      {grpc::StatusCode::UNKNOWN, kInternal},
      {grpc::StatusCode::INTERNAL, kInternal}};
  for (const auto& [code, exit_code] : kinds) {
    services_.status =
        code == grpc::StatusCode::OK ? grpc::Status() : grpc::Status(code, "for this reason");
    const ProgramRun run =
        RunProgram({"publish", "--type", "T", "--json-payload", "{}", "--server", address_});
    EXPECT_EQ(run.exit_code, exit_code) << code;
    if (code != grpc::StatusCode::OK) {
      EXPECT_THAT(run.err, HasSubstr("for this reason"));
    }
  }
}

TEST_F(FakeServerTest, TheListGoesOverPagesUpToItsLimit) {
  const ProgramRun run = RunProgram({"deliveries", "--limit", "7", "--json", "--server", address_});
  EXPECT_EQ(run.exit_code, kOk);
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 7);
  EXPECT_THAT(run.out, AllOf(HasSubstr("\"d0\""), HasSubstr("\"d6\""), Not(HasSubstr("\"d7\""))));
  EXPECT_THAT(run.err, HasSubstr("there are more: --limit 7 was reached"));
}

}  // namespace
}  // namespace postrider
