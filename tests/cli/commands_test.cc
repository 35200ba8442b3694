#include "src/cli/commands.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "google/protobuf/util/json_util.h"
#include "google/rpc/status.pb.h"
#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "src/cli/client_exit.h"
#include "tests/cli/program.h"
#include "tests/server/app_harness.h"
#include "tests/server/test_certificates.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int kOk = static_cast<int>(ClientExit::kOk);
constexpr int kRefused = static_cast<int>(ClientExit::kRefused);
constexpr int kUsage = static_cast<int>(ClientExit::kUsage);
constexpr int kNoInput = static_cast<int>(ClientExit::kNoInput);
constexpr int kUnavailable = static_cast<int>(ClientExit::kUnavailable);
constexpr int kInternal = static_cast<int>(ClientExit::kInternal);
constexpr int kTryLater = static_cast<int>(ClientExit::kTryLater);

// The whole of the text is one line of JSON that is such a message.
template <typename Message>
Message FromJsonLine(const std::string& text) {
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  Message message;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  EXPECT_TRUE(status.ok()) << text;
  return message;
}

// The commands against a whole server in this process.
class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() { harness_.Start(); }

  ProgramRun Run(std::vector<std::string> arguments) {
    // Behind a nested command, too, the flags of the connection are taken.
    arguments.insert(arguments.end(), {"--server", harness_.address()});
    return RunProgram(arguments);
  }

  ProgramRun ConfigureHook() { return Run({"configure", "--name", "hook", "--url", sink_.Url()}); }
  // Publishes, and waits until it is delivered. Returns the notification's id.
  std::string PublishAndDeliver() {
    const ProgramRun run = Run({"publish", "--type", "T", "--json-payload", "{}"});
    EXPECT_EQ(run.exit_code, kOk) << run.err;
    std::string id = run.out.substr(0, run.out.find('\n'));
    EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));
    return id;
  }

  HttpSink sink_;
  AppHarness harness_;
};

TEST_F(CommandsTest, ConfigureShowsTheWebhookAndItsSecretOnce) {
  ProgramRun run = Run({"configure",
                        "--name",
                        "hook",
                        "--url",
                        sink_.Url(),
                        "--header",
                        "X-Team: billing",
                        "--sensitive-header",
                        "X-Pass: hunter2",
                        "--type",
                        "A",
                        "--type",
                        "B",
                        "--max-concurrency",
                        "3",
                        "--retry-initial",
                        "250ms",
                        "--retry-multiplier",
                        "2",
                        "--retry-max",
                        "10s",
                        "--retry-age",
                        "1h",
                        "--retry-attempts",
                        "7",
                        "--max-probe-interval",
                        "30s",
                        "--rate",
                        "5",
                        "--burst",
                        "2",
                        "--ordered",
                        "--request-timeout",
                        "3s"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_EQ(run.err, "");
  EXPECT_THAT(
      run.out,
      AllOf(StartsWith("webhook hook of tenant default: enabled, valid\n"),
            HasSubstr("header          X-Team: billing\n"),
            HasSubstr("header          X-Pass: (not shown)\n"), Not(HasSubstr("hunter2")),
            HasSubstr("types           A, B\n"), HasSubstr("timeout         3s\n"),
            HasSubstr("after 250ms, x2, at most 10s, for 1h, 7 attempts, probed every 30s\n"),
            HasSubstr("at once         3\n"), HasSubstr("rate limit      5 per second, burst 2\n"),
            HasSubstr("order           as published\n"),
            HasSubstr("The test request was answered with 200 after ")));
  EXPECT_THAT(run.out, HasSubstr("Signing secret, shown only now: whsec_"));
  ASSERT_EQ(sink_.request_count(), 1u);
  EXPECT_EQ(sink_.requests()[0].Header("x-pass"), "hunter2");

  run = Run({"configure", "--name", "hook", "--url", sink_.Url()});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, Not(HasSubstr("whsec_")));
}

TEST_F(CommandsTest, ConfigureAnswersInJson) {
  const ProgramRun run =
      Run({"configure", "--name", "hook", "--url", sink_.Url(), "--tenant", "acme", "--json"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  const auto response = FromJsonLine<v1::ConfigureWebhookResponse>(run.out);
  EXPECT_EQ(response.webhook().tenant(), "acme");
  EXPECT_TRUE(response.webhook().enabled());
  EXPECT_TRUE(response.validation().valid());
  EXPECT_THAT(response.signing_secret(), StartsWith("whsec_"));
}

TEST_F(CommandsTest, ConfigureShowsWhyTheGateDidNotOpen) {
  sink_.SetScript([](const SinkRequest&) { return SinkAnswer{.status = 500, .body = "broken"}; });
  ProgramRun run = ConfigureHook();
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.out, AllOf(HasSubstr("POST " + sink_.Url()), HasSubstr("HTTP status 500"),
                             HasSubstr("  broken\n"), HasSubstr("Not valid: ")));
  EXPECT_THAT(run.err, StartsWith("postrider: FAILED_PRECONDITION: "));

  run = Run({"configure", "--name", "hook", "--url", sink_.Url(), "--json"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_EQ(FromJsonLine<v1::ConfigureWebhookResponse>(run.out).validation().http_status(), 500);
}

TEST_F(CommandsTest, ADraftIsNotTested) {
  const ProgramRun run = Run({"configure", "--name", "hook", "--url", sink_.Url(), "--draft"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, StartsWith("webhook hook of tenant default: not enabled, unvalidated\n"));
  EXPECT_EQ(sink_.request_count(), 0u);
}

TEST_F(CommandsTest, ConfigureNamesTheFieldsThatAreWrong) {
  const ProgramRun run = Run({"configure", "--name", "Hook!", "--url", "ftp://receiver.example/",
                              "--header", "Host: elsewhere"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_EQ(run.out, "");
  EXPECT_THAT(run.err, AllOf(StartsWith("postrider: INVALID_ARGUMENT: "), HasSubstr("webhook.name"),
                             HasSubstr("webhook.url"), HasSubstr("webhook.headers[0]")));
}

TEST_F(CommandsTest, ConfigureChangesOnlyWhatIsNamed) {
  ASSERT_EQ(Run({"configure", "--name", "hook", "--url", sink_.Url(), "--header", "X-Team: billing",
                 "--header", "X-Env: test", "--sensitive-header", "X-Pass: hunter22", "--type", "A",
                 "--rate", "5", "--burst", "2", "--ordered"})
                .exit_code,
            kOk);
  ProgramRun run = Run({"configure", "--name", "hook", "--header", "X-Team: sales",
                        "--remove-header", "x-env", "--max-concurrency", "2"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, AllOf(StartsWith("webhook hook of tenant default: enabled, valid\n"),
                             HasSubstr("X-Team: sales\n"), Not(HasSubstr("X-Env")),
                             HasSubstr("X-Pass: (not shown)\n"), HasSubstr("types           A\n"),
                             HasSubstr("rate limit      5 per second, burst 2\n"),
                             HasSubstr("at once         2\n"), HasSubstr("as published\n"),
                             Not(HasSubstr("whsec_"))));
  EXPECT_EQ(sink_.requests().back().Header("x-pass"), "hunter22");
  EXPECT_EQ(sink_.requests().back().Header("x-team"), "sales");

  run = Run({"configure", "--name", "hook", "--max-probe-interval", "2m"});
  EXPECT_THAT(run.out, HasSubstr("probed every 2m\n"));
  run = Run({"configure", "--name", "hook", "--all-types", "--no-rate", "--unordered"});
  EXPECT_THAT(run.out, AllOf(HasSubstr("types           all\n"), Not(HasSubstr("rate limit")),
                             Not(HasSubstr("as published"))));
  EXPECT_EQ(Run({"configure", "--name", "hook"}).exit_code, kUsage);
  run = Run({"configure", "--name", "other", "--enable"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.err, HasSubstr("--url"));
  run = Run({"configure", "--name", "hook", "--header", "A: b", "--remove-header", "a"});
  EXPECT_EQ(run.exit_code, kUsage);
}

TEST_F(CommandsTest, ADraftTakesNoLiveWebhookOutOfService) {
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  ProgramRun run = Run({"configure", "--name", "hook", "--url", sink_.Url(), "--draft"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_EQ(run.out, "");
  EXPECT_THAT(run.err, AllOf(HasSubstr("hook"), HasSubstr("--disable")));
  EXPECT_THAT(Run({"webhooks", "get", "hook"}).out, HasSubstr(": enabled, valid\n"));
  run = Run({"configure", "--name", "hook", "--disable"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr(": not enabled, valid\n"));
  run = Run({"configure", "--name", "hook", "--enable"});
  EXPECT_THAT(run.out, HasSubstr(": enabled, valid\n"));
  EXPECT_EQ(Run({"configure", "--name", "hook", "--enable", "--disable"}).exit_code, kUsage);
  EXPECT_EQ(Run({"configure", "--name", "new", "--draft"}).exit_code, kUsage);
}

TEST_F(CommandsTest, ASecretHeaderComesFromAFile) {
  const ScratchDir directory;
  const std::string path = directory.File("key");
  std::ofstream(path) << "hunter22\n";
  ProgramRun run = Run({"configure", "--name", "hook", "--url", sink_.Url(), "--sensitive-header",
                        "X-Pass=@" + path});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_EQ(sink_.requests().back().Header("x-pass"), "hunter22");
  EXPECT_THAT(run.out, HasSubstr("X-Pass: (not shown)\n"));
  std::ofstream(path) << "\n";
  EXPECT_EQ(Run({"configure", "--name", "hook", "--sensitive-header", "X-Pass=@" + path}).exit_code,
            kNoInput);
  EXPECT_EQ(Run({"validate", "--url", sink_.Url(), "--sensitive-header", "X-Pass=@/nowhere"})
                .exit_code,
            kNoInput);
}

TEST_F(CommandsTest, TheSecretFileIsForItsOwnerAndLosesNothing) {
  const ScratchDir directory;
  const std::string path = directory.File("secret");
  const std::vector<std::string> draft = {"configure", "--name",        "hook", "--url",
                                          sink_.Url(), "--secret-file", path,   "--draft"};
  ProgramRun run = Run(draft);
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("Signing secret: added to " + path), Not(HasSubstr("whsec_"))));
  const std::string first = ReadWholeFile(path);
  EXPECT_THAT(first, StartsWith("whsec_"));
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);

  EXPECT_EQ(Run(draft).exit_code, kRefused);
  EXPECT_EQ(ReadWholeFile(path), first) << "run twice, it must not wipe the secret";
  run = Run({"webhooks", "rotate-secret", "hook", "--secret-file", path});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, Not(HasSubstr("whsec_")));
  EXPECT_THAT(ReadWholeFile(path), StartsWith(first + "whsec_"));

  EXPECT_EQ(Run({"configure", "--name", "b", "--url", "ftp://x/", "--secret-file",
                 directory.File("unused")})
                .exit_code,
            kRefused);
  EXPECT_NE(access(directory.File("unused").c_str(), F_OK), 0) << "nothing was written to it";
  EXPECT_EQ(Run({"configure", "--name", "b", "--url", sink_.Url(), "--secret-file", "/nowhere/x"})
                .exit_code,
            static_cast<int>(ClientExit::kIo));
}

TEST_F(CommandsTest, AnEtagGuardsAgainstOthers) {
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  const ProgramRun run =
      Run({"configure", "--name", "hook", "--url", sink_.Url(), "--etag", "0-0"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.err, HasSubstr("etag"));
}

TEST_F(CommandsTest, ValidatePrintsTheRequestAndTheAnswer) {
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  ProgramRun run = Run({"validate", "--name", "hook"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, AllOf(StartsWith("The request that was sent:\n  POST " + sink_.Url()),
                             HasSubstr("webhook-signature: "), HasSubstr("HTTP status 200"),
                             HasSubstr("Valid: the receiver answered 200.\n")));
  sink_.SetScript(
      [](const SinkRequest&) { return SinkAnswer{.status = 404, .body = "\x1b[2Jnothing here"}; });
  run = Run({"validate", "--name", "hook"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.out, AllOf(HasSubstr("HTTP status 404"), HasSubstr("\\x1b[2Jnothing here"),
                             HasSubstr("Not valid: ")));
  run = Run({"validate", "--name", "hook", "--json"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_EQ(FromJsonLine<v1::ValidateWebhookResponse>(run.out).validation().http_status(), 404);
}

TEST_F(CommandsTest, ValidateTestsAnUnstoredWebhook) {
  ProgramRun run = Run({"validate", "--url", sink_.Url("/other"), "--header", "X-Team: billing",
                        "--request-timeout", "5s"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  ASSERT_EQ(sink_.request_count(), 1u);
  EXPECT_EQ(sink_.requests()[0].target, "/other");
  EXPECT_EQ(sink_.requests()[0].Header("X-Team"), "billing");
  run = Run({"validate", "--name", "hook"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.err, StartsWith("postrider: NOT_FOUND: "));
}

TEST_F(CommandsTest, ValidateTakesANameOrAUrl) {
  EXPECT_EQ(Run({"validate"}).exit_code, kUsage);
  EXPECT_EQ(Run({"validate", "--name", "hook", "--url", sink_.Url()}).exit_code, kUsage);
  const ProgramRun run = Run({"validate", "--name", "hook", "--header", "X-A: b"});
  EXPECT_EQ(run.exit_code, kUsage);
  EXPECT_THAT(run.err, HasSubstr("--url"));
  EXPECT_EQ(sink_.request_count(), 0u);
}

TEST_F(CommandsTest, WebhooksAreListedAndShown) {
  ASSERT_EQ(ConfigureHook().exit_code, kOk);
  ASSERT_EQ(Run({"configure", "--name", "a-draft", "--url", sink_.Url(), "--draft"}).exit_code,
            kOk);
  for (const std::vector<std::string>& list :
       {std::vector<std::string>{"webhooks"}, std::vector<std::string>{"webhooks", "list"}}) {
    const ProgramRun run = Run(list);
    EXPECT_EQ(run.exit_code, kOk) << run.err;
    const std::vector<std::string> lines = absl::StrSplit(run.out, '\n', absl::SkipEmpty());
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_THAT(lines[0], StartsWith("NAME "));
    EXPECT_THAT(lines[1], AllOf(StartsWith("a-draft "), HasSubstr("not enabled")));
    EXPECT_THAT(lines[2], AllOf(StartsWith("hook "), HasSubstr(" valid "), HasSubstr(sink_.Url())));
  }
  ProgramRun run = Run({"webhooks", "get", "hook"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, StartsWith("webhook hook of tenant default: enabled, valid\n"));
  run = Run({"webhooks", "get", "hook", "--json"});
  EXPECT_EQ(FromJsonLine<v1::GetWebhookResponse>(run.out).webhook().url(), sink_.Url());
  run = Run({"webhooks", "get", "nonsense"});
  EXPECT_EQ(run.exit_code, kRefused);
  EXPECT_THAT(run.err, HasSubstr("NOT_FOUND"));
}

TEST_F(CommandsTest, ASecretThatNobodySawIsRotated) {
  const std::string first = ConfigureHook().out;
  ProgramRun run = Run({"webhooks", "rotate-secret", "hook", "--overlap", "0s"});
  EXPECT_EQ(run.exit_code, kOk) << run.err;
  EXPECT_THAT(run.out, StartsWith("Signing secret, shown only now: whsec_"));
  EXPECT_THAT(first, Not(HasSubstr(run.out)));
  run = Run({"webhooks", "rotate-secret", "hook", "--json"});
  EXPECT_THAT(FromJsonLine<v1::RotateSigningSecretResponse>(run.out).signing_secret(),
              StartsWith("whsec_"));
  EXPECT_EQ(Run({"webhooks", "rotate-secret"}).exit_code, kUsage);
  EXPECT_EQ(Run({"webhooks", "rotate-secret", "nonsense"}).exit_code, kRefused);
}

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
