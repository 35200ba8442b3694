#include "src/delivery/limiter.h"

#include <limits>

#include "gtest/gtest.h"
#include "src/base/random.h"

namespace postrider {
namespace {

constexpr absl::Duration kStart = absl::Hours(1000);

int TakeAll(Limiter& limiter, absl::Duration now) {
  int taken = 0;
  while (taken < 1000 && limiter.TryTake(now)) ++taken;
  return taken;
}

TEST(LimiterTest, WithoutALimitEverythingPasses) {
  Limiter limiter;
  EXPECT_EQ(TakeAll(limiter, kStart), 1000);
  limiter.Configure({5, 1}, kStart);
  limiter.Configure({0, 1}, kStart);
  EXPECT_EQ(TakeAll(limiter, kStart), 1000);
  EXPECT_LE(limiter.NextToken(), kStart);
}

TEST(LimiterTest, LetsABurstThroughAndThenTheRate) {
  Limiter limiter;
  limiter.Configure({10, 3}, kStart);
  EXPECT_EQ(TakeAll(limiter, kStart), 3);
  EXPECT_EQ(limiter.NextToken(), kStart + absl::Milliseconds(100));
  EXPECT_EQ(TakeAll(limiter, kStart + absl::Milliseconds(99)), 0);
  EXPECT_EQ(TakeAll(limiter, limiter.NextToken()), 1);
  EXPECT_EQ(TakeAll(limiter, kStart + absl::Milliseconds(250)), 1);
  EXPECT_EQ(TakeAll(limiter, kStart + absl::Hours(1)), 3) << "a long rest is worth one burst";
}

TEST(LimiterTest, IsNeverExceededInAnySpan) {
  SeededRandom random(7);
  for (const RateLimit limit : {RateLimit{3, 1}, RateLimit{7, 5}, RateLimit{0.3, 2}}) {
    Limiter limiter;
    limiter.Configure(limit, kStart);
    absl::Duration now = kStart;
    std::vector<absl::Duration> taken;
    for (int i = 0; i < 3000; ++i) {
      now += absl::Milliseconds(static_cast<double>(200 * random.Uniform()));
      if (!limiter.TryTake(now)) continue;
      for (size_t j = taken.size() > 50 ? taken.size() - 50 : 0; j < taken.size(); ++j) {
        const double count = static_cast<double>(taken.size() - j + 1);
        ASSERT_LE(count, limit.burst + absl::ToDoubleSeconds(now - taken[j]) * limit.per_second);
      }
      taken.push_back(now);
    }
    // And it is reached.
    EXPECT_GE(static_cast<double>(taken.size()),
              0.8 * absl::ToDoubleSeconds(now - kStart) * limit.per_second);
  }
}

TEST(LimiterTest, AChangeGivesNoTokensAway) {
  Limiter limiter;
  limiter.Configure({1, 5}, kStart);
  EXPECT_EQ(TakeAll(limiter, kStart), 5);
  limiter.Configure({1, 5}, kStart);
  EXPECT_EQ(TakeAll(limiter, kStart), 0);
  // Faster from now on, without waiting for what the slow limit would have taken.
  limiter.Configure({100, 1}, kStart);
  EXPECT_EQ(limiter.NextToken(), kStart + absl::Milliseconds(10));
}

TEST(LimiterTest, WithstandsAnyLimit) {
  constexpr int kMaxBurst = std::numeric_limits<int>::max();
  for (const double rate : {1e-300, 1e-9, 1e12, 1e300}) {
    for (const int burst : {-1, 0, 1, kMaxBurst}) {
      Limiter limiter;
      limiter.Configure({rate, burst}, kStart);
      EXPECT_TRUE(limiter.TryTake(kStart)) << rate << " " << burst;
      EXPECT_GE(limiter.NextToken() + absl::Hours(24 * 366 * 21), kStart);
    }
  }
}

}  // namespace
}  // namespace postrider
