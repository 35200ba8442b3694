#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "src/message/json.h"
#include "src/message/signing.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_sink.h"

// The client subcommands of the real binary against the real server.

namespace postrider {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The payload example of the product's webhook page, as it is printed there.
constexpr char kProductPage[] = R"({
"header": {
"model_name": "test",
"model_id": 28740,
"notification_type": "RUN_COMPLETED"
},
"payload": {
"run": {
"started_at": "2024-01-25T14:04:10.157236"
},
"performance_alerts": {
"cbpe": [
{
"metric_name": "specificity"
}
]
},
"other_alerts": {
"univariate_drift": [
{
"metric_name": "country"
}
]
},
"success": [
"unseen_values",
"missing_values"
],
"report_link": "https://test.app.nannyml.com/model/1"
}
})";

// The same as a postrider.v1.RunCompleted in JSON.
constexpr char kRunCompleted[] = R"({
  "run": {"started_at": "2024-01-25T14:04:10.157236Z"},
  "performance_alerts": [{"method": "cbpe", "alerts": [{"metric_name": "specificity"}]}],
  "other_alerts": [{"method": "univariate_drift", "alerts": [{"metric_name": "country"}]}],
  "success": ["unseen_values", "missing_values"],
  "report_link": "https://test.app.nannyml.com/model/1"
})";

// The page's JSON without the white space between its tokens; none of its strings holds any.
std::string Compact(const std::string& json) {
  std::string compact;
  for (const char c : json) {
    if (c != ' ' && c != '\n') compact += c;
  }
  return compact;
}

// The page's payload, white space and all.
std::string PagePayload() {
  const std::string page = kProductPage;
  const std::string mark = "\"payload\": ";
  const size_t begin = page.find(mark) + mark.size();
  return page.substr(begin, page.rfind('\n') - begin);
}

// Of the line that begins with it, what follows.
std::string After(const std::string& text, const std::string& prefix) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, prefix)) return std::string(line.substr(prefix.size()));
  }
  ADD_FAILURE() << "no line begins with " << prefix << " in:\n" << text;
  return "";
}

class CliTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.Start()); }

  // Runs a subcommand against the server.
  CommandResult Run(std::vector<std::string> args, const std::string& input = "") const {
    args.insert(args.end(), {"--server", server_.grpc_address()});
    return RunCommand(args, input);
  }

  // The same, and it must succeed. Returns standard output.
  std::string Do(const std::vector<std::string>& args, const std::string& input = "") const {
    const CommandResult result = Run(args, input);
    EXPECT_EQ(result.exit_code, 0) << testing::PrintToString(args) << "\n" << result.err;
    return result.out;
  }

  // A webhook of that name at the sink. Returns its secret.
  std::string Configure(const std::string& name) const {
    return After(Do({"configure", "--name", name, "--url", sink_.Url()}),
                 "Signing secret, shown only now: ");
  }

  // Waits for the nth delivery (from 1) and returns it. The tests of configurations do not count.
  SinkRequest Delivery(size_t n) const {
    std::vector<SinkRequest> deliveries;
    EXPECT_TRUE(Eventually([&] {
      deliveries.clear();
      for (const SinkRequest& request : sink_.requests()) {
        if (!absl::StartsWith(request.Header("webhook-id").value_or(""), "test_")) {
          deliveries.push_back(request);
        }
      }
      return deliveries.size() >= n;
    }));
    return deliveries.size() >= n ? deliveries[n - 1] : SinkRequest();
  }

  HttpSink sink_;
  ServerProcess server_;
};

// ---- The product page

TEST_F(CliTest, ThePagesNotificationArrivesAsThePageHasItWhenItIsTyped) {
  Configure("w");
  const std::string id =
      absl::StrCat(absl::StripAsciiWhitespace(Do({"publish", "--model-name", "test", "--model-id",
                                                  "28740", "--run-completed", kRunCompleted})));
  const SinkRequest request = Delivery(1);
  EXPECT_EQ(request.body, Compact(kProductPage));
  EXPECT_EQ(request.Header("webhook-id"), id);
  EXPECT_EQ(request.Header("content-type"), "application/json");
}

TEST_F(CliTest, ThePagesNotificationArrivesAsThePageHasItWhenItIsJson) {
  Configure("w");
  Do({"publish", "--type", "RUN_COMPLETED", "--model-name", "test", "--model-id", "28740",
      "--json-payload", PagePayload()});
  // The payload's own white space is kept.
  EXPECT_EQ(Delivery(1).body,
            absl::StrCat(R"({"header":{"model_name":"test","model_id":28740,)",
                         R"("notification_type":"RUN_COMPLETED"},"payload":)", PagePayload(), "}"));
  EXPECT_EQ(Compact(Delivery(1).body), Compact(kProductPage));
}

TEST_F(CliTest, AFailedRunIsPublishedLikeAnyOther) {
  Configure("w");
  Do({"publish", "--run-completed",
      R"({"run": {"status": "RUN_STATUS_FAILED", "error": "out of \"memory\""}})"});
  EXPECT_EQ(Delivery(1).body,
            R"({"header":{"model_name":"","model_id":0,"notification_type":"RUN_COMPLETED"},)"
            R"("payload":{"run":{"status":"FAILED","error":"out of \"memory\""},)"
            R"("performance_alerts":{},"other_alerts":{},"success":[],"report_link":""}})");
}

TEST_F(CliTest, JsonIsPassedOnByteForByte) {
  Configure("w");
  const std::string payloads[] = {
      R"({"big":9007199254740993,"huge":1e400,"tiny":-0.0e-400,"z":1,"a":2})",
      R"({ "spaced" : [ 1 , 2 ],"again":1,"again":2,"text":"\u00e4\n\/é" })",
      "{\"long\":123456789012345678901234567890.1234567890123456789}",
  };
  size_t n = 0;
  for (const std::string& payload : payloads) {
    Do({"publish", "--type", "TEST", "--model-name", "test", "--model-id", "28740",
        "--json-payload", payload});
    EXPECT_EQ(Delivery(++n).body, BodyOf(payload));
  }
  for (const auto& [payload, offset] :
       {std::pair("[1]", "0"), std::pair("{\"a\": nope}", "6"), std::pair("{} {}", "3")}) {
    const CommandResult refused = Run({"publish", "--type", "T", "--json-payload", payload});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, AllOf(HasSubstr("INVALID_ARGUMENT"),
                                   HasSubstr(absl::StrCat("at byte ", offset, ","))));
  }
}

// ---- publish

TEST_F(CliTest, PublishTakesItsPayloadFromArgumentFileAndStandardInput) {
  Configure("w");
  const std::vector<std::string> common = {"publish", "--type",     "TEST",  "--model-name",
                                           "test",    "--model-id", "28740", "--json-payload"};
  const auto with = [&common](const std::string& payload) {
    std::vector<std::string> args = common;
    args.push_back(payload);
    return args;
  };
  Do(with("{\"from\":\"argument\"}"));
  EXPECT_EQ(Delivery(1).body, BodyOf("{\"from\":\"argument\"}"));

  const ScratchDir dir;
  std::ofstream(dir.File("payload.json")) << "{\"from\":\"file\"}";
  Do(with("@" + dir.File("payload.json")));
  EXPECT_EQ(Delivery(2).body, BodyOf("{\"from\":\"file\"}"));

  Do(with("-"), "{\"from\":\"standard input\"}");
  EXPECT_EQ(Delivery(3).body, BodyOf("{\"from\":\"standard input\"}"));

  const CommandResult missing = Run(with("@" + dir.File("missing.json")));
  EXPECT_EQ(missing.exit_code, 66);
  EXPECT_THAT(missing.err, HasSubstr(dir.File("missing.json")));
}

TEST_F(CliTest, PublishWithAKeyThatIsKnownPrintsTheFirstId) {
  Configure("w");
  const std::vector<std::string> args = {
      "publish", "--type", "T", "--json-payload", "{\"n\":1}", "--idempotency-key", "k"};
  const std::string first = Do(args);
  EXPECT_EQ(server_.Terminate(), 0);
  ASSERT_TRUE(server_.Start());
  EXPECT_EQ(Do(args), first);
  std::vector<std::string> other = args;
  other[4] = "{\"n\":2}";
  const CommandResult refused = Run(other);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("ALREADY_EXISTS"));
}

TEST_F(CliTest, WithoutAServerItSaysSo) {
  const std::string address = server_.grpc_address();
  EXPECT_EQ(server_.Terminate(), 0);
  const CommandResult result = RunCommand(
      {"publish", "--type", "T", "--json-payload", "{}", "--server", address, "--timeout", "20s"});
  EXPECT_EQ(result.exit_code, 69);
  EXPECT_THAT(result.err, AllOf(HasSubstr("UNAVAILABLE"), HasSubstr(address)));
}

// ---- configure and validate

TEST_F(CliTest, ConfigureStoresWhatItIsGivenAndMasksWhatIsSensitive) {
  const std::string out =
      Do({"configure", "--name", "w", "--url", sink_.Url(), "--header", "X-Team: ours", "--header",
          "Authorization: Bearer abcdefgh", "--sensitive-header", "X-Other: hidden", "--type",
          "RUN_COMPLETED", "--max-concurrency", "3", "--ordered"});
  EXPECT_THAT(out, AllOf(HasSubstr("ours"), HasSubstr("Signing secret, shown only now: whsec_"),
                         Not(HasSubstr("abcdefgh")), Not(HasSubstr("hidden"))));
  const SinkRequest test = sink_.requests().at(0);
  EXPECT_EQ(test.Header("x-team"), "ours");
  EXPECT_EQ(test.Header("authorization"), "Bearer abcdefgh");
  EXPECT_EQ(test.Header("x-other"), "hidden");

  const v1::Webhook webhook = ApiClient(server_.grpc_address()).GetWebhook("w");
  EXPECT_TRUE(webhook.enabled());
  EXPECT_EQ(webhook.validation_state(), v1::VALIDATION_STATE_VALID);
  EXPECT_EQ(webhook.max_concurrency(), 3);
  EXPECT_EQ(webhook.delivery_order(), v1::DELIVERY_ORDER_ORDERED);
  ASSERT_EQ(webhook.headers_size(), 3);
  EXPECT_EQ(webhook.headers(0).value(), "ours");
  EXPECT_EQ(webhook.headers(1).value(), "");
  EXPECT_EQ(webhook.headers(2).value(), "");
}

TEST_F(CliTest, ConfigureRefusesAReceiverThatDoesNotAnswerWith200AndShowsTheRequest) {
  sink_.SetScript([](const SinkRequest&) {
    SinkAnswer answer;
    answer.status = 503;
    answer.body = "closed on Sundays";
    return answer;
  });
  const CommandResult result = Run({"configure", "--name", "w", "--url", sink_.Url()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, AllOf(HasSubstr("The request that was sent:"),
                                HasSubstr("HTTP status 503"), HasSubstr("closed on Sundays")));
  EXPECT_THAT(result.err, HasSubstr("FAILED_PRECONDITION"));

  EXPECT_THAT(Do({"configure", "--name", "w", "--url", sink_.Url(), "--draft"}),
              HasSubstr("Signing secret"));
}

TEST_F(CliTest, ValidatePrintsTheRequestThatWasSentAndTheAnswer) {
  sink_.SetScript([](const SinkRequest&) {
    SinkAnswer answer;
    answer.headers = {{"X-Receiver", "mine"}};
    answer.body = "welcome";
    return answer;
  });
  const std::string out = Do({"validate", "--url", sink_.Url("/hook?x=1"), "--header",
                              "X-Team: ours", "--header", "X-Api-Key: abcdefgh"});
  const SinkRequest request = sink_.requests().at(0);
  EXPECT_THAT(out, HasSubstr(absl::StrCat("  POST ", sink_.Url("/hook?x=1"), "\n")));
  // Just what came over the wire, but for what is sensitive.
  for (const auto& [name, value] : request.headers) {
    EXPECT_THAT(
        out, HasSubstr(absl::StrCat("  ", name, ": ", name == "X-Api-Key" ? "***" : value, "\n")));
  }
  EXPECT_EQ(request.Header("x-api-key"), "abcdefgh");
  EXPECT_THAT(out, Not(HasSubstr("abcdefgh")));
  EXPECT_THAT(out, HasSubstr("\"notification_type\": \"WEBHOOK_VALIDATION\""));
  EXPECT_THAT(out, AllOf(HasSubstr("HTTP status 200"), HasSubstr("X-Receiver: mine"),
                         HasSubstr("welcome"), HasSubstr("Valid: the receiver answered 200.")));

  sink_.SetScript([](const SinkRequest&) {
    SinkAnswer answer;
    answer.status = 404;
    return answer;
  });
  Do({"configure", "--name", "w", "--url", sink_.Url(), "--draft"});
  const CommandResult invalid = Run({"validate", "--name", "w"});
  EXPECT_EQ(invalid.exit_code, 1);
  EXPECT_THAT(invalid.out, AllOf(HasSubstr("HTTP status 404"), HasSubstr("Not valid: "),
                                 HasSubstr("check the URL")));
}

// ---- deliveries

TEST_F(CliTest, DeliveriesAreListedShownAndRetried) {
  Do({"configure", "--name", "w", "--url", sink_.Url(), "--retry-initial", "10ms",
      "--retry-attempts", "2"});
  sink_.SetScript([](const SinkRequest&) {
    SinkAnswer answer;
    answer.status = 500;
    answer.body = "broken\x1b[2J";
    return answer;
  });
  const std::string notification(
      absl::StripAsciiWhitespace(Do({"publish", "--type", "T", "--json-payload", "{}"})));
  const ApiClient api(server_.grpc_address());
  const auto dead = api.WaitForDeliveries("w", v1::DELIVERY_STATE_DEAD, 1);
  ASSERT_EQ(dead.size(), 1u);
  const std::string id = dead[0].delivery_id();

  EXPECT_THAT(Do({"deliveries"}), AllOf(HasSubstr(id), HasSubstr("dead")));
  EXPECT_THAT(Do({"deliveries", "--state", "delivered"}), IsEmpty());
  EXPECT_THAT(Do({"deliveries", "--webhook", "w", "--notification", notification, "--state", "dead",
                  "--since", "1h"}),
              HasSubstr(id));
  const std::string json = Do({"deliveries", "--json"});
  EXPECT_TRUE(CheckJsonObject(json).ok()) << json;
  EXPECT_THAT(json, HasSubstr(absl::StrCat("\"delivery_id\":\"", id, "\"")));

  const std::string shown = Do({"deliveries", "get", id});
  EXPECT_THAT(shown, AllOf(HasSubstr("delivery " + id + ": dead"), HasSubstr(notification),
                           HasSubstr("attempt 1"), HasSubstr("attempt 2"), HasSubstr("HTTP 500"),
                           HasSubstr("broken"), Not(HasSubstr("\x1b"))));

  sink_.SetScript({});
  EXPECT_THAT(Do({"deliveries", "retry", id}), HasSubstr("delivery " + id + ": pending"));
  api.WaitForDeliveries("w", v1::DELIVERY_STATE_DELIVERED, 1);
  EXPECT_THAT(Do({"deliveries", "get", id}),
              AllOf(HasSubstr(": delivered"), HasSubstr("attempt 3")));
  const CommandResult again = Run({"deliveries", "retry", id});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, HasSubstr("FAILED_PRECONDITION"));
}

// ---- listen

class Listener {
 public:
  explicit Listener(std::vector<std::string> args) {
    Process::Options options;
    options.args = {"listen", "--listen", "127.0.0.1:0"};
    options.args.insert(options.args.end(), args.begin(), args.end());
    process_ = std::make_unique<Process>(options);
    const auto line = process_->WaitForLine("listening ");
    EXPECT_TRUE(line.has_value()) << process_->err();
    url_ = line.value_or("listening ").substr(10);
  }

  const std::string& url() const { return url_; }
  Process& process() { return *process_; }

 private:
  std::unique_ptr<Process> process_;
  std::string url_;
};

TEST_F(CliTest, ListenPrintsAndVerifiesWhatItGets) {
  const ScratchDir dir;
  const std::string secret_file = dir.File("secret");
  Listener listener({"--secret-file", secret_file});
  const std::string secret =
      After(Do({"configure", "--name", "w", "--url", listener.url() + "/hook"}),
            "Signing secret, shown only now: ");
  EXPECT_TRUE(listener.process().WaitForOut("--- signature not checked: no secret is known"));

  std::ofstream(secret_file) << secret << "\n";
  Do({"publish", "--type", "T", "--json-payload", "{\"a\": [1, 2]}"});
  EXPECT_TRUE(listener.process().WaitForOut("--- signature valid; answered 200\n"))
      << listener.process().out();
  EXPECT_THAT(listener.process().out(), HasSubstr("POST /hook\n"));
  EXPECT_THAT(listener.process().out(), HasSubstr("\"notification_type\": \"T\""));

  std::ofstream(secret_file) << FormatSecret(std::string(32, 'k')) << "\n";
  Do({"publish", "--type", "T", "--json-payload", "{}"});
  EXPECT_TRUE(listener.process().WaitForOut("--- signature invalid"));

  listener.process().Signal(SIGTERM);
  EXPECT_EQ(listener.process().WaitForEnd(), std::optional<int>(0));
}

TEST_F(CliTest, ListenFailsFirstAndEndsAfterItsCount) {
  Listener listener({"--fail-first", "1", "--count", "2", "--json"});
  Do({"configure", "--name", "w", "--url", listener.url(), "--draft"});
  const CommandResult first = Run({"validate", "--name", "w"});
  EXPECT_EQ(first.exit_code, 1);
  Do({"validate", "--name", "w"});
  EXPECT_EQ(listener.process().WaitForEnd(), std::optional<int>(0));
  const std::vector<std::string> lines =
      absl::StrSplit(listener.process().out(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  for (size_t i = 1; i < lines.size(); ++i) {
    EXPECT_TRUE(CheckJsonObject(lines[i]).ok()) << lines[i];
    EXPECT_THAT(lines[i], HasSubstr(absl::StrCat("\"status\":", i == 1 ? 500 : 200)));
  }
}

TEST(UsageTest, WhatIsMistypedGetsASuggestion) {
  const std::pair<std::vector<std::string>, const char*> mistyped[] = {
      {{"delivries"}, "did you mean deliveries?"},
      {{"publish", "--jsn-payload", "{}"}, "did you mean --json-payload?"},
      {{"configure", "--nmae", "a", "--url", "http://x/"}, "did you mean --name?"},
      {{"webhooks", "rotate-secrt", "a"}, "did you mean rotate-secret?"},
      {{"serve", "--data-dri=x"}, "did you mean --data-dir?"}};
  for (const auto& [arguments, suggestion] : mistyped) {
    const CommandResult result = RunCommand(arguments);
    EXPECT_EQ(result.exit_code, 64) << suggestion;
    EXPECT_THAT(result.err, HasSubstr(suggestion));
  }
  EXPECT_THAT(RunCommand({"frobnicate"}).err, Not(HasSubstr("did you mean")));
}

TEST(UsageTest, WhatIsNotKnownIsAUsageError) {
  EXPECT_EQ(RunCommand({}).exit_code, 64);
  EXPECT_EQ(RunCommand({"no-such-command"}).exit_code, 64);
  EXPECT_EQ(RunCommand({"publish", "--no-such-flag"}).exit_code, 64);
  const CommandResult help = RunCommand({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command :
       {"serve", "listen", "configure", "validate", "webhooks", "publish", "deliveries"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
    EXPECT_EQ(RunCommand({command, "--help"}).exit_code, 0) << command;
  }
}

}  // namespace
}  // namespace postrider
