#include "src/base/random.h"

#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace postrider {
namespace {

TEST(SeededRandomTest, IsSplitMix64) {
  // The reference's first numbers for seed 1234567.
  SeededRandom random(1234567);
  EXPECT_EQ(random.Next(), 6457827717110365317u);
  EXPECT_EQ(random.Next(), 3203168211198807973u);
  EXPECT_EQ(random.Next(), 9817491932198370423u);
}

TEST(SeededRandomTest, TheSameSeedGivesTheSame) {
  SeededRandom a(1);
  SeededRandom b(1);
  SeededRandom c(2);
  EXPECT_EQ(a.Bytes(32), b.Bytes(32));
  EXPECT_NE(a.Next(), c.Next());
}

class FixedRandom final : public Random {
 public:
  explicit FixedRandom(uint64_t value) : value_(value) {}
  uint64_t Next() override { return value_; }

 private:
  const uint64_t value_;
};

TEST(RandomTest, UniformKeepsItsBounds) {
  EXPECT_EQ(FixedRandom(0).Uniform(), 0.0);
  EXPECT_LT(FixedRandom(UINT64_MAX).Uniform(), 1.0);
  EXPECT_EQ(FixedRandom(uint64_t{1} << 63).Uniform(), 0.5);
  SeededRandom random(3);
  std::vector<int> tenths(10);
  for (int i = 0; i < 10000; ++i) ++tenths[static_cast<size_t>(random.Uniform() * 10)];
  for (const int count : tenths) EXPECT_NEAR(count, 1000, 200);
}

TEST(RandomTest, BytesHaveTheirSize) {
  SeededRandom random(4);
  for (size_t size = 0; size < 40; ++size) EXPECT_EQ(random.Bytes(size).size(), size);
  // The last bytes are random as well.
  std::set<std::string> ends;
  for (int i = 0; i < 20; ++i) ends.insert(random.Bytes(11).substr(8));
  EXPECT_EQ(ends.size(), 20u);
}

TEST(SecureRandomTest, Differs) {
  SecureRandom random;
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.Next());
  EXPECT_EQ(seen.size(), 1000u);
}

}  // namespace
}  // namespace postrider
