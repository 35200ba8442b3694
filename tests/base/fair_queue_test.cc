#include "src/base/fair_queue.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "src/base/clock.h"

namespace postrider {
namespace {

using Queue = FairQueue<std::unique_ptr<int>>;
constexpr int64_t kQuantum = 4;

bool Push(Queue& queue, const std::string& owner, int value, size_t weight = 1, int64_t cost = 1) {
  auto item = std::make_unique<int>(value);
  const bool pushed = queue.TryPush(owner, item, cost, weight);
  // What is refused is still the caller's.
  EXPECT_EQ(pushed, item == nullptr);
  return pushed;
}

std::vector<int> TakeAll(Queue& queue, size_t max = SIZE_MAX, bool own_first = true) {
  std::vector<int> values;
  while (values.size() < max) {
    const auto item = queue.Take(own_first);
    if (!item) break;
    values.push_back(**item);
  }
  return values;
}

TEST(FairQueueTest, GivesAllOfOneOwnerInOrder) {
  Queue queue(100, 100, kQuantum);
  std::vector<int> values;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(Push(queue, "a", i));
    values.push_back(i);
  }
  EXPECT_EQ(queue.size(), 10u);
  EXPECT_EQ(TakeAll(queue), values);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(FairQueueTest, ANewcomerIsServedAfterOneTurnOfEachOther) {
  Queue queue(1000, 1000, kQuantum);
  for (int i = 0; i < 100; ++i) Push(queue, "a", 100 + i);
  for (int i = 0; i < 100; ++i) Push(queue, "b", 200 + i);
  Push(queue, "c", 300);
  EXPECT_EQ(TakeAll(queue, 12),
            std::vector<int>({100, 101, 102, 103, 200, 201, 202, 203, 300, 104, 105, 106}));
}

TEST(FairQueueTest, WhoSpendsMoreThanHisTurnWaitsWhileOthersWant) {
  Queue queue(1000, 1000, kQuantum);
  for (int i = 0; i < 3; ++i) Push(queue, "big", 100 + i, 1, 10);
  for (int i = 0; i < 12; ++i) Push(queue, "small", i);
  // One of the big costs two and a half turns.
  EXPECT_EQ(TakeAll(queue),
            std::vector<int>({100, 0, 1, 2, 3, 4, 5, 6, 7, 101, 8, 9, 10, 11, 102}));
  // What it cost is found out only when it is done.
  for (int i = 0; i < 3; ++i) Push(queue, "big", 100 + i);
  for (int i = 0; i < 12; ++i) Push(queue, "small", i);
  EXPECT_EQ(TakeAll(queue, 1), std::vector<int>({100}));
  queue.Charge("big", 9);
  EXPECT_EQ(TakeAll(queue, 9), std::vector<int>({0, 1, 2, 3, 4, 5, 6, 7, 101}));
}

TEST(FairQueueTest, WhoIsAloneOwesNothing) {
  Queue queue(1000, 1000, kQuantum);
  for (int i = 0; i < 100; ++i) Push(queue, "a", i, 1, 1000000);
  EXPECT_EQ(TakeAll(queue).size(), 100u);
}

TEST(FairQueueTest, WhatIsPutBackGoesBehindTheOthersOfItsOwner) {
  Queue queue(1000, 1000, kQuantum);
  Push(queue, "a", 1);
  Push(queue, "a", 2);
  Push(queue, "b", 3);
  auto half_done = queue.Take(true);
  queue.Close();
  queue.PutBack("a", *std::move(half_done), 10, 1, 1);
  EXPECT_EQ(TakeAll(queue), std::vector<int>({3, 2, 1}));
}

TEST(FairQueueTest, TheHousesOwnComesFirstWhenAskedFor) {
  Queue queue(1, 1, kQuantum);
  for (int i = 0; i < 3; ++i) {
    auto item = std::make_unique<int>(i);
    EXPECT_TRUE(queue.PushOwn(item));
  }
  // What is the house's own takes no room from the others.
  EXPECT_TRUE(Push(queue, "a", 10));
  EXPECT_EQ(TakeAll(queue, 1, /*own_first=*/true), std::vector<int>({0}));
  EXPECT_EQ(TakeAll(queue, 3, /*own_first=*/false), std::vector<int>({10, 1, 2}));
  queue.Close();
  auto item = std::make_unique<int>(1);
  EXPECT_FALSE(queue.PushOwn(item));
  EXPECT_NE(item, nullptr);
}

TEST(FairQueueTest, BoundsTheNumber) {
  Queue queue(2, 100, kQuantum);
  EXPECT_TRUE(Push(queue, "a", 1));
  EXPECT_TRUE(Push(queue, "a", 2));
  EXPECT_FALSE(Push(queue, "a", 3));
  EXPECT_FALSE(Push(queue, "b", 3));
  TakeAll(queue);
  EXPECT_TRUE(Push(queue, "a", 4));
}

TEST(FairQueueTest, BoundsTheWeight) {
  Queue queue(10, 80, kQuantum);
  EXPECT_TRUE(Push(queue, "a", 1, 40));
  EXPECT_FALSE(Push(queue, "a", 2, 41));
  EXPECT_TRUE(Push(queue, "a", 3, 30));
  EXPECT_FALSE(Push(queue, "a", 4, 1));
  // The first of an owner is taken, until the queue is full.
  EXPECT_TRUE(Push(queue, "b", 5, 30));
  EXPECT_FALSE(Push(queue, "c", 6, 1));
  TakeAll(queue);
  EXPECT_TRUE(Push(queue, "a", 7, 1000));
  EXPECT_FALSE(Push(queue, "b", 8, 1));
}

TEST(FairQueueTest, ANewcomerFindsRoomHoweverManyAnotherHasQueued) {
  Queue queue(800, 800, kQuantum);
  int first = 0;
  while (Push(queue, "first", 0)) ++first;
  EXPECT_EQ(first, 700);
  int second = 0;
  while (Push(queue, "second", 0)) ++second;
  EXPECT_GT(second, 80);
  EXPECT_TRUE(Push(queue, "third", 0));
}

TEST(FairQueueTest, CloseLetsTheRestBeTaken) {
  Queue queue(10, 100, kQuantum);
  Push(queue, "a", 1);
  queue.Close();
  queue.Close();
  EXPECT_FALSE(Push(queue, "a", 2));
  EXPECT_TRUE(queue.Wait(absl::InfiniteDuration()));
  EXPECT_EQ(TakeAll(queue).size(), 1u);
  EXPECT_FALSE(queue.Wait(absl::InfiniteDuration()));
}

TEST(FairQueueTest, ATimeoutPasses) {
  Queue queue(10, 100, kQuantum);
  const absl::Duration start = SystemClock().Monotonic();
  EXPECT_TRUE(queue.Wait(absl::Milliseconds(30)));
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_GE(SystemClock().Monotonic() - start, absl::Milliseconds(30));
}

TEST(FairQueueTest, APushWakesTheConsumer) {
  for (const absl::Duration timeout :
       {absl::Hours(1), absl::Hours(24 * 365 * 1000), absl::InfiniteDuration()}) {
    Queue queue(10, 100, kQuantum);
    std::thread producer([&] { Push(queue, "a", 7); });
    EXPECT_TRUE(queue.Wait(timeout));
    producer.join();
    EXPECT_EQ(TakeAll(queue), std::vector<int>({7}));
  }
}

TEST(FairQueueTest, CloseWakesTheConsumer) {
  Queue queue(10, 100, kQuantum);
  std::thread closer([&] { queue.Close(); });
  EXPECT_FALSE(queue.Wait(absl::InfiniteDuration()));
  closer.join();
}

TEST(FairQueueTest, NothingIsLostOrReordered) {
  constexpr int kProducers = 3;
  constexpr int kConsumers = 2;
  constexpr int kEach = 3000;
  FairQueue<std::pair<int, int>> queue(50, 1000, kQuantum);
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach;) {
        std::pair<int, int> item(p, i);
        if (queue.TryPush(std::to_string(p), item, 1, 3)) {
          ++i;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  std::thread closer([&] {
    for (auto& producer : producers) producer.join();
    queue.Close();
  });
  std::atomic<int> taken{0};
  std::vector<std::thread> consumers;
  for (int c = 0; c < kConsumers; ++c) {
    consumers.emplace_back([&] {
      std::map<int, int> last;
      while (queue.Wait(absl::InfiniteDuration())) {
        const auto item = queue.Take(true);
        if (!item) continue;
        ++taken;
        int& before = last.try_emplace(item->first, -1).first->second;
        EXPECT_LT(std::exchange(before, item->second), item->second);
      }
    });
  }
  closer.join();
  for (std::thread& consumer : consumers) consumer.join();
  EXPECT_EQ(taken, kProducers * kEach);
}

TEST(FairQueueTest, AwaitWaitsUntilThereAreEnough) {
  FairQueue<int> queue(1000, 1000, kQuantum);
  std::thread producer([&] {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(queue.TryPush("a", i, 1, 1));
  });
  queue.Await(100, absl::Minutes(5));
  EXPECT_EQ(queue.size(), 100u);
  producer.join();
  while (queue.Take(true)) {
  }
  // One item is enough again for who takes what there is.
  std::thread late([&] {
    int item = 1;
    ASSERT_TRUE(queue.TryPush("a", item, 1, 1));
  });
  EXPECT_TRUE(queue.Wait(absl::Minutes(5)));
  EXPECT_EQ(queue.size(), 1u);
  late.join();
}

TEST(FairQueueTest, AwaitEndsWithItsTimeAndWithTheQueue) {
  FairQueue<int> queue(10, 10, kQuantum);
  int item = 1;
  ASSERT_TRUE(queue.TryPush("a", item, 1, 1));
  queue.Await(2, absl::Milliseconds(1));
  EXPECT_EQ(queue.size(), 1u);
  std::thread closer([&] { queue.Close(); });
  queue.Await(2, absl::Minutes(5));
  closer.join();
  EXPECT_EQ(queue.size(), 1u);
}

}  // namespace
}  // namespace postrider
