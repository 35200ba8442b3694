#include "src/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace postrider {
namespace {

TEST(TextTest, KeepsUtf8) {
  for (const char* text : {"", "plain", "é", "\xE2\x82\xAC", "\xF0\x9F\x93\xAF", "a\xC2\x80z"}) {
    EXPECT_EQ(ToUtf8(text), text);
  }
}

TEST(TextTest, ReplacesTheRest) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(ToUtf8("a\xFFz"), "a" + bad + "z");
  EXPECT_EQ(ToUtf8("\x80"), bad);
  EXPECT_EQ(ToUtf8("\xC0\xAF"), bad + bad);                      // overlong
  EXPECT_EQ(ToUtf8("\xED\xA0\x80"), bad + bad + bad);            // a surrogate
  EXPECT_EQ(ToUtf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // beyond U+10FFFF
  EXPECT_EQ(ToUtf8("\xE2\x82"), bad);                            // cut off
  EXPECT_EQ(ToUtf8("\xE2\x82z"), bad + "z");
}

}  // namespace
}  // namespace postrider
