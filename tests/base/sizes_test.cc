#include "src/base/sizes.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

namespace postrider {
namespace {

TEST(SizesTest, ReadsSizes) {
  EXPECT_EQ(ParseSizeFlag("0"), 0u);
  EXPECT_EQ(ParseSizeFlag("262144"), 262144u);
  EXPECT_EQ(ParseSizeFlag("256KiB"), 262144u);
  EXPECT_EQ(ParseSizeFlag("256kib"), 262144u);
  EXPECT_EQ(ParseSizeFlag("10MB"), 10'000'000u);
  EXPECT_EQ(ParseSizeFlag("1TiB"), uint64_t{1} << 40);
  EXPECT_EQ(ParseSizeFlag("9223372036854775807"), uint64_t{9223372036854775807u});
  for (const char* text : {"", "-1", "1.5MiB", "KiB", "1 KiB", "1XB", "9223372036854775808",
                           "18446744073709551616", "9007199254740993TiB"}) {
    EXPECT_EQ(ParseSizeFlag(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace postrider
