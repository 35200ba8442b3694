#include "src/base/durations.h"

#include <gtest/gtest.h>

namespace postrider {
namespace {

TEST(DurationsTest, ReadsWhatPeopleWrite) {
  EXPECT_EQ(ParseDurationText("30s"), absl::Seconds(30));
  EXPECT_EQ(ParseDurationText("0s"), absl::ZeroDuration());
  EXPECT_EQ(ParseDurationText("72h"), absl::Hours(72));
  EXPECT_EQ(ParseDurationText("7d"), absl::Hours(168));
  EXPECT_EQ(ParseDurationText("1.5d"), absl::Hours(36));
  EXPECT_EQ(ParseDurationText("1d12h30m"), absl::Hours(36) + absl::Minutes(30));
  EXPECT_EQ(ParseDurationText("1h30m"), absl::Minutes(90));
  EXPECT_EQ(ParseDurationText("250ms"), absl::Milliseconds(250));
}

TEST(DurationsTest, RefusesTheRest) {
  for (const char* text : {"", "0", "10", "d", "-1s", "+1s", "inf", "1 d", "1w", "1dd", "7days",
                           "1d2", "1..5d", "99999999999999999999d"}) {
    EXPECT_EQ(ParseDurationText(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace postrider
