#include "src/base/clock.h"

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

TEST(SystemClockTest, TellsTheWallTime) {
  const absl::Time before = absl::Now();
  const absl::Time now = SystemClock().Now();
  EXPECT_LE(before, now);
  EXPECT_LE(now, absl::Now());
}

TEST(SystemClockTest, MonotonicGoesOn) {
  const absl::Duration start = SystemClock().Monotonic();
  absl::Duration last = start;
  while (last == start) {
    const absl::Duration now = SystemClock().Monotonic();
    ASSERT_GE(now, last);
    last = now;
  }
  EXPECT_LT(last - start, absl::Minutes(1));
}

TEST(SystemClockTest, IsOne) { EXPECT_EQ(&SystemClock(), &SystemClock()); }

}  // namespace
}  // namespace postrider
