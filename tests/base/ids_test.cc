#include "src/base/ids.h"

#include <string>

#include "gtest/gtest.h"

namespace postrider {
namespace {

const absl::Time kNow = absl::FromUnixMicros(1706191450157236);

TEST(IdSequenceTest, GrowsWithTime) {
  IdSequence ids(0);
  const int64_t first = ids.Next(kNow);
  EXPECT_EQ(IdSequence::TimeOf(first), absl::FromUnixMillis(1706191450157));
  EXPECT_EQ(ids.Next(kNow), first + 1);
  EXPECT_EQ(ids.Next(kNow + absl::Milliseconds(1)), first + (1 << 20));
}

TEST(IdSequenceTest, NeverGivesANumberTwice) {
  IdSequence ids(0);
  const int64_t first = ids.Next(kNow);
  // The clock is set back.
  const int64_t second = ids.Next(kNow - absl::Hours(1));
  EXPECT_EQ(second, first + 1);
  // The process starts again, while the clock is still behind.
  IdSequence after(second);
  EXPECT_EQ(after.Next(kNow - absl::Hours(1)), second + 1);
}

TEST(IdSequenceTest, MoreThanAMillisecondHolds) {
  IdSequence ids(0);
  const int64_t first = ids.Next(kNow);
  int64_t last = first;
  for (int i = 0; i < (1 << 20) + 5; ++i) last = ids.Next(kNow);
  EXPECT_EQ(last, first + (1 << 20) + 5);
  EXPECT_EQ(ids.Next(kNow + absl::Milliseconds(1)), last + 1);
}

TEST(IdSequenceTest, FloorIsBelowAllThatIsGivenOutFromThenOn) {
  IdSequence ids(0);
  const int64_t before = ids.Next(kNow - absl::Milliseconds(1));
  EXPECT_LT(before, IdSequence::FloorFor(kNow));
  EXPECT_LE(IdSequence::FloorFor(kNow), ids.Next(kNow));
  EXPECT_EQ(IdSequence::FloorFor(absl::InfinitePast()), 0);
  EXPECT_EQ(IdSequence::FloorFor(absl::UnixEpoch() - absl::Seconds(1)), 0);
  EXPECT_GT(IdSequence::FloorFor(absl::InfiniteFuture()), IdSequence::FloorFor(kNow));
}

TEST(IdSequenceTest, WorksInAnyCentury) {
  IdSequence ids(0);
  EXPECT_GT(ids.Next(absl::UnixEpoch() - absl::Hours(1)), 0);
  const absl::Time late = absl::FromCivil(absl::CivilYear(2240), absl::UTCTimeZone());
  EXPECT_EQ(IdSequence::TimeOf(ids.Next(late)), late);
}

TEST(IdCodecTest, TextHasItsShape) {
  const IdCodec codec(0x123456789a);
  EXPECT_EQ(codec.Format(NotificationId{0}), "ntf_000000000000028t5cy4t");
  EXPECT_EQ(codec.Format(NotificationId{33}), "ntf_000000000001128t5cy4t");
  EXPECT_EQ(codec.Format(DeliveryId{INT64_MAX}), "dlv_7zzzzzzzzzzzz28t5cy4t");
}

TEST(IdCodecTest, RoundTrips) {
  const IdCodec codec(0xffffffffffffffff);
  for (const int64_t number :
       {int64_t{0}, int64_t{1}, int64_t{31}, int64_t{32}, int64_t{1} << 40, INT64_MAX}) {
    EXPECT_EQ(codec.ParseNotificationId(codec.Format(NotificationId{number})),
              NotificationId{number});
    EXPECT_EQ(codec.ParseDeliveryId(codec.Format(DeliveryId{number})), DeliveryId{number});
  }
}

TEST(IdCodecTest, TextSortsAsNumbersDo) {
  const IdCodec codec(7);
  std::string last;
  for (int64_t number = 1; number > 0 && number < INT64_MAX / 3; number = number * 3 + 1) {
    const std::string text = codec.Format(NotificationId{number});
    EXPECT_LT(last, text);
    EXPECT_EQ(text.find('.'), std::string::npos);
    last = text;
  }
}

TEST(IdCodecTest, OthersAreRefused) {
  const IdCodec codec(7);
  const std::string good = codec.Format(NotificationId{12345});
  EXPECT_TRUE(codec.ParseNotificationId(good).has_value());
  EXPECT_FALSE(codec.ParseDeliveryId(good).has_value());
  EXPECT_FALSE(IdCodec(8).ParseNotificationId(good).has_value());
  EXPECT_FALSE(codec.ParseNotificationId("").has_value());
  EXPECT_FALSE(codec.ParseNotificationId(good + "0").has_value());
  EXPECT_FALSE(codec.ParseNotificationId(good.substr(1)).has_value());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    for (const char c : {'I', 'l', 'o', 'u', '-', ' ', '\0', 'A'}) {
      bad[i] = c;
      EXPECT_FALSE(codec.ParseNotificationId(bad).has_value()) << bad;
    }
  }
  // Beyond 63 bits.
  std::string big = codec.Format(NotificationId{INT64_MAX});
  big[4] = '8';
  EXPECT_FALSE(codec.ParseNotificationId(big).has_value());
}

}  // namespace
}  // namespace postrider
