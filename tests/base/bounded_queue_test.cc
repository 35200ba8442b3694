#include "src/base/bounded_queue.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "src/base/clock.h"

namespace postrider {
namespace {

using Queue = BoundedQueue<std::unique_ptr<int>>;

bool Push(Queue& queue, int value, size_t weight = 1) {
  auto item = std::make_unique<int>(value);
  const bool pushed = queue.TryPush(item, weight);
  // What is refused is still the caller's.
  EXPECT_EQ(pushed, item == nullptr);
  return pushed;
}

std::vector<int> Take(Queue& queue, absl::Duration timeout = absl::ZeroDuration()) {
  std::vector<std::unique_ptr<int>> items;
  queue.TakeAll(&items, timeout);
  std::vector<int> values;
  for (const auto& item : items) values.push_back(*item);
  return values;
}

TEST(BoundedQueueTest, GivesAllInOrder) {
  Queue queue(10, 100);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Push(queue, i));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(Take(queue), std::vector<int>({0, 1, 2}));
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_TRUE(Take(queue).empty());
}

TEST(BoundedQueueTest, BoundsTheNumber) {
  Queue queue(2, 100);
  EXPECT_TRUE(Push(queue, 1));
  EXPECT_TRUE(Push(queue, 2));
  EXPECT_FALSE(Push(queue, 3));
  Take(queue);
  EXPECT_TRUE(Push(queue, 4));
}

TEST(BoundedQueueTest, BoundsTheWeight) {
  Queue queue(10, 100);
  EXPECT_TRUE(Push(queue, 1, 60));
  EXPECT_FALSE(Push(queue, 2, 41));
  EXPECT_TRUE(Push(queue, 3, 40));
  EXPECT_EQ(queue.weight(), 100u);
  EXPECT_FALSE(Push(queue, 4, 1));
  Take(queue);
  EXPECT_EQ(queue.weight(), 0u);
  EXPECT_TRUE(Push(queue, 5, 100));
}

TEST(BoundedQueueTest, WhatIsHeavierThanTheBoundGoesAlone) {
  Queue queue(10, 100);
  EXPECT_TRUE(Push(queue, 1, 1000));
  EXPECT_FALSE(Push(queue, 2, 1));
  EXPECT_EQ(Take(queue), std::vector<int>({1}));
  EXPECT_TRUE(Push(queue, 3, 1));
  EXPECT_FALSE(Push(queue, 4, 1000));
}

TEST(BoundedQueueTest, UnboundedGoesBeyondButNotPastClose) {
  Queue queue(1, 1);
  for (int i = 0; i < 5; ++i) {
    auto item = std::make_unique<int>(i);
    EXPECT_TRUE(queue.PushUnbounded(item, 100));
  }
  EXPECT_EQ(Take(queue).size(), 5u);
  queue.Close();
  auto item = std::make_unique<int>(1);
  EXPECT_FALSE(queue.PushUnbounded(item, 1));
  EXPECT_NE(item, nullptr);
}

TEST(BoundedQueueTest, CloseLetsTheRestBeTaken) {
  Queue queue(10, 100);
  Push(queue, 1);
  queue.Close();
  queue.Close();
  EXPECT_FALSE(Push(queue, 2));
  std::vector<std::unique_ptr<int>> items;
  EXPECT_TRUE(queue.TakeAll(&items, absl::InfiniteDuration()));
  EXPECT_EQ(items.size(), 1u);
  EXPECT_FALSE(queue.TakeAll(&items, absl::InfiniteDuration()));
  EXPECT_TRUE(items.empty());
}

TEST(BoundedQueueTest, ATimeoutPasses) {
  Queue queue(10, 100);
  const absl::Duration start = SystemClock().Monotonic();
  std::vector<std::unique_ptr<int>> items;
  EXPECT_TRUE(queue.TakeAll(&items, absl::Milliseconds(30)));
  EXPECT_TRUE(items.empty());
  EXPECT_GE(SystemClock().Monotonic() - start, absl::Milliseconds(30));
}

TEST(BoundedQueueTest, APushWakesTheConsumer) {
  for (const absl::Duration timeout :
       {absl::Hours(1), absl::Hours(24 * 365 * 1000), absl::InfiniteDuration()}) {
    Queue queue(10, 100);
    std::thread producer([&] { Push(queue, 7); });
    std::vector<int> values = Take(queue, timeout);
    producer.join();
    EXPECT_EQ(values, std::vector<int>({7}));
  }
}

TEST(BoundedQueueTest, CloseWakesTheConsumer) {
  Queue queue(10, 100);
  std::thread closer([&] { queue.Close(); });
  std::vector<std::unique_ptr<int>> items;
  EXPECT_FALSE(queue.TakeAll(&items, absl::InfiniteDuration()));
  closer.join();
}

TEST(BoundedQueueTest, NothingIsLostOrReordered) {
  constexpr int kProducers = 3;
  constexpr int kEach = 3000;
  BoundedQueue<std::pair<int, int>> queue(50, 1000);
  std::vector<std::thread> producers;
  std::atomic<int> refused{0};
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach;) {
        std::pair<int, int> item(p, i);
        if (queue.TryPush(item, 3)) {
          ++i;
        } else {
          ++refused;
          std::this_thread::yield();
        }
      }
    });
  }
  std::thread closer([&] {
    for (auto& producer : producers) producer.join();
    queue.Close();
  });
  std::vector<int> next(kProducers);
  std::vector<std::pair<int, int>> items;
  for (int round = 0;
       queue.TakeAll(&items, round % 2 == 0 ? absl::InfiniteDuration() : absl::Milliseconds(5));
       ++round) {
    EXPECT_LE(items.size(), 50u);
    for (const auto& [p, i] : items) EXPECT_EQ(i, next[p]++);
  }
  closer.join();
  for (const int count : next) EXPECT_EQ(count, kEach);
}

TEST(BoundedQueueTest, AwaitWaitsUntilThereAreEnough) {
  BoundedQueue<int> queue(1000, 1000);
  std::thread producer([&] {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(queue.TryPush(i, 1));
  });
  queue.Await(100, absl::Minutes(5));
  EXPECT_EQ(queue.size(), 100u);
  producer.join();
  // One item is enough again for who takes what there is.
  std::vector<int> taken;
  ASSERT_TRUE(queue.TakeAll(&taken, absl::Minutes(5)));
  std::thread late([&] {
    int item = 1;
    ASSERT_TRUE(queue.TryPush(item, 1));
  });
  ASSERT_TRUE(queue.TakeAll(&taken, absl::Minutes(5)));
  EXPECT_EQ(taken.size(), 1u);
  late.join();
}

TEST(BoundedQueueTest, AwaitEndsWithItsTimeAndWithTheQueue) {
  BoundedQueue<int> queue(10, 10);
  int item = 1;
  ASSERT_TRUE(queue.TryPush(item, 1));
  queue.Await(2, absl::Milliseconds(1));
  EXPECT_EQ(queue.size(), 1u);
  std::thread closer([&] { queue.Close(); });
  queue.Await(2, absl::Minutes(5));
  closer.join();
  EXPECT_EQ(queue.size(), 1u);
}

}  // namespace
}  // namespace postrider
