#include "src/message/rendering.h"

#include <string>

#include "gtest/gtest.h"
#include "src/message/json.h"

namespace postrider {
namespace {

const BodyHeader kHeader{"test", 28740, "RUN_COMPLETED"};

// The product page's example, without its white space.
constexpr char kExample[] =
    R"({"header":{"model_name":"test","model_id":28740,"notification_type":"RUN_COMPLETED"},)"
    R"("payload":{"run":{"started_at":"2024-01-25T14:04:10.157236"},)"
    R"("performance_alerts":{"cbpe":[{"metric_name":"specificity"}]},)"
    R"("other_alerts":{"univariate_drift":[{"metric_name":"country"}]},)"
    R"("success":["unseen_values","missing_values"],)"
    R"("report_link":"https://test.app.nannyml.com/model/1"}})";

RunCompletedPayload Example() {
  RunCompletedPayload payload;
  payload.started_at = absl::FromUnixMicros(1706191450157236);
  payload.performance_alerts = {{"cbpe", {"specificity"}}};
  payload.other_alerts = {{"univariate_drift", {"country"}}};
  payload.success = {"unseen_values", "missing_values"};
  payload.report_link = "https://test.app.nannyml.com/model/1";
  return payload;
}

// What RenderBody gives between `"payload":` and the last brace.
std::string Payload(const RunCompletedPayload& payload) {
  const std::string body = RenderBody(kHeader, payload);
  EXPECT_TRUE(CheckJsonObject(body).ok()) << body;
  const size_t start = body.find("\"payload\":") + 10;
  return body.substr(start, body.size() - start - 1);
}

TEST(RenderBodyTest, IsTheProductPagesExample) {
  EXPECT_EQ(RenderBody(kHeader, Example()), kExample);
}

TEST(RenderBodyTest, AnEmptyRunKeepsItsShape) {
  EXPECT_EQ(
      Payload({}),
      R"({"run":{},"performance_alerts":{},"other_alerts":{},"success":[],"report_link":""})");
}

TEST(RenderBodyTest, AFailedRun) {
  RunCompletedPayload payload;
  payload.started_at = absl::FromUnixSeconds(0);
  payload.status = "FAILED";
  payload.error = "out of \"memory\"\nat line 3";
  EXPECT_EQ(Payload(payload),
            R"({"run":{"started_at":"1970-01-01T00:00:00.000000","status":"FAILED",)"
            R"("error":"out of \"memory\"\nat line 3"},)"
            R"("performance_alerts":{},"other_alerts":{},"success":[],"report_link":""})");
}

TEST(RenderBodyTest, StartedAtHasAlwaysFourAndSixDigits) {
  RunCompletedPayload payload;
  const auto started_at = [&](absl::Time time) {
    payload.started_at = time;
    return Payload(payload).substr(22, 26);
  };
  EXPECT_EQ(started_at(absl::FromUnixMicros(1706191450000001)), "2024-01-25T14:04:10.000001");
  EXPECT_EQ(started_at(absl::FromUnixNanos(1706191450999999999)), "2024-01-25T14:04:10.999999");
  EXPECT_EQ(started_at(absl::FromUnixSeconds(-62135596800)), "0001-01-01T00:00:00.000000");
  EXPECT_EQ(started_at(absl::FromUnixMicros(253402300799999999)), "9999-12-31T23:59:59.999999");
}

TEST(RenderBodyTest, GroupsOfOneMethodAreMergedInOrder) {
  RunCompletedPayload payload;
  payload.other_alerts = {{"b", {"1"}}, {"a", {}}, {"b", {"2", "3"}}, {"", {"4"}}};
  EXPECT_EQ(Payload(payload),
            R"({"run":{},"performance_alerts":{},"other_alerts":{)"
            R"("b":[{"metric_name":"1"},{"metric_name":"2"},{"metric_name":"3"}],)"
            R"("a":[],"":[{"metric_name":"4"}]},"success":[],"report_link":""})");
}

TEST(RenderBodyTest, ModelIdsKeepAllDigits) {
  const auto id = [](int64_t model_id) {
    const std::string body = RenderBody({"m", model_id, "T"}, {});
    const size_t start = body.find("\"model_id\":") + 11;
    return body.substr(start, body.find(',', start) - start);
  };
  EXPECT_EQ(id(0), "0");
  EXPECT_EQ(id(9007199254740993), "9007199254740993");
  EXPECT_EQ(id(INT64_MAX), "9223372036854775807");
  EXPECT_EQ(id(INT64_MIN), "-9223372036854775808");
}

TEST(RenderBodyTest, TextIsEscapedNoMoreThanNeeded) {
  const std::string body = RenderBody({std::string("\"\\/\0\x1f\x7f\n\té€🐴<&>", 20), 1, "T"}, {});
  EXPECT_TRUE(CheckJsonObject(body).ok());
  EXPECT_EQ(body.substr(0, body.find(",\"model_id")),
            "{\"header\":{\"model_name\":\"\\\"\\\\/\\u0000\\u001F\x7f\\n\\té€🐴<&>\"");
}

TEST(RenderRawBodyTest, IsTheProductPagesExample) {
  const std::string example = kExample;
  const size_t start = example.find("\"payload\":") + 10;
  EXPECT_EQ(RenderRawBody(kHeader, example.substr(start, example.size() - start - 1)), kExample);
}

TEST(RenderRawBodyTest, ThePayloadsBytesStandUntouched) {
  const std::string payload = " { \"z\" : 9007199254740993 , \"a\":1e400,\"u\":\"\\u00e9\\/\" }\n";
  EXPECT_EQ(RenderRawBody({"\"", -1, "T"}, payload),
            R"({"header":{"model_name":"\"","model_id":-1,"notification_type":"T"},"payload":)" +
                payload + "}");
}

}  // namespace
}  // namespace postrider
