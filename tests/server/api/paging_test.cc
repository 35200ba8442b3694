#include "src/server/api/paging.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace postrider {
namespace {

TEST(PagingTest, NumbersComeBack) {
  for (const int64_t number : {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{1} << 62,
                               std::numeric_limits<int64_t>::max()}) {
    const auto decoded = DecodeNumberToken("filter", EncodePageToken("filter", number));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, number);
  }
}

TEST(PagingTest, NamesComeBack) {
  const auto decoded = DecodeNameToken("f", EncodePageToken("f", std::string_view("my-hook")));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, "my-hook");
}

TEST(PagingTest, TheEmptyTokenIsTheFirstPage) {
  EXPECT_EQ(*DecodeNumberToken("f", ""), std::nullopt);
  EXPECT_EQ(*DecodeNameToken("f", ""), "");
}

TEST(PagingTest, ForeignTokensAreRefused) {
  const std::string token = EncodePageToken("f", int64_t{7});
  EXPECT_EQ(DecodeNumberToken("g", token).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(DecodeNumberToken("f", "rubbish!").ok());
  EXPECT_FALSE(DecodeNumberToken("f", "AAAA").ok());
  EXPECT_FALSE(DecodeNumberToken("f", token.substr(0, token.size() - 4)).ok());
  EXPECT_FALSE(DecodeNumberToken("f", EncodePageToken("f", std::string_view("name"))).ok());
  EXPECT_FALSE(DecodeNameToken("f", EncodePageToken("f", std::string_view(""))).ok());
}

TEST(PagingTest, LimitsPages) {
  EXPECT_EQ(*PageLimit(0), 50);
  EXPECT_EQ(*PageLimit(1), 1);
  EXPECT_EQ(*PageLimit(1000), 1000);
  EXPECT_EQ(*PageLimit(1001), 1000);
  EXPECT_FALSE(PageLimit(-1).ok());
}

}  // namespace
}  // namespace postrider
