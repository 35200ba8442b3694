#include "src/outbox/sqlite/routing.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr WebhookId kFirst{1};
constexpr WebhookId kSecond{2};

class RoutingTest : public testing::Test {
 protected:
  RoutingTest() {
    routing_.AddTenant("t", 7);
    routing_.Commit();
  }
  std::vector<WebhookId> Of(const std::string& type) {
    const auto& by_type = routing_.Find("t")->by_type;
    const auto it = by_type.find(type);
    return it == by_type.end() ? std::vector<WebhookId>{} : it->second;
  }
  Routing routing_;
};

TEST_F(RoutingTest, KnowsWhoWantsWhat) {
  routing_.Set("t", kSecond, {"A", "B"});
  routing_.Set("t", kFirst, {"A"});
  EXPECT_THAT(Of("A"), ElementsAre(kFirst, kSecond));
  EXPECT_THAT(Of("B"), ElementsAre(kSecond));
  EXPECT_THAT(routing_.Find("t")->all_types, IsEmpty());
  routing_.Set("t", kSecond, {});
  EXPECT_THAT(Of("A"), ElementsAre(kFirst));
  EXPECT_THAT(routing_.Find("t")->all_types, ElementsAre(kSecond));
  routing_.Remove(kFirst);
  EXPECT_THAT(Of("A"), IsEmpty());
  EXPECT_EQ(routing_.Find("u"), nullptr);
}

TEST_F(RoutingTest, ATypeThatIsNamedTwiceCountsOnce) {
  routing_.Set("t", kFirst, {"A", "A"});
  EXPECT_THAT(Of("A"), ElementsAre(kFirst));
  routing_.Remove(kFirst);
  EXPECT_THAT(Of("A"), IsEmpty());
}

TEST_F(RoutingTest, RollbackUndoesInReverse) {
  routing_.Set("t", kFirst, {"A"});
  routing_.Commit();
  routing_.Set("t", kFirst, {"B"});
  routing_.Remove(kFirst);
  routing_.Set("t", kSecond, {});
  routing_.AddTenant("u", 8);
  routing_.Set("u", WebhookId{3}, {});
  routing_.Rollback();
  EXPECT_THAT(Of("A"), ElementsAre(kFirst));
  EXPECT_THAT(Of("B"), IsEmpty());
  EXPECT_THAT(routing_.Find("t")->all_types, IsEmpty());
  EXPECT_EQ(routing_.Find("u"), nullptr);
  // What was committed stays.
  routing_.Rollback();
  EXPECT_THAT(Of("A"), ElementsAre(kFirst));
}

}  // namespace
}  // namespace postrider
