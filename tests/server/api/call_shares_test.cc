#include "src/server/api/call_shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace postrider {
namespace {

using ::testing::HasSubstr;
using Share = CallShares::Share;
constexpr auto kRefused = CallShares::Excess::kRefused;
constexpr auto kCounted = CallShares::Excess::kCounted;

// Of 900 calls, 9,000 bytes of requests and 9,000 of answers.
class CallSharesTest : public ::testing::Test {
 protected:
  // Takes as many calls as it can get, of so many bytes each.
  std::vector<Share> TakeAll(const std::string& tenant, const std::string& peer,
                             int64_t request_bytes = 1, int64_t answer_bytes = 1) {
    std::vector<Share> shares;
    for (;;) {
      absl::StatusOr<Share> share =
          shares_.Take(tenant, peer, request_bytes, answer_bytes, kCounted);
      if (!share.ok()) {
        EXPECT_EQ(share.status().code(), absl::StatusCode::kResourceExhausted);
        return shares;
      }
      shares.push_back(*std::move(share));
    }
  }

  CallShares shares_{{900, 9000, 9000}};
};

TEST_F(CallSharesTest, ATenantThatIsAloneMayHaveAlmostAll) {
  EXPECT_GE(TakeAll("a", "p").size(), 790u);
  EXPECT_GE(TakeAll("a", "p", 100).size(), 79u);
  EXPECT_EQ(shares_.metrics().calls.value(), 0);
  EXPECT_EQ(shares_.metrics().request_bytes.value(), 0);
}

TEST_F(CallSharesTest, ANewcomerGetsInThoughOneHasTakenAllThatHeCould) {
  for (const auto& [request, answer] : {std::pair{1, 1}, {100, 1}, {1, 100}}) {
    const std::vector<Share> greedy = TakeAll("greedy", "gateway", request, answer);
    EXPECT_FALSE(TakeAll("newcomer", "gateway", 1, 1).empty());
    EXPECT_FALSE(TakeAll("newcomer", "other", 1, 1).empty());
  }
}

TEST_F(CallSharesTest, OnePeerCannotTakeAllByInventingTenants) {
  std::vector<std::vector<Share>> taken;
  for (int i = 0; i < 100; ++i) taken.push_back(TakeAll("tenant-" + std::to_string(i), "hostile"));
  EXPECT_FALSE(TakeAll("honest", "other").empty());
}

TEST_F(CallSharesTest, TwoThatWantAllShareIt) {
  std::vector<Share> a = TakeAll("a", "p");
  std::vector<Share> b = TakeAll("b", "p");
  // Calls end, and each takes again what it can get.
  for (int i = 0; i < 1000; ++i) {
    a.pop_back();
    for (auto* shares : {&b, &a}) {
      absl::StatusOr<Share> share =
          shares_.Take(shares == &a ? "a" : "b", "p", 1, 1, kCounted);
      if (share.ok()) shares->push_back(*std::move(share));
    }
    if (a.size() <= b.size()) break;
  }
  EXPECT_NEAR(static_cast<double>(a.size()), static_cast<double>(b.size()), 2);
}

TEST_F(CallSharesTest, AnAnswerCountsForWhatItIsUntilItIsSent) {
  absl::StatusOr<Share> share = shares_.Take("a", "p", 100, 10, kCounted);
  ASSERT_TRUE(share.ok());
  EXPECT_EQ(shares_.metrics().request_bytes.value(), 100);
  EXPECT_EQ(shares_.metrics().answer_bytes.value(), 10);
  EXPECT_TRUE(share->Answered(8500).ok());
  EXPECT_EQ(shares_.metrics().request_bytes.value(), 0);
  EXPECT_EQ(shares_.metrics().answer_bytes.value(), 8500);
  const absl::StatusOr<Share> refused = shares_.Take("a", "p", 1, 100, kCounted);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr("answers"));
  *share = Share();
  EXPECT_TRUE(shares_.Take("a", "p", 1, 100, kCounted).ok());
}

// Else those whose answers are larger than expected, and who do not read them, stop everybody.
TEST_F(CallSharesTest, AnAnswerThatGrowsBeyondItsShareIsRefusedAndANewcomerGetsIn) {
  std::vector<Share> reads;
  for (int i = 0; i < 100; ++i) {
    absl::StatusOr<Share> share = shares_.Take("greedy", "p", 1, 1, kRefused);
    ASSERT_TRUE(share.ok());
    reads.push_back(*std::move(share));
  }
  int sent = 0;
  for (Share& share : reads) {
    const absl::Status status = share.Answered(200);
    if (status.ok()) {
      ++sent;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    }
  }
  EXPECT_GT(sent, 30);
  EXPECT_LT(sent, 45);
  EXPECT_EQ(shares_.metrics().answer_bytes.value(), sent * 200) << "what is refused holds nothing";
  EXPECT_TRUE(shares_.Take("newcomer", "p", 1, 100, kRefused).ok());
}

TEST_F(CallSharesTest, ACallWithoutAnAnswerToSpeakOfIsNotRefusedForThoseOfOthers) {
  absl::StatusOr<Share> large = shares_.Take("a", "p", 1, 1, kCounted);
  ASSERT_TRUE(large.ok());
  EXPECT_TRUE(large->Answered(20'000).ok()) << "it cannot be asked for again";
  EXPECT_FALSE(shares_.Take("b", "q", 1, 1, kCounted).ok());
  EXPECT_TRUE(shares_.Take("b", "q", 1, 0, kCounted).ok());
}

TEST_F(CallSharesTest, ManyNamesAndLongOnesAreNotKept) {
  for (int i = 0; i < 5000; ++i) {
    const std::string name = std::to_string(i) + std::string(10'000, 'x');
    EXPECT_TRUE(shares_.Take(name, name, 1, 1, kCounted).ok());
  }
  // Longer than that of any tenant: they are one.
  const std::string same(10'000, 'x');
  const std::vector<Share> all = TakeAll(same, "p");
  EXPECT_FALSE(shares_.Take(same + "y", "q", 1, 1, kCounted).ok());
}

TEST_F(CallSharesTest, WhatIsLargerThanAllIsRefused) {
  EXPECT_FALSE(shares_.Take("a", "p", 9001, 1, kCounted).ok());
  EXPECT_TRUE(shares_.Take("a", "p", 9000, 1, kCounted).ok());
}

}  // namespace
}  // namespace postrider
