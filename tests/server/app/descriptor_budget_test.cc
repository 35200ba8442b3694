#include "src/server/app/descriptor_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

namespace postrider {
namespace {

using ::testing::HasSubstr;

DescriptorBudget Divide(uint64_t limit, int pumps, int callers = 0) {
  const auto divided = DivideDescriptors(limit, pumps, callers);
  const auto* budget = std::get_if<DescriptorBudget>(&divided);
  EXPECT_NE(budget, nullptr) << limit;
  return budget == nullptr ? DescriptorBudget() : *budget;
}

TEST(DescriptorBudgetTest, NobodyCanTakeWhatIsAnothers) {
  for (const uint64_t limit : {512, 1024, 4096, 65'536, 1'048'576}) {
    for (const int pumps : {1, 2, 4}) {
      const DescriptorBudget budget = Divide(limit, pumps);
      EXPECT_LE(budget.callers + budget.http + pumps * budget.receivers_per_pump + budget.own,
                static_cast<int64_t>(limit))
          << limit;
      EXPECT_GE(budget.own, 64 + 16 * pumps);
      EXPECT_GE(budget.receivers_per_pump, 16);
    }
  }
}

TEST(DescriptorBudgetTest, WhatIsAskedForIsGiven) {
  EXPECT_EQ(Divide(65'536, 2, 30'000).callers, 30'000);
}

TEST(DescriptorBudgetTest, AnEndlessLimitGivesBoundedShares) {
  const DescriptorBudget budget = Divide(~uint64_t{0}, 2);
  EXPECT_EQ(budget.callers, 16'384);
  EXPECT_EQ(budget.limit, 1 << 20);
  EXPECT_GE(budget.receivers_per_pump, 8192);
}

TEST(DescriptorBudgetTest, TooFewAreRefusedWithWhatToDo) {
  for (const auto& divided : {DivideDescriptors(64, 1, 0), DivideDescriptors(1024, 2, 1000)}) {
    const auto* failure = std::get_if<Failure>(&divided);
    ASSERT_NE(failure, nullptr);
    EXPECT_EQ(failure->code, ExitCode::kUnavailable);
    EXPECT_THAT(failure->message, HasSubstr("LimitNOFILE"));
  }
}

}  // namespace
}  // namespace postrider
