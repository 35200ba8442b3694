#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "src/base/random.h"
#include "tests/cli/commands_fixture.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST_F(CommandsTest, PublishPrintsTheId) {
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  const ProgramRun run = Run({"publish", "--type", "RUN_X", "--model-name", "churn", "--model-id",
                              "9007199254740993", "--json-payload", R"({"n":1e400})"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 1);
  EXPECT_TRUE(
      harness_.WaitForState(run.out.substr(0, run.out.size() - 1), v1::DELIVERY_STATE_DELIVERED));
  EXPECT_THAT(sink_.requests().back().body,
              AllOf(HasSubstr("churn"), HasSubstr("9007199254740993"), HasSubstr("1e400")));
}

TEST_F(CommandsTest, PublishReadsFiles) {
  const ScratchDir directory;
  const std::string path = directory.File("run.json");
  std::ofstream(path) << R"({"run":{"status":"RUN_STATUS_FAILED","error":"boom"}})";
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  ProgramRun run = Run({"publish", "--model-name", "m", "--run-completed", "@" + path, "--json"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  const auto response = FromJsonLine<v1::PublishNotificationResponse>(run.out);
  EXPECT_EQ(response.delivery_count(), 1);
  EXPECT_TRUE(harness_.WaitForState(response.notification_id(), v1::DELIVERY_STATE_DELIVERED));
  EXPECT_THAT(sink_.requests().back().body, AllOf(HasSubstr("RUN_COMPLETED"), HasSubstr("boom")));

  run = Run({"publish", "--type", "T", "--json-payload", "@/nowhere/payload.json"});
  EXPECT_EQ(run.exit_code, kNoInput);
  EXPECT_THAT(run.err, HasSubstr("/nowhere/payload.json"));
}

TEST_F(CommandsTest, PublishSaysWhenItIsARepetitionOrNobodyListens) {
  const std::vector<std::string> publish = {
      "publish", "--type", "T", "--json-payload", "{}", "--idempotency-key", "k"};
  const ProgramRun first = Run(publish);
  EXPECT_EQ(first.exit_code, kOk);
  EXPECT_THAT(first.err, HasSubstr("no enabled webhook wants this type"));
  const ProgramRun second = Run(publish);
  EXPECT_EQ(second.exit_code, kOk);
  EXPECT_EQ(second.out, first.out);
  EXPECT_THAT(second.err, HasSubstr("that key was published before"));

  const ProgramRun other =
      Run({"publish", "--type", "T", "--json-payload", "{\"a\":1}", "--idempotency-key", "k"});
  EXPECT_EQ(other.exit_code, kRefused);
  EXPECT_THAT(other.err, StartsWith("postrider: ALREADY_EXISTS: "));
}

TEST_F(CommandsTest, PublishRefusesWhatIsNoPayload) {
  EXPECT_EQ(Run({"publish", "--type", "T"}).exit_code, kUsage);
  EXPECT_EQ(
      Run({"publish", "--type", "T", "--json-payload", "{}", "--run-completed", "{}"}).exit_code,
      kUsage);
  ProgramRun run = Run({"publish", "--run-completed", "{\"nonsense\":1}"});
  EXPECT_EQ(run.exit_code, kUsage);
  EXPECT_THAT(run.err, AllOf(HasSubstr("--run-completed"), HasSubstr("nonsense")));
  run = Run({"publish", "--type", "T", "--json-payload", "[1]"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.err, HasSubstr("json_payload"));
}

TEST_F(CommandsTest, DeliveriesAreListedNewestFirst) {
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  const std::string first = PublishAndDeliver();
  const std::string second = PublishAndDeliver();
  ProgramRun run = Run({"deliveries"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_EQ(run.err, "");
  const std::vector<std::string> lines = absl::StrSplit(run.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], AllOf(StartsWith("ID "), HasSubstr("STATE"), HasSubstr("LAST")));
  EXPECT_THAT(lines[1],
              AllOf(StartsWith(harness_.DeliveriesOf(second).at(0).delivery_id() + " "),
                    HasSubstr(" delivered "), HasSubstr(" hook "), HasSubstr("HTTP 200")));
  EXPECT_THAT(lines[2], StartsWith(harness_.DeliveriesOf(first).at(0).delivery_id() + " "));

  run = Run({"deliveries", "--json", "--notification", first});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_EQ(FromJsonLine<v1::Delivery>(run.out).notification_id(), first);
}

TEST_F(CommandsTest, DeliveriesAreFiltered) {
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  PublishAndDeliver();
  const auto lines = [this](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"deliveries", "--json"});
    const ProgramRun run = Run(arguments);
    EXPECT_EQ(run.exit_code, kOk) << run.err;
    return std::count(run.out.begin(), run.out.end(), '\n');
  };
  EXPECT_EQ(lines({"--state", "delivered", "--webhook", "hook", "--since", "1h"}), 1);
  EXPECT_EQ(lines({"--state", "dead"}), 0);
  EXPECT_EQ(lines({"--webhook", "hook", "--until", "1h"}), 0);
  EXPECT_EQ(lines({"--since", "2100-01-01T00:00:00Z"}), 0);
  EXPECT_EQ(lines({"--tenant", "default"}), 1);
}

TEST_F(CommandsTest, OneDeliveryIsShownWithItsAttempts) {
  ASSERT_EQ(Run({"configure", "--name", "hook", "--url", sink_.Url(), "--retry-attempts", "2",
                 "--retry-initial", "1ms"})
                .exit_code,
            kOk);
  sink_.SetScript(
      [](const SinkRequest&) { return SinkAnswer{.status = 503, .body = "come \x1b back"}; });
  ProgramRun run = Run({"publish", "--type", "T", "--json-payload", "{}"});
  ASSERT_EQ(run.exit_code, kOk) << run.err;
  const std::string notification = run.out.substr(0, run.out.size() - 1);
  ASSERT_TRUE(harness_.WaitForState(notification, v1::DELIVERY_STATE_DEAD));
  const std::string id = harness_.DeliveriesOf(notification).at(0).delivery_id();

  run = Run({"deliveries", "get", id});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(
      run.out,
      AllOf(StartsWith("delivery " + id + ": dead\n"), HasSubstr("  webhook        hook\n"),
            HasSubstr("  notification   " + notification + "\n"), HasSubstr("  attempts       2\n"),
            HasSubstr("  attempt 1  "), HasSubstr("  attempt 2  "), HasSubstr("HTTP 503\n"),
            HasSubstr("    | come \\x1b back\n")));
  run = Run({"deliveries", "get", id, "--json"});
  EXPECT_EQ(FromJsonLine<v1::GetDeliveryResponse>(run.out).attempts_size(), 2);

  sink_.SetScript({});
  run = Run({"deliveries", "retry", id});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, StartsWith("delivery " + id + ": pending\n"));
  EXPECT_TRUE(harness_.WaitForState(notification, v1::DELIVERY_STATE_DELIVERED));
  run = Run({"deliveries", "retry", id});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.err, StartsWith("postrider: FAILED_PRECONDITION: "));
}

TEST_F(CommandsTest, AnUnknownDeliveryIsNotFound) {
  const ProgramRun run = Run({"deliveries", "get", "nonsense"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.err, HasSubstr("NOT_FOUND"));
  EXPECT_EQ(run.out, "");
}

TEST_F(CommandsTest, FiltersAreForTheListOnly) {
  const ProgramRun run = Run({"deliveries", "--state", "dead", "get", "x"});
  EXPECT_EQ(run.exit_code, kUsage);
  EXPECT_THAT(run.err, HasSubstr("--state"));
}

}  // namespace
}  // namespace postrider
