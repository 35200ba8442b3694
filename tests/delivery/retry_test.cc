#include "src/delivery/retry.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "src/base/random.h"
#include "src/message/retry_after.h"

namespace postrider {
namespace {

// The middle of the jitter.
constexpr double kNoJitter = 0.5;

void ExpectSeconds(absl::Duration is, double seconds) {
  EXPECT_NEAR(absl::ToDoubleSeconds(is), seconds, 1e-6 * seconds);
}

TEST(RetryDelayTest, GrowsByTheMultiplierUpToTheMaximum) {
  const RetryPolicy policy;  // 5 s, x3, at most 6 h
  ExpectSeconds(RetryDelay(policy, 1, kNoJitter), 5);
  ExpectSeconds(RetryDelay(policy, 2, kNoJitter), 15);
  ExpectSeconds(RetryDelay(policy, 3, kNoJitter), 45);
  ExpectSeconds(RetryDelay(policy, 8, kNoJitter), 5 * 2187);
  ExpectSeconds(RetryDelay(policy, 9, kNoJitter), 6 * 3600);
}

TEST(RetryDelayTest, IsJitteredByTwentyPercentEitherWay) {
  const RetryPolicy policy;
  ExpectSeconds(RetryDelay(policy, 1, 0), 4);
  ExpectSeconds(RetryDelay(policy, 1, 0.25), 4.5);
  ExpectSeconds(RetryDelay(policy, 1, 1), 6);
  ExpectSeconds(RetryDelay(policy, 100, 0), 0.8 * 6 * 3600);
  ExpectSeconds(RetryDelay(policy, 100, 1), 1.2 * 6 * 3600);
}

TEST(RetryDelayTest, WithstandsAnyPolicy) {
  constexpr int kMany = std::numeric_limits<int>::max();
  RetryPolicy policy;
  ExpectSeconds(RetryDelay(policy, kMany, kNoJitter), 6 * 3600);
  EXPECT_EQ(RetryDelay(policy, 0, kNoJitter), RetryDelay(policy, 1, kNoJitter));
  EXPECT_EQ(RetryDelay(policy, -kMany, kNoJitter), RetryDelay(policy, 1, kNoJitter));

  policy.max_backoff = absl::InfiniteDuration();
  EXPECT_LE(RetryDelay(policy, kMany, 1), absl::Hours(367 * 24));
  EXPECT_GE(RetryDelay(policy, kMany, 1), absl::Hours(300 * 24));
  policy.initial_backoff = absl::InfiniteDuration();
  EXPECT_LE(RetryDelay(policy, 1, 1), absl::Hours(367 * 24));
  policy.initial_backoff = absl::ZeroDuration();
  EXPECT_EQ(RetryDelay(policy, kMany, 1), absl::ZeroDuration());
  policy.initial_backoff = -absl::Seconds(5);
  EXPECT_EQ(RetryDelay(policy, 3, 1), absl::ZeroDuration());

  policy = RetryPolicy();
  policy.multiplier = 0;
  ExpectSeconds(RetryDelay(policy, 7, kNoJitter), 5);
  policy.multiplier = std::numeric_limits<double>::infinity();
  ExpectSeconds(RetryDelay(policy, 2, kNoJitter), 6 * 3600);
  policy.max_backoff = -absl::Seconds(1);
  EXPECT_EQ(RetryDelay(policy, 2, kNoJitter), absl::ZeroDuration());
}

TEST(ProbeDelayTest, IsThatOfTheRetriesUpToTheLongestInterval) {
  RetryPolicy policy;
  ExpectSeconds(ProbeDelay(policy, 1, kNoJitter), 5);
  ExpectSeconds(ProbeDelay(policy, 3, kNoJitter), 45);
  for (const int probes : {4, 5, 100, std::numeric_limits<int>::max()}) {
    ExpectSeconds(ProbeDelay(policy, probes, 0), 60);
    ExpectSeconds(ProbeDelay(policy, probes, 1), 48);
  }
  policy.max_probe_interval = absl::Hours(6);
  ExpectSeconds(ProbeDelay(policy, 8, kNoJitter), 5 * 2187);
  policy.max_probe_interval = -absl::Seconds(1);
  EXPECT_EQ(ProbeDelay(policy, 8, kNoJitter), absl::ZeroDuration());
}

TEST(ProbeDelayTest, TenThousandThatDiedTogetherDoNotWakeTogether) {
  constexpr int kWebhooks = 10000;
  SeededRandom random(1);
  std::vector<int> in_second(3600);
  for (int i = 0; i < kWebhooks; ++i) {
    absl::Duration at;
    for (int probes = 1; at < absl::Seconds(3600); ++probes) {
      ++in_second[static_cast<size_t>(absl::ToInt64Seconds(at))];
      at += ProbeDelay(RetryPolicy(), probes, random.Uniform());
    }
  }
  EXPECT_EQ(in_second[0], kWebhooks);
  // 185 a second in the middle, when they are spread over the minute.
  EXPECT_LE(*std::max_element(in_second.begin() + 600, in_second.end()), 370);
}

// 1994-11-06T08:49:37Z, the example of RFC 9110.
const absl::Time kExample = absl::FromUnixSeconds(784111777);

TEST(RetryAfterTest, ReadsSeconds) {
  EXPECT_EQ(ParseRetryAfter("120", kExample), absl::Seconds(120));
  EXPECT_EQ(ParseRetryAfter("0", kExample), absl::ZeroDuration());
  EXPECT_EQ(ParseRetryAfter(" 7\t", kExample), absl::Seconds(7));
}

TEST(RetryAfterTest, RoundsFractionsUp) {
  EXPECT_EQ(ParseRetryAfter("1.5", kExample), absl::Seconds(2));
  EXPECT_EQ(ParseRetryAfter("0.001", kExample), absl::Seconds(1));
  EXPECT_EQ(ParseRetryAfter("64.000", kExample), absl::Seconds(64));
  EXPECT_EQ(ParseRetryAfter("86400.1", kExample), absl::Hours(24));
  for (const char* text : {".5", "1.", ".", "1.5.2", "1,5", "1.5s", "-1.5"}) {
    EXPECT_EQ(ParseRetryAfter(text, kExample), std::nullopt) << text;
  }
}

TEST(RetryAfterTest, IsCappedAtADay) {
  EXPECT_EQ(ParseRetryAfter("86401", kExample), absl::Hours(24));
  EXPECT_EQ(ParseRetryAfter("99999999999999999999999999", kExample), absl::Hours(24));
  EXPECT_EQ(ParseRetryAfter("Fri, 31 Dec 2199 23:59:59 GMT", kExample), absl::Hours(24));
}

TEST(RetryAfterTest, ReadsEveryFormOfADate) {
  const absl::Time before = kExample - absl::Seconds(90);
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:49:37 GMT", before), absl::Seconds(90));
  EXPECT_EQ(ParseRetryAfter("Sunday, 06-Nov-94 08:49:37 GMT", before), absl::Seconds(90));
  EXPECT_EQ(ParseRetryAfter("Sun Nov  6 08:49:37 1994", before), absl::Seconds(90));
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:49:37 GMT", kExample + absl::Seconds(1)),
            absl::ZeroDuration());
}

TEST(RetryAfterTest, PassesOverWhatIsNeither) {
  for (const char* value : {"", " ", "-5", "+5", "5s", "soon", "infinite-future",
                            "Sun, 06 Nov 1994", "06 Nov 1994 08:49:37 GMT", "0x10", "1 2"}) {
    EXPECT_EQ(ParseRetryAfter(value, kExample), std::nullopt) << value;
  }
  EXPECT_EQ(ParseRetryAfter(std::string(100000, '1'), kExample), std::nullopt);
  EXPECT_EQ(ParseRetryAfter(std::string_view("5\0", 2), kExample), std::nullopt);
}

}  // namespace
}  // namespace postrider
