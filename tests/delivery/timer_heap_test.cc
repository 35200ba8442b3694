#include "src/delivery/timer_heap.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "src/base/random.h"

namespace postrider {
namespace {

struct Thing {
  TimerSlot slot;
};
using Heap = TimerHeap<Thing, &Thing::slot>;

TEST(TimerHeapTest, IsEmptyAtFirst) {
  Heap heap;
  EXPECT_TRUE(heap.empty());
  EXPECT_EQ(heap.next(), TimerSlot::kNever);
  Thing thing;
  heap.Set(&thing, TimerSlot::kNever);
  EXPECT_TRUE(heap.empty());
}

TEST(TimerHeapTest, AgreesWithAScanWhateverIsSet) {
  SeededRandom random(3);
  Heap heap;
  std::vector<Thing> things(40);
  for (int i = 0; i < 20000; ++i) {
    Thing& thing = things[random.Next() % things.size()];
    const int64_t at =
        random.Next() % 4 == 0 ? TimerSlot::kNever : static_cast<int64_t>(random.Next() % 100);
    heap.Set(&thing, at);
    const auto first =
        std::min_element(things.begin(), things.end(),
                         [](const Thing& a, const Thing& b) { return a.slot.at < b.slot.at; });
    ASSERT_EQ(heap.next(), first->slot.at);
    if (heap.empty()) continue;
    ASSERT_EQ(heap.top()->slot.at, heap.next());
  }
}

}  // namespace
}  // namespace postrider
