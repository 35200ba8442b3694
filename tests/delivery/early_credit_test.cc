#include "src/delivery/early_credit.h"

#include "gtest/gtest.h"

namespace postrider {
namespace {

constexpr absl::Duration kStart = absl::Hours(1000);

int TakeAll(EarlyCredit& credit, absl::Duration now) {
  int taken = 0;
  for (; taken < 1000 && credit.Any(now); ++taken) credit.Take(now);
  return taken;
}

TEST(EarlyCreditTest, TriesUseItUpAndMinutesGiveItBack) {
  EarlyCredit credit;
  EXPECT_EQ(TakeAll(credit, kStart), EarlyCredit::kMost);
  EXPECT_EQ(credit.next(), kStart + absl::Minutes(1));
  EXPECT_EQ(TakeAll(credit, kStart + absl::Seconds(59)), 0);
  EXPECT_EQ(TakeAll(credit, kStart + absl::Seconds(61)), 1);
  EXPECT_EQ(TakeAll(credit, kStart + absl::Seconds(119)), 0);
  EXPECT_EQ(TakeAll(credit, kStart + absl::Minutes(10)), 9);
  EXPECT_EQ(TakeAll(credit, kStart + absl::Hours(100)), EarlyCredit::kMost);
}

TEST(EarlyCreditTest, OneThatSucceedsIsGoodForAnotherThatFails) {
  EarlyCredit credit;
  TakeAll(credit, kStart);
  for (int i = 0; i < 10'000; ++i) {
    credit.Succeeded();
    ASSERT_EQ(TakeAll(credit, kStart), 2) << "itself, and one more";
  }
  for (int i = 0; i < 10'000; ++i) credit.Succeeded();
  EXPECT_EQ(TakeAll(credit, kStart), EarlyCredit::kMost);
}

TEST(EarlyCreditTest, WhatWasNotMadeCostsNothing) {
  EarlyCredit credit;
  TakeAll(credit, kStart);
  credit.GiveBack();
  EXPECT_EQ(TakeAll(credit, kStart), 1);
}

}  // namespace
}  // namespace postrider
