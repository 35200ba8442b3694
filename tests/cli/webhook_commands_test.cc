#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "src/base/random.h"
#include "tests/cli/commands_fixture.h"
#include "tests/server/rpc/test_certificates.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

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

}  // namespace
}  // namespace postrider
