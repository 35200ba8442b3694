#include "src/server/observe/logging.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace postrider {
namespace {

const absl::Time kTime = absl::FromUnixMicros(1706191450157236);

TEST(LoggingTest, WritesKeyAndValue) {
  EXPECT_EQ(FormatLogLine(kTime, LogLevel::kInfo, "ready",
                          {{"grpc", "127.0.0.1:1"}, {"path", "/a b"}}, /*json=*/false),
            "time=2024-01-25T14:04:10.157236Z level=info msg=ready grpc=127.0.0.1:1 "
            "path=\"/a b\"");
}

TEST(LoggingTest, WritesJson) {
  EXPECT_EQ(FormatLogLine(kTime, LogLevel::kError, "it failed", {{"why", "a \"b\""}},
                          /*json=*/true),
            "{\"time\":\"2024-01-25T14:04:10.157236Z\",\"level\":\"error\",\"msg\":\"it failed\","
            "\"why\":\"a \\\"b\\\"\"}");
}

TEST(LoggingTest, NoValueForgesALineOrAField) {
  EXPECT_EQ(FormatLogLine(kTime, LogLevel::kWarn, "x", {{"v", "a\nlevel=info"}, {"e", ""}}, false),
            "time=2024-01-25T14:04:10.157236Z level=warn msg=x v=\"a\\nlevel=info\" e=\"\"");
  EXPECT_EQ(FormatLogLine(kTime, LogLevel::kWarn, "x", {{"v", "\xFF"}}, false),
            "time=2024-01-25T14:04:10.157236Z level=warn msg=x v=\"\xEF\xBF\xBD\"");
}

TEST(LogLimiterTest, LetsSoManyASecondThrough) {
  FakeClock clock;
  LogLimiter limiter(clock, 2);
  uint64_t suppressed = 7;
  EXPECT_TRUE(limiter.Allow(&suppressed));
  EXPECT_EQ(suppressed, 0u);
  EXPECT_TRUE(limiter.Allow(&suppressed));
  EXPECT_FALSE(limiter.Allow(&suppressed));
  EXPECT_FALSE(limiter.Allow(&suppressed));
  clock.Advance(absl::Seconds(1));
  EXPECT_TRUE(limiter.Allow(&suppressed));
  EXPECT_EQ(suppressed, 2u);
}

}  // namespace
}  // namespace postrider
