#include "src/cli/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "postrider/v1/delivery_service.pb.h"

namespace postrider {
namespace {

google::protobuf::Duration DurationOf(absl::Duration from) {
  google::protobuf::Duration duration;
  SetDuration(from, &duration);
  return duration;
}

google::rpc::Status StatusOf(int code, const std::string& message) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(message);
  return status;
}

TEST(TextOutputTest, ControlCharactersAreMadePrintable) {
  EXPECT_EQ(Printable("plain \xC3\xA9\xE2\x82\xAC\n\ttext"), "plain \xC3\xA9\xE2\x82\xAC\n\ttext");
  EXPECT_EQ(Printable("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(Printable("a\rb\x7f"), "a\\x0db\\x7f");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a\\x00b");
  // The C1 controls, of which U+009B is what ESC [ is.
  EXPECT_EQ(Printable("\xC2\x9B"
                      "2J\xC2\xA0"),
            "\\xc2\\x9b2J\xC2\xA0");
  EXPECT_EQ(Printable("\x9B"
                      "2J\xC3"),
            "\\x9b2J\\xc3");
}

TEST(TextOutputTest, JsonStringsAreAlwaysJson) {
  EXPECT_EQ(JsonString("a\"b\\c/\xE2\x82\xAC"), "\"a\\\"b\\\\c/\xE2\x82\xAC\"");
  EXPECT_EQ(JsonString(std::string("\n\x1b\0\x7f", 4)), "\"\\u000a\\u001b\\u0000\\u007f\"");
  // Cut short, overlong, a surrogate, beyond Unicode.
  EXPECT_EQ(JsonString("\xE2\x82"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_EQ(JsonString("\xC0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_EQ(JsonString("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_EQ(JsonString("\xF4\x90\x80\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST(TextOutputTest, PrettyJsonKeepsKeysAndNumbers) {
  EXPECT_EQ(PrettyJson(R"({"b":1e400,"a":[9007199254740993,{"x":"}, \" ]"}],"c":{},"d":[ ]})"),
            R"({
  "b": 1e400,
  "a": [
    9007199254740993,
    {
      "x": "}, \" ]"
    }
  ],
  "c": {},
  "d": []
})");
  EXPECT_EQ(PrettyJson(" { } "), "{}");
}

TEST(TextOutputTest, WhatIsNoJsonObjectComesBackUnchanged) {
  for (const char* text : {"", "hello", "[1]", "{\"a\":", "<html>"}) {
    EXPECT_EQ(PrettyJson(text), text);
  }
}

TEST(TextOutputTest, IndentsEveryLine) {
  EXPECT_EQ(Indent("a\n\nb", "  "), "  a\n  \n  b\n");
  EXPECT_EQ(Indent("a\n", "| "), "| a\n");
  EXPECT_EQ(Indent("", "| "), "");
}

TEST(TextOutputTest, MessagesAreOneLineOfJson) {
  v1::Delivery delivery;
  delivery.set_delivery_id("d");
  delivery.set_state(v1::DELIVERY_STATE_PENDING);
  const std::string json = MessageJson(delivery);
  EXPECT_THAT(json, ::testing::StartsWith(R"({"delivery_id":"d","tenant":"",)"));
  EXPECT_THAT(json, ::testing::HasSubstr(R"("state":"DELIVERY_STATE_PENDING","attempt_count":0)"));
  EXPECT_EQ(json.find('\n'), json.size() - 1);
}

TEST(OutputTest, Phrases) {
  google::protobuf::Timestamp time;
  SetTime(absl::FromUnixMillis(1769349850250), &time);
  EXPECT_EQ(TimePhrase(true, time), "2026-01-25T14:04:10.250Z");
  EXPECT_EQ(TimePhrase(false, time), "-");
  EXPECT_EQ(DurationPhrase(DurationOf(absl::Microseconds(12345))), "12.3ms");
  EXPECT_EQ(DurationPhrase(DurationOf(absl::Microseconds(1234567))), "1.234s");
  EXPECT_EQ(DurationPhrase(DurationOf(absl::Hours(72))), "72h");
  EXPECT_EQ(DurationPhrase(DurationOf(absl::ZeroDuration())), "0");
}

TEST(OutputTest, ValuesOfEnumerationsAreNamed) {
  EXPECT_EQ(EnumPhrase("HOLD_REASON_RETRY_AFTER", "HOLD_REASON_", "unknown"), "retry_after");
  EXPECT_EQ(EnumPhrase("", "HOLD_REASON_", "unknown"), "unknown");
}

TEST(OutputTest, TimesBeforeTheEpochAreValidTimestamps) {
  google::protobuf::Timestamp time;
  SetTime(absl::FromUnixMillis(-250), &time);
  EXPECT_EQ(time.seconds(), -1);
  EXPECT_EQ(time.nanos(), 750'000'000);
}

TEST(OutputTest, DescribesAWebhook) {
  v1::Webhook webhook;
  webhook.set_tenant("default");
  webhook.set_name("hook");
  webhook.set_url("https://receiver.example/hook");
  webhook.set_enabled(true);
  webhook.set_validation_state(v1::VALIDATION_STATE_VALID);
  v1::Header* plain = webhook.add_headers();
  plain->set_name("X-Team");
  plain->set_value("billing");
  v1::Header* secret = webhook.add_headers();
  secret->set_name("Authorization");
  secret->set_sensitive(true);
  webhook.add_notification_types("RUN_COMPLETED");
  webhook.add_notification_types("OTHER");
  SetDuration(absl::Seconds(15), webhook.mutable_timeout());
  SetDuration(absl::Seconds(5), webhook.mutable_retry_policy()->mutable_initial_backoff());
  webhook.mutable_retry_policy()->set_multiplier(3);
  SetDuration(absl::Hours(6), webhook.mutable_retry_policy()->mutable_max_backoff());
  SetDuration(absl::Hours(72), webhook.mutable_retry_policy()->mutable_max_age());
  webhook.mutable_retry_policy()->set_max_attempts(4);
  webhook.set_max_concurrency(16);
  webhook.mutable_rate_limit()->set_per_second(2.5);
  webhook.set_delivery_order(v1::DELIVERY_ORDER_ORDERED);
  webhook.set_etag("1-2");
  EXPECT_EQ(DescribeWebhook(webhook),
            "webhook hook of tenant default: enabled, valid\n"
            "  url             https://receiver.example/hook\n"
            "  header          X-Team: billing\n"
            "  header          Authorization: (not shown)\n"
            "  types           RUN_COMPLETED, OTHER\n"
            "  timeout         15s\n"
            "  retries         after 5s, x3, at most 6h, for 72h, 4 attempts\n"
            "  at once         16\n"
            "  rate limit      2.5 per second, burst 1\n"
            "  order           as published\n"
            "  etag            1-2\n");
}

TEST(OutputTest, DescribesADisabledWebhook) {
  v1::Webhook webhook;
  webhook.set_tenant("acme");
  webhook.set_name("hook");
  webhook.set_disabled_reason("it answered 410\x1b[2J");
  webhook.set_validation_state(static_cast<v1::ValidationState>(99));
  EXPECT_EQ(DescribeWebhook(webhook),
            "webhook hook of tenant acme: not enabled, of an unknown validation state\n"
            "  disabled        it answered 410\\x1b[2J\n"
            "  url             \n"
            "  types           all\n"
            "  retries         as usual\n"
            "  at once         0\n"
            "  etag            \n");
}

TEST(OutputTest, DescribesAValidation) {
  v1::ValidationResult result;
  result.set_valid(true);
  result.set_http_status(200);
  result.mutable_request()->set_method("POST");
  result.mutable_request()->set_url("https://receiver.example/hook");
  v1::Header* sent = result.mutable_request()->add_headers();
  sent->set_name("Content-Type");
  sent->set_value("application/json");
  result.mutable_request()->set_body(R"({"model_id":1})");
  result.mutable_response()->set_status(200);
  v1::Header* answered = result.mutable_response()->add_headers();
  answered->set_name("server");
  answered->set_value("nginx");
  result.mutable_response()->set_body("ok");
  SetDuration(absl::Milliseconds(12), result.mutable_latency());
  EXPECT_EQ(DescribeValidation(result),
            "The request that was sent:\n"
            "  POST https://receiver.example/hook\n"
            "  Content-Type: application/json\n"
            "  \n"
            "  {\n"
            "    \"model_id\": 1\n"
            "  }\n"
            "The answer, after 12ms:\n"
            "  HTTP status 200\n"
            "  server: nginx\n"
            "\n"
            "  ok\n"
            "Valid: the receiver answered 200.\n");
}

TEST(OutputTest, WhatAReceiverAnswersCannotSteerTheTerminal) {
  v1::ValidationResult result;
  result.set_error("the receiver answered 500 \x1b[2J");
  result.mutable_request()->set_method("POST");
  result.mutable_response()->set_status(500);
  v1::Header* header = result.mutable_response()->add_headers();
  header->set_name("x\x1b");
  header->set_value("y\r");
  result.mutable_response()->set_body("\x1b]0;title\x07");
  result.mutable_response()->set_body_truncated(true);
  EXPECT_EQ(DescribeValidation(result),
            "The request that was sent:\n"
            "  POST \n"
            "  \n"
            "The answer, after 0:\n"
            "  HTTP status 500\n"
            "  x\\x1b: y\\x0d\n"
            "\n"
            "  \\x1b]0;title\\x07\n"
            "  (the body goes on)\n"
            "Not valid: the receiver answered 500 \\x1b[2J\n");
}

TEST(OutputTest, SaysWhenThereWasNoAnswer) {
  v1::ValidationResult result;
  result.set_error("the connection was refused");
  result.mutable_request()->set_method("POST");
  result.mutable_request()->set_url("http://receiver.example/");
  EXPECT_EQ(DescribeValidation(result),
            "The request that was sent:\n"
            "  POST http://receiver.example/\n"
            "  \n"
            "There was no answer.\n"
            "Not valid: the connection was refused\n");
}

TEST(OutputTest, ErrorsNameTheirFields) {
  google::rpc::Status status = StatusOf(3, "two fields are wrong");
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field("webhook.url");
  violation->set_description("is relative");
  violation = bad_request.add_field_violations();
  violation->set_field("webhook.headers[2].name");
  violation->set_description("has a \x1b in it");
  status.add_details()->PackFrom(bad_request);
  EXPECT_EQ(DescribeError(status),
            "INVALID_ARGUMENT: two fields are wrong\n"
            "  webhook.url: is relative\n"
            "  webhook.headers[2].name: has a \\x1b in it\n");
}

TEST(OutputTest, ASingleFieldIsNotSaidTwice) {
  google::rpc::Status status = StatusOf(3, "webhook.url is relative");
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field("webhook.url");
  violation->set_description("is relative");
  status.add_details()->PackFrom(bad_request);
  EXPECT_EQ(DescribeError(status), "INVALID_ARGUMENT: webhook.url is relative\n");
}

TEST(OutputTest, ErrorsSayWhenToTryAgain) {
  google::rpc::Status status = StatusOf(8, "the outbox is full");
  google::rpc::QuotaFailure quota;
  auto* violation = quota.add_violations();
  violation->set_subject("outbox");
  violation->set_description("16 GiB are in use");
  status.add_details()->PackFrom(quota);
  google::rpc::RetryInfo retry;
  SetDuration(absl::Seconds(2), retry.mutable_retry_delay());
  status.add_details()->PackFrom(retry);
  EXPECT_EQ(DescribeError(status),
            "RESOURCE_EXHAUSTED: the outbox is full\n"
            "  outbox: 16 GiB are in use\n"
            "  Try again in 2s.\n");
  EXPECT_EQ(DescribeError(StatusOf(99, "what?")), "code 99: what?\n");
}

TEST(OutputTest, FindsTheValidationInTheDetails) {
  google::rpc::Status status = StatusOf(9, "not valid");
  v1::ValidationResult result;
  EXPECT_FALSE(ValidationOf(status, &result));
  google::rpc::RetryInfo retry;
  status.add_details()->PackFrom(retry);
  v1::ValidationResult sent;
  sent.set_http_status(503);
  status.add_details()->PackFrom(sent);
  EXPECT_TRUE(ValidationOf(status, &result));
  EXPECT_EQ(result.http_status(), 503);
}

TEST(OutputTest, EveryCodeHasItsExit) {
  const ClientExit expected[] = {
      ClientExit::kOk,           // OK
      ClientExit::kRefused,      // CANCELLED
      ClientExit::kInternal,     // UNKNOWN
      ClientExit::kRefused,      // INVALID_ARGUMENT
      ClientExit::kUnavailable,  // DEADLINE_EXCEEDED
      ClientExit::kRefused,      // NOT_FOUND
      ClientExit::kRefused,      // ALREADY_EXISTS
      ClientExit::kRefused,      // PERMISSION_DENIED
      ClientExit::kTryLater,     // RESOURCE_EXHAUSTED
      ClientExit::kRefused,      // FAILED_PRECONDITION
      ClientExit::kRefused,      // ABORTED
      ClientExit::kRefused,      // OUT_OF_RANGE
      ClientExit::kRefused,      // UNIMPLEMENTED
      ClientExit::kInternal,     // INTERNAL
      ClientExit::kUnavailable,  // UNAVAILABLE
      ClientExit::kInternal,     // DATA_LOSS
      ClientExit::kRefused,      // UNAUTHENTICATED
  };
  for (int code = 0; code < 17; ++code) {
    EXPECT_EQ(ExitOf(StatusOf(code, "")), expected[code]) << code;
  }
}

}  // namespace
}  // namespace postrider
