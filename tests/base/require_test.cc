#include "src/base/require.h"

#include <gtest/gtest.h>

namespace postrider {
namespace {

TEST(RequireTest, WhatIsSoGoesOn) {
  int looked = 0;
  REQUIRE(++looked > 0);
#ifdef NDEBUG
  EXPECT_EQ(looked, 0) << "in release nothing is looked at";
#else
  EXPECT_EQ(looked, 1);
#endif
}

#ifndef NDEBUG
TEST(RequireDeathTest, WhatIsNotSoEndsTheProcessAndSaysWhere) {
  EXPECT_DEATH(REQUIRE(1 + 1 == 3), "require_test.cc:[0-9]+: REQUIRES 1 \\+ 1 == 3");
}
#endif

}  // namespace
}  // namespace postrider
