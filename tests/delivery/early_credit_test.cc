#include "src/delivery/early_credit.h"

#include "gtest/gtest.h"

namespace postrider {
namespace {

constexpr absl::Duration kStart = absl::Hours(1000);

int FailAll(EarlyCredit& credit, absl::Duration now) {
  int failed = 0;
  for (; failed < 1000 && credit.Any(now); ++failed) credit.Failed();
  return failed;
}

TEST(EarlyCreditTest, FailuresUseItUpAndMinutesGiveItBack) {
  EarlyCredit credit;
  EXPECT_EQ(FailAll(credit, kStart), EarlyCredit::kMost);
  EXPECT_EQ(FailAll(credit, kStart + absl::Seconds(59)), 0);
  EXPECT_EQ(FailAll(credit, kStart + absl::Seconds(61)), 1);
  EXPECT_EQ(FailAll(credit, kStart + absl::Seconds(119)), 0);
  EXPECT_EQ(FailAll(credit, kStart + absl::Minutes(10)), 9);
  EXPECT_EQ(FailAll(credit, kStart + absl::Hours(100)), EarlyCredit::kMost);
}

TEST(EarlyCreditTest, AsManyMayFailAsSucceed) {
  EarlyCredit credit;
  FailAll(credit, kStart);
  for (int i = 0; i < 10'000; ++i) {
    credit.Succeeded();
    ASSERT_TRUE(credit.Any(kStart));
    credit.Failed();
    ASSERT_FALSE(credit.Any(kStart));
  }
  for (int i = 0; i < 10'000; ++i) credit.Succeeded();
  EXPECT_EQ(FailAll(credit, kStart), EarlyCredit::kMost);
}

TEST(EarlyCreditTest, WhatWasUnderWayMayTakeMoreThanThereIs) {
  EarlyCredit credit;
  FailAll(credit, kStart);
  for (int i = 0; i < 5; ++i) credit.Failed();
  EXPECT_FALSE(credit.Any(kStart + absl::Minutes(5)));
  EXPECT_TRUE(credit.Any(kStart + absl::Minutes(6)));
}

}  // namespace
}  // namespace postrider
