#include "src/http/fair_turns.h"

#include <cstdint>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

using testing::ElementsAre;

class FairTurnsTest : public testing::Test {
 protected:
  void Add(uint64_t share, uint64_t id) {
    FairTurns::Entry left_out;
    EXPECT_FALSE(turns_.Add({share, id}, &left_out));
  }
  // The shares that begin now, in turn.
  std::vector<uint64_t> Begin() {
    std::vector<uint64_t> begun;
    FairTurns::Entry next;
    while (turns_.Next(&next)) {
      begun.push_back(next.share);
      ++taken_[next.share];
    }
    return begun;
  }
  void End(uint64_t share) {
    turns_.End(share);
    --taken_[share];
  }

  FairTurns turns_{18, 100};
  std::map<uint64_t, int> taken_;
};

TEST_F(FairTurnsTest, OneThatIsAloneGetsNearlyAll) {
  for (int i = 0; i < 50; ++i) Add(1, i);
  EXPECT_EQ(Begin().size(), 16u);
  EXPECT_EQ(turns_.waiting(), 34u);
}

TEST_F(FairTurnsTest, ANewcomerFindsAPlace) {
  for (int i = 0; i < 50; ++i) Add(1, i);
  Begin();
  Add(2, 100);
  EXPECT_THAT(Begin(), ElementsAre(2));
}

TEST_F(FairTurnsTest, PartsBecomeEqualAsPlacesAreGivenBack) {
  for (int i = 0; i < 50; ++i) Add(1, i);
  Begin();
  for (int i = 0; i < 40; ++i) Add(2, 100 + i);
  for (int i = 0; i < 12; ++i) {
    Begin();
    End(1);
  }
  Begin();
  EXPECT_LE(taken_[1], 9);
  EXPECT_GE(taken_[2], 8);
}

TEST_F(FairTurnsTest, ThoseWhoWaitAreServedInTurn) {
  for (uint64_t share : {1, 1, 1, 2, 2, 3}) Add(share, 10);
  EXPECT_THAT(Begin(), ElementsAre(1, 2, 3, 1, 2, 1));
}

TEST_F(FairTurnsTest, EachGetsAPlaceWhenThereAreMoreThanPlaces) {
  // Nobody is passed by twice.
  for (uint64_t share = 1; share <= 40; ++share) Add(share, share);
  std::map<uint64_t, int> served;
  while (turns_.waiting() > 0) {
    for (const uint64_t share : Begin()) ++served[share];
    for (const auto& [share, taken] : std::map<uint64_t, int>(taken_)) {
      if (taken > 0) {
        End(share);
        break;
      }
    }
  }
  EXPECT_EQ(served.size(), 40u);
}

TEST_F(FairTurnsTest, TheLongestQueueGivesUpItsLast) {
  for (int i = 0; i < 100; ++i) Add(1, i);
  FairTurns::Entry left_out;
  ASSERT_TRUE(turns_.Add({2, 500}, &left_out));
  EXPECT_EQ(left_out.share, 1u);
  EXPECT_EQ(left_out.id, 99u);
  ASSERT_TRUE(turns_.Add({1, 501}, &left_out));
  EXPECT_EQ(left_out.id, 501u) << "its own queue is the longest";
  EXPECT_EQ(turns_.waiting(), 100u);
}

TEST_F(FairTurnsTest, WhoIsRemovedHasNoTurn) {
  Add(1, 1);
  Add(1, 2);
  Add(2, 3);
  turns_.Remove({1, 1});
  turns_.Remove({2, 3});
  turns_.Remove({2, 3});
  turns_.Remove({7, 7});
  EXPECT_THAT(Begin(), ElementsAre(1));
  Add(2, 4);
  EXPECT_THAT(Begin(), ElementsAre(2));
  EXPECT_EQ(turns_.taken(), 2u);
}

}  // namespace
}  // namespace postrider
