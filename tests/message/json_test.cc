#include "src/message/json.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

TEST(CheckJsonObjectTest, TakesObjects) {
  const std::vector<std::string> good = {
      "{}",
      " \t\r\n{ } \n",
      R"({"a":1})",
      R"({"a":1,"a":2})",
      R"({"":{"":[]}})",
      R"({"a":[1,-0,0.5,-12.25e-3,1E+2,9007199254740993,1e400,-1e-400,0e0]})",
      R"({"a":[true,false,null,"",[],{},[[]],[{}]]})",
      R"({ "a" : [ 1 , 2 ] , "b" : { "c" : "d" } })",
      R"({"\u0041\"\\\/\b\f\n\r\t":"\ud83d\udc34 \u00e9 \uFFFF"})",
      "{\"\xc3\xa9\":\"\xe2\x82\xac \xf0\x9f\x90\xb4 \xef\xbf\xbf \xf4\x8f\xbf\xbf \x7f\"}",
      "{\"n\":" + std::string(100000, '9') + "}",
  };
  for (const std::string& text : good) {
    EXPECT_TRUE(CheckJsonObject(text).ok()) << text << ": " << CheckJsonObject(text);
  }
}

struct Bad {
  std::string text;
  size_t at;
  std::string expected;
};

TEST(CheckJsonObjectTest, NamesTheByteAndWhatWasExpected) {
  const std::vector<Bad> bad = {
      {"", 0, "the text ends: expected '{'"},
      {"  ", 2, "the text ends: expected '{'"},
      {"[]", 0, "expected '{'"},
      {"null", 0, "expected '{'"},
      {"\xef\xbb\xbf{}", 0, "expected '{'"},
      {"{", 1, "the text ends: expected a key"},
      {"{a:1}", 1, "expected a key"},
      {"{'a':1}", 1, "expected a key"},
      {"{1:1}", 1, "expected a key"},
      {"{\"a\"}", 4, "expected ':'"},
      {"{\"a\":}", 5, "expected a value"},
      {"{\"a\":1,}", 7, "expected a key"},
      {"{\"a\":1", 6, "the text ends: expected ',' or '}'"},
      {"{\"a\":1]", 6, "expected ',' or '}'"},
      {"{\"a\":1 \"b\":2}", 7, "expected ',' or '}'"},
      {"{\"a\":[1,]}", 8, "expected a value"},
      {"{\"a\":[,1]}", 6, "expected a value"},
      {"{\"a\":[1}", 7, "expected ',' or ']'"},
      {"{}}", 2, "expected the end"},
      {"{} {}", 3, "expected the end"},
      {std::string("{}\0", 3), 2, "expected the end"},
      {"{\"a\":tru}", 5, "expected a value"},
      {"{\"a\":truex}", 9, "expected ',' or '}'"},
      {"{\"a\":True}", 5, "expected a value"},
      {"{\"a\":NaN}", 5, "expected a value"},
      {"{\"a\":Infinity}", 5, "expected a value"},
      {"{\"a\":-Infinity}", 6, "expected a digit"},
      {"{\"a\":01}", 6, "expected no digit after a leading 0"},
      {"{\"a\":-01}", 7, "expected no digit after a leading 0"},
      {"{\"a\":1.}", 7, "expected a digit"},
      {"{\"a\":.5}", 5, "expected a value"},
      {"{\"a\":+1}", 5, "expected a value"},
      {"{\"a\":1e}", 7, "expected a digit"},
      {"{\"a\":1e+}", 8, "expected a digit"},
      {"{\"a\":0x10}", 6, "expected ',' or '}'"},
      {"{\"a\":-", 6, "the text ends: expected a digit"},
      {"{\"a\":\"b", 7, "the text ends: expected the '\"'"},
      {"{\"a\":\"\n\"}", 6, "expected no control character"},
      {std::string("{\"a\":\"\0\"}", 9), 6, "expected no control character"},
      {"{\"a\":\"\\x\"}", 7, "expected one of"},
      {"{\"a\":\"\\", 7, "the text ends: expected one of"},
      {"{\"a\":\"\\u12g4\"}", 10, "expected four hexadecimal digits"},
      {"{\"a\":\"\\ud800\"}", 6, "expected both halves"},
      {"{\"a\":\"\\udc00\"}", 6, "expected both halves"},
      {"{\"a\":\"\\ud800\\u0041\"}", 6, "expected both halves"},
      {"{\"a\":\"\\ud800\\ud800\"}", 6, "expected both halves"},
      {"{\"a\":\"\x80\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xc0\xaf\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xe0\x80\xaf\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xed\xa0\x80\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xf0\x80\x80\x80\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xf4\x90\x80\x80\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xf5\x80\x80\x80\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xe2\x82\"}", 6, "expected valid UTF-8"},
      {"{\"a\":\"\xe2\x82", 6, "expected valid UTF-8"},
      {"{\"a\":1 /* no */}", 7, "expected ',' or '}'"},
      {"{\"a\":\xc2\xa0"
       "1}",
       5, "expected a value"},
  };
  for (const Bad& b : bad) {
    const absl::Status status = CheckJsonObject(b.text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << b.text;
    const std::string message(status.message());
    EXPECT_EQ(message.rfind(absl::StrCat("not a JSON object: at byte ", b.at, ", ", b.expected), 0),
              0u)
        << b.text << ": " << message;
  }
}

TEST(CheckJsonObjectTest, EveryPrefixOfAnObjectIsRefused) {
  const std::string text = R"({"a":[1.5e3,{"b":"\ud83d\udc34é"},true,null],"c":{}})";
  ASSERT_TRUE(CheckJsonObject(text).ok());
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(CheckJsonObject(text.substr(0, size)).ok()) << text.substr(0, size);
  }
}

TEST(CheckJsonObjectTest, FindsTheFaultWhereverItStandsInAString) {
  const std::string head = R"({"k":")";
  for (const std::string& fault : {std::string(1, '\0'), std::string("\n"), std::string("\x1f"),
                                   std::string("\x80"), std::string("\xff"), std::string("\\x")}) {
    for (size_t before = 0; before < 20; ++before) {
      for (size_t after = 0; after < 20; ++after) {
        const std::string text =
            head + std::string(before, '~') + fault + std::string(after, ' ') + "\"}";
        const size_t at = head.size() + before + (fault[0] == '\\' ? 1 : 0);
        EXPECT_THAT(std::string(CheckJsonObject(text).message()),
                    testing::HasSubstr(absl::StrCat("at byte ", at, ",")))
            << before << " before, " << after << " after";
      }
    }
  }
}

TEST(CheckJsonObjectTest, TakesStringsOfAnyLength) {
  for (const char* const part : {"", "\\n", "\\\\", "\\\"", "\u00fc"}) {
    for (size_t before = 0; before < 20; ++before) {
      for (size_t after = 0; after < 20; ++after) {
        const std::string text =
            R"({"k":")" + std::string(before, ' ') + part + std::string(after, '\x7f') + "\"}";
        EXPECT_TRUE(CheckJsonObject(text).ok()) << text;
      }
    }
  }
}

TEST(CheckJsonObjectTest, WhatIsNestedDeeperThanReceiversBearIsRefused) {
  const auto nested = [](size_t lists) {
    return "{\"a\":" + std::string(lists, '[') + std::string(lists, ']') + "}";
  };
  // The object is a level, too.
  EXPECT_TRUE(CheckJsonObject(nested(511)).ok());
  EXPECT_EQ(CheckJsonObject(nested(512)).message(),
            "not a JSON object: at byte 516, expected at most 512 levels of nesting");
  EXPECT_FALSE(CheckJsonObject(nested(4 << 20)).ok());
  std::string wide = "{\"a\":[";
  for (int i = 0; i < 10000; ++i) wide += "[[]],";
  EXPECT_TRUE(CheckJsonObject(wide + "0]}").ok()) << "only depth counts";
}

}  // namespace
}  // namespace postrider
