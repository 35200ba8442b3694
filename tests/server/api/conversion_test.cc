#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "src/server/api/struct_json.h"
#include "src/server/api/time_conversion.h"
#include "src/server/api/webhook_conversion.h"

namespace postrider {
namespace {

using ::testing::HasSubstr;

google::protobuf::Timestamp Timestamp(int64_t seconds, int32_t nanos) {
  google::protobuf::Timestamp time;
  time.set_seconds(seconds);
  time.set_nanos(nanos);
  return time;
}

google::protobuf::Duration Duration(int64_t seconds, int32_t nanos) {
  google::protobuf::Duration duration;
  duration.set_seconds(seconds);
  duration.set_nanos(nanos);
  return duration;
}

TEST(TimeConversionTest, TimesComeBack) {
  for (const int64_t nanos : {int64_t{0}, int64_t{1}, int64_t{-1},
                              int64_t{1'769'349'850'123'456'789}, int64_t{-1'500'000'000}}) {
    const absl::Time time = absl::FromUnixNanos(nanos);
    const google::protobuf::Timestamp proto = ToProto(time);
    // What timestamp.proto wants, before the epoch too.
    EXPECT_GE(proto.nanos(), 0);
    FieldViolations violations;
    EXPECT_EQ(FromProto(proto, "f", &violations), time);
    EXPECT_TRUE(violations.empty());
  }
}

TEST(TimeConversionTest, DurationsComeBack) {
  for (const absl::Duration duration :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Milliseconds(-1500), absl::Hours(72)}) {
    FieldViolations violations;
    EXPECT_EQ(FromProto(ToProto(duration), "f", &violations), duration);
    EXPECT_TRUE(violations.empty());
  }
}

TEST(TimeConversionTest, WhatTheTypesDoNotAllowIsNamed) {
  for (const auto& time :
       {Timestamp(-62135596801, 0), Timestamp(253402300800, 0), Timestamp(0, -1),
        Timestamp(0, 1'000'000'000), Timestamp(std::numeric_limits<int64_t>::max(), 0)}) {
    FieldViolations violations;
    EXPECT_EQ(FromProto(time, "the_field", &violations), absl::UnixEpoch());
    EXPECT_THAT(std::string(violations.ToStatus().message()), HasSubstr("the_field"));
  }
  for (const auto& duration :
       {Duration(315576000001, 0), Duration(-315576000001, 0), Duration(1, -1), Duration(-1, 1),
        Duration(0, 1'000'000'000), Duration(std::numeric_limits<int64_t>::min(), 0)}) {
    FieldViolations violations;
    EXPECT_EQ(FromProto(duration, "the_field", &violations), absl::ZeroDuration());
    EXPECT_THAT(std::string(violations.ToStatus().message()), HasSubstr("the_field"));
  }
}

std::string NumberJson(double number) {
  google::protobuf::Struct value;
  (*value.mutable_fields())["n"].set_number_value(number);
  FieldViolations violations;
  return StructToJson(value, "f", &violations).value_or("none");
}

TEST(StructJsonTest, NumbersAreShortAndExact) {
  EXPECT_EQ(NumberJson(0), R"({"n":0})");
  EXPECT_EQ(NumberJson(-0.0), R"({"n":-0})");
  EXPECT_EQ(NumberJson(-17), R"({"n":-17})");
  EXPECT_EQ(NumberJson(0.1), R"({"n":0.1})");
  EXPECT_EQ(NumberJson(9007199254740992.0), R"({"n":9007199254740992})");
  EXPECT_EQ(NumberJson(1.7976931348623157e308), R"({"n":1.7976931348623157e+308})");
  EXPECT_EQ(NumberJson(5e-324), R"({"n":5e-324})");
}

TEST(StructJsonTest, WhatJsonHasNoFormForIsNamed) {
  EXPECT_EQ(NumberJson(std::numeric_limits<double>::quiet_NaN()), "none");
  google::protobuf::Struct value;
  auto* list = (*value.mutable_fields())["a"].mutable_list_value();
  list->add_values()->set_number_value(1);
  (*list->add_values()->mutable_struct_value()->mutable_fields())["b"].set_number_value(
      -std::numeric_limits<double>::infinity());
  FieldViolations violations;
  EXPECT_EQ(StructToJson(value, "payload", &violations), std::nullopt);
  EXPECT_THAT(std::string(violations.ToStatus().message()), HasSubstr("payload.a[1].b"));
}

TEST(StructJsonTest, TheEmptyStructIsTheEmptyObject) {
  FieldViolations violations;
  EXPECT_EQ(StructToJson({}, "f", &violations), "{}");
}

TEST(WebhookConversionTest, OriginsAreSchemeHostAndPort) {
  EXPECT_TRUE(SameOrigin("https://a.example/x", "https://A.EXAMPLE:443/y?z"));
  EXPECT_TRUE(SameOrigin("http://a.example", "http://a.example:80/"));
  EXPECT_FALSE(SameOrigin("https://a.example/", "http://a.example/"));
  EXPECT_FALSE(SameOrigin("https://a.example/", "https://b.example/"));
  EXPECT_FALSE(SameOrigin("https://a.example/", "https://a.example:8443/"));
  EXPECT_FALSE(SameOrigin("nonsense", "nonsense"));
}

TEST(WebhookConversionTest, NotificationTypesAreIdentifiers) {
  for (const std::string& type :
       {std::string("RUN_COMPLETED"), std::string("a.b:c-9"), std::string(128, 'x')}) {
    EXPECT_TRUE(IsNotificationType(type)) << type;
  }
  for (const std::string& type :
       {std::string(), std::string("_x"), std::string("a b"), std::string("a\n"),
        std::string("\xC3\xA9"), std::string(129, 'x')}) {
    EXPECT_FALSE(IsNotificationType(type)) << type;
  }
}

TEST(WebhookConversionTest, EtagsTellVersionsApart) {
  std::set<std::string> etags;
  for (const int64_t id : {1, 2, 0x11}) {
    for (const int64_t version : {1, 2, 0x11}) {
      Webhook webhook;
      webhook.id = WebhookId{id};
      webhook.version = version;
      etags.insert(EtagOf(webhook));
    }
  }
  EXPECT_EQ(etags.size(), 9u);
}

TEST(WebhookConversionTest, HeadersOfOneNameKeepTheirValuesInOrder) {
  Webhook stored;
  stored.headers = {{"X-Key", "first", true}, {"x-key", "second", true}};
  Webhook webhook;
  webhook.headers = {{"X-KEY", "", true}, {"X-Key", "", true}};
  EXPECT_TRUE(MergeSensitiveHeaders(&stored, &webhook).ok());
  EXPECT_EQ(webhook.headers[0].value, "first");
  EXPECT_EQ(webhook.headers[1].value, "second");
  webhook.headers = {{"X-Key", "new", true}, {"X-Key", "", true}, {"X-Key", "", true}};
  const absl::Status status = MergeSensitiveHeaders(&stored, &webhook);
  EXPECT_THAT(std::string(status.message()), HasSubstr("webhook.headers[2].value"));
}

TEST(WebhookConversionTest, ATestRequestIsTheSameForTheSameUrlAndHeaders) {
  Webhook a;
  a.url = "https://a.example/";
  a.headers = {{"X-A", "1", false}};
  Webhook b = a;
  b.max_concurrency = 3;
  b.headers[0].sensitive = true;
  EXPECT_TRUE(SameTestRequest(a, b));
  b.headers[0].value = "2";
  EXPECT_FALSE(SameTestRequest(a, b));
  b = a;
  b.headers.push_back({"X-B", "", false});
  EXPECT_FALSE(SameTestRequest(a, b));
  b = a;
  b.url += "x";
  EXPECT_FALSE(SameTestRequest(a, b));
}

}  // namespace
}  // namespace postrider
