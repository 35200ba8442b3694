#include "src/outbox/sqlite/id_epochs.h"

#include <vector>

#include "gtest/gtest.h"
#include "src/base/ids.h"

namespace postrider {
namespace {

const absl::Time kNow = absl::FromUnixMicros(1706191450157236);
constexpr absl::Duration kTenYears = absl::Hours(24 * 3652);

int64_t Id(absl::Time time) { return IdSequence::FloorFor(time); }

TEST(IdEpochsTest, AClockThatOnlyGoesOnBeginsNone) {
  IdEpochs epochs;
  EXPECT_FALSE(epochs.Adjust(kNow, 0));
  EXPECT_FALSE(epochs.Adjust(kNow, Id(kNow)));
  EXPECT_FALSE(epochs.Adjust(kNow, Id(kNow + absl::Milliseconds(900))));
  EXPECT_FALSE(epochs.Adjust(kNow + kTenYears, Id(kNow)));
  const std::vector<IdEpochs::Range> all =
      epochs.Between(absl::InfinitePast(), absl::InfiniteFuture());
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].first, 0);
  EXPECT_EQ(all[0].end, INT64_MAX);
}

TEST(IdEpochsTest, AClockThatIsSetBackBeginsOne) {
  IdEpochs epochs;
  const int64_t wrong = Id(kNow + kTenYears) + 7;
  const auto epoch = epochs.Adjust(kNow, wrong);
  ASSERT_TRUE(epoch);
  EXPECT_GT(epoch->first_id, wrong);
  IdSequence ids(wrong);
  int64_t last = ids.Next(kNow + epochs.ahead());
  EXPECT_GE(last, epoch->first_id);
  // It lasts, however long nothing comes.
  const absl::Time later = kNow + absl::Hours(24 * 300);
  EXPECT_FALSE(epochs.Adjust(later, last));
  last = ids.Next(later + epochs.ahead());
  const auto found = epochs.Between(later, later + absl::Minutes(1));
  // In its own epoch; and where the numbers of the one before would be.
  ASSERT_EQ(found.size(), 2u);
  EXPECT_LE(found[0].first, last);
  EXPECT_GT(found[0].end, last);
  EXPECT_GT(found[0].first, epoch->first_id);
}

TEST(IdEpochsTest, AClockThatWasBehindLeavesNoDistance) {
  IdEpochs epochs;
  int64_t last = Id(kNow);
  ASSERT_TRUE(epochs.Adjust(absl::UnixEpoch() + absl::Minutes(1), last));
  last = Id(absl::UnixEpoch() + absl::Minutes(5) + epochs.ahead());
  const absl::Time right = kNow + absl::Minutes(5);
  ASSERT_TRUE(epochs.Adjust(right, last));
  EXPECT_LT(epochs.ahead(), absl::Minutes(1));
  EXPECT_GT(Id(right + epochs.ahead()), last);
  EXPECT_EQ(epochs.size(), 3u);
  epochs.Resize(2);
  EXPECT_GT(epochs.ahead(), kTenYears);
}

TEST(IdEpochsTest, WhatIsOfAnOlderEpochIsOlder) {
  IdEpochs epochs;
  const int64_t wrong = Id(kNow + kTenYears);
  EXPECT_LT(epochs.OlderThan(kNow + absl::Hours(1)), wrong);
  const auto epoch = epochs.Adjust(kNow, wrong);
  EXPECT_LT(epochs.OlderThan(kNow - absl::Hours(1)), wrong);
  const int64_t cut = epochs.OlderThan(kNow + absl::Hours(1));
  EXPECT_GT(cut, wrong);
  EXPECT_EQ(cut, Id(kNow + absl::Hours(1) + epoch->ahead));
  EXPECT_EQ(epochs.OlderThan(absl::InfinitePast()), 0);
}

TEST(IdEpochsTest, NumbersThatHaveComeToTheirEndGoOnOneByOne) {
  IdEpochs epochs;
  EXPECT_FALSE(epochs.Adjust(kNow, INT64_MAX - 100));
  EXPECT_EQ(epochs.size(), 1u);
}

}  // namespace
}  // namespace postrider
