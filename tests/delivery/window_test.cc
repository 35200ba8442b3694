#include "src/delivery/window.h"

#include "gtest/gtest.h"

namespace postrider {
namespace {

constexpr bool kProbe = true;
constexpr bool kBriefly = false;
constexpr bool kForLong = true;
constexpr bool kNoProbe = false;

TEST(WindowTest, StaysOpenWhileFailuresAreNotInARow) {
  Window window(16, 3);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(window.OnFailure(kNoProbe, kBriefly));
    EXPECT_FALSE(window.OnFailure(kNoProbe, kBriefly));
    EXPECT_EQ(window.limit(), 16);
    window.OnSuccess();
  }
  EXPECT_FALSE(window.probing());
}

TEST(WindowTest, ProbesAfterFailuresInARow) {
  Window window(16, 3);
  window.OnFailure(kNoProbe, kBriefly);
  window.OnFailure(kNoProbe, kBriefly);
  EXPECT_TRUE(window.OnFailure(kNoProbe, kBriefly)) << "the first probe waits";
  EXPECT_TRUE(window.probing());
  EXPECT_EQ(window.limit(), 1);
  EXPECT_EQ(window.failed_probes(), 1);
  // The rest of the full window fails too: that is no news.
  for (int i = 0; i < 13; ++i) EXPECT_FALSE(window.OnFailure(kNoProbe, kBriefly));
  EXPECT_EQ(window.failed_probes(), 1);
  EXPECT_TRUE(window.OnFailure(kProbe, kBriefly));
  EXPECT_EQ(window.failed_probes(), 2);
}

TEST(WindowTest, GrowsAgainFromOne) {
  Window window(10, 1);
  window.OnFailure(kNoProbe, kBriefly);
  EXPECT_EQ(window.limit(), 1);
  for (const int limit : {2, 4, 8, 10, 10}) {
    window.OnSuccess();
    EXPECT_FALSE(window.probing());
    EXPECT_EQ(window.failed_probes(), 0);
    EXPECT_EQ(window.limit(), limit);
  }
}

TEST(WindowTest, FollowsTheConfiguredMaximum) {
  Window window(4, 1);
  window.SetMax(8);
  EXPECT_EQ(window.limit(), 8) << "an open window is as wide as it may be";
  window.SetMax(2);
  EXPECT_EQ(window.limit(), 2);
  window.OnFailure(kNoProbe, kBriefly);
  window.SetMax(100);
  EXPECT_EQ(window.limit(), 1) << "a probed one stays at one";
  window.OnSuccess();
  EXPECT_EQ(window.limit(), 2);
  window.SetMax(50);
  EXPECT_EQ(window.limit(), 2) << "a growing one goes on growing";
  window.SetMax(1);
  EXPECT_EQ(window.limit(), 1);
}

TEST(WindowTest, AWindowOfOneRecovers) {
  Window window(1, 2);
  window.OnFailure(kNoProbe, kBriefly);
  window.OnFailure(kNoProbe, kBriefly);
  EXPECT_TRUE(window.probing());
  window.OnSuccess();
  EXPECT_FALSE(window.probing());
  EXPECT_EQ(window.limit(), 1);
}

TEST(WindowTest, BeginsProbingWhenToldTo) {
  Window window(16, 10);
  window.StartProbing();
  EXPECT_EQ(window.limit(), 1);
  EXPECT_EQ(window.failed_probes(), 0);
  EXPECT_TRUE(window.OnFailure(kProbe, kBriefly));
  EXPECT_EQ(window.failed_probes(), 1);
}

TEST(WindowTest, AFewFailuresAreEnoughWhenNothingElseCameForLong) {
  Window window(16, 10);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(window.OnFailure(kNoProbe, kForLong));
  EXPECT_TRUE(window.OnFailure(kNoProbe, kForLong));
  EXPECT_TRUE(window.probing());
  Window narrow(16, 2);
  EXPECT_FALSE(narrow.OnFailure(kNoProbe, kForLong)) << "but as many as otherwise";
  EXPECT_TRUE(narrow.OnFailure(kNoProbe, kForLong));
}

TEST(WindowTest, GrowsAfterAProbeUntilAllIsOpen) {
  Window window(4, 1);
  EXPECT_FALSE(window.growing());
  window.OnFailure(kNoProbe, kBriefly);
  EXPECT_FALSE(window.growing());
  window.OnSuccess();
  EXPECT_TRUE(window.growing());
  window.OnSuccess();
  EXPECT_FALSE(window.growing());
}

}  // namespace
}  // namespace postrider
