#include "src/delivery/webhook_queue.h"

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "src/base/random.h"

namespace postrider {
namespace {

OwedDelivery Owed(int64_t due_us, int64_t id) {
  OwedDelivery owed;
  owed.id = DeliveryId{id};
  owed.due = absl::FromUnixMicros(due_us);
  return owed;
}

class WebhookQueueTest : public testing::Test {
 protected:
  Item* New(OwedDelivery delivery) {
    Item& item = items_.emplace_back();
    item.key = QueueKey::Of(delivery);
    item.delivery = std::move(delivery);
    return &item;
  }
  Item* New(int64_t due_us, int64_t id) { return New(Owed(due_us, id)); }

  // Answers a read with these rows, all of which are admitted.
  void Answer(WebhookQueue& queue, std::vector<OwedDelivery> rows, bool complete) {
    queue.EndRead({std::move(rows), complete}, [&](OwedDelivery&& row) { return New(row); });
  }

  std::deque<Item> items_;
};

TEST_F(WebhookQueueTest, KeepsTheOrderOfTheKeys) {
  WebhookQueue queue(true);
  for (const auto& [due, id] :
       std::vector<std::pair<int64_t, int64_t>>{{5, 2}, {1, 9}, {5, 1}, {9, 3}, {1, 4}}) {
    queue.Push(New(due, id));
  }
  EXPECT_EQ(queue.back()->key, (QueueKey{9, 3}));
  EXPECT_EQ(queue.FindFirstPublished()->key.id, 1);
  std::vector<int64_t> ids;
  while (queue.queued() > 0) {
    ids.push_back(queue.front()->key.id);
    queue.Take(queue.front());
  }
  EXPECT_EQ(ids, (std::vector<int64_t>{4, 9, 1, 2, 3}));
  EXPECT_EQ(queue.busy(), 5);
}

TEST_F(WebhookQueueTest, FindsWhatIsQueuedOrBusy) {
  WebhookQueue queue(true);
  Item* const a = New(1, 1);
  Item* const b = New(2, 2);
  queue.Push(a);
  queue.Push(b);
  queue.Take(a);
  EXPECT_EQ(queue.Find(DeliveryId{1}), a);
  EXPECT_EQ(queue.Find(DeliveryId{2}), b);
  EXPECT_EQ(queue.Find(DeliveryId{3}), nullptr);
  queue.Drop(a, 1);
  EXPECT_EQ(queue.Find(DeliveryId{1}), nullptr);
}

TEST_F(WebhookQueueTest, WhatGoesToDiskLowersTheHorizon) {
  WebhookQueue queue(true);
  EXPECT_TRUE(queue.complete());
  for (int64_t id = 1; id <= 3; ++id) queue.Push(New(10, id));
  EXPECT_EQ(queue.EvictBack()->key.id, 3);
  EXPECT_EQ(queue.horizon(), (QueueKey{10, 2}));
  EXPECT_TRUE(queue.Covers({10, 2}));
  EXPECT_FALSE(queue.Covers({10, 3}));
  EXPECT_FALSE(queue.Covers({11, 1}));
  queue.LeaveOnDisk({9, 7});
  EXPECT_EQ(queue.horizon(), (QueueKey{9, 6}));
  queue.LeaveOnDisk({12, 1});
  EXPECT_EQ(queue.horizon(), (QueueKey{9, 6})) << "it was beyond already";
}

TEST_F(WebhookQueueTest, AReadRaisesTheHorizon) {
  WebhookQueue queue(false);
  EXPECT_EQ(queue.BeginRead(), OwedKey()) << "from the beginning";
  EXPECT_TRUE(queue.reading());
  Answer(queue, {Owed(1, 1), Owed(2, 2)}, false);
  EXPECT_FALSE(queue.reading());
  EXPECT_EQ(queue.horizon(), (QueueKey{2, 2}));
  EXPECT_EQ(queue.queued(), 2);
  EXPECT_EQ(queue.BeginRead(), (OwedKey{absl::FromUnixMicros(2), DeliveryId{2}}));
  Answer(queue, {}, true);
  EXPECT_TRUE(queue.complete());
}

TEST_F(WebhookQueueTest, ARowThatIsInMemoryIsPassedOver) {
  WebhookQueue queue(true);
  queue.Push(New(1, 1));
  queue.Push(New(2, 2));
  queue.Take(queue.front());
  queue.LeaveAllOnDisk();
  queue.BeginRead();
  Answer(queue, {Owed(1, 1), Owed(2, 2), Owed(3, 3)}, true);
  EXPECT_EQ(queue.queued(), 2);
  EXPECT_EQ(queue.busy(), 1);
}

TEST_F(WebhookQueueTest, ARowThatWasRecordedDuringTheReadIsPassedOver) {
  WebhookQueue queue(true);
  Item* const item = New(1, 1);
  queue.Push(item);
  queue.Take(item);
  queue.LeaveOnDisk({2, 2});
  queue.BeginRead();
  queue.Drop(item, 1);
  Answer(queue, {Owed(1, 1), Owed(2, 2)}, true);
  EXPECT_EQ(queue.queued(), 1);
  EXPECT_EQ(queue.front()->key.id, 2);
  EXPECT_TRUE(queue.complete());
}

TEST_F(WebhookQueueTest, ARowThatIsNewerThanWhatWasRecordedCounts) {
  WebhookQueue queue(true);
  Item* const dead = New(1, 1);
  Item* const recording = New(1, 2);
  for (Item* const item : {dead, recording}) {
    queue.Push(item);
    queue.Take(item);
  }
  queue.LeaveAllOnDisk();
  queue.BeginRead();
  queue.Drop(dead, 1);
  recording->recording = true;
  // Both were retried by hand after their first attempt.
  OwedDelivery first = Owed(5, 1);
  OwedDelivery second = Owed(5, 2);
  first.attempts = second.attempts = 1;
  Answer(queue, {first, second}, true);
  ASSERT_EQ(queue.queued(), 1);
  EXPECT_EQ(queue.front()->key, (QueueKey{5, 1}));
  ASSERT_NE(recording->retried, nullptr);
  EXPECT_EQ(recording->retried->attempts, 1);
}

TEST_F(WebhookQueueTest, WhatIsLeftOnDiskDuringTheReadBoundsTheHorizon) {
  WebhookQueue queue(false);
  queue.BeginRead();
  queue.LeaveOnDisk({3, 3});
  Answer(queue, {Owed(1, 1), Owed(2, 2), Owed(4, 4)}, true);
  EXPECT_EQ(queue.horizon(), (QueueKey{3, 2}));
  EXPECT_EQ(queue.queued(), 2) << "what is beyond the horizon waits for its turn";
}

TEST_F(WebhookQueueTest, WhatIsNotAdmittedBoundsTheHorizon) {
  WebhookQueue queue(false);
  queue.BeginRead();
  int admitted = 0;
  queue.EndRead({{Owed(1, 1), Owed(2, 2), Owed(3, 3)}, true},
                [&](OwedDelivery&& row) { return ++admitted <= 2 ? New(row) : nullptr; });
  EXPECT_EQ(admitted, 3) << "not asked any more after a no";
  EXPECT_EQ(queue.horizon(), (QueueKey{3, 2}));
}

TEST_F(WebhookQueueTest, AFailedReadChangesNothing) {
  WebhookQueue queue(true);
  queue.Push(New(1, 1));
  queue.LeaveOnDisk({5, 5});
  queue.BeginRead();
  queue.LeaveOnDisk({4, 4});
  queue.AbandonRead();
  EXPECT_FALSE(queue.reading());
  EXPECT_EQ(queue.horizon(), (QueueKey{4, 3}));
  EXPECT_EQ(queue.queued(), 1);
}

TEST_F(WebhookQueueTest, LeavingAllOnDiskDuringAReadForgetsItsAnswer) {
  WebhookQueue queue(false);
  queue.BeginRead();
  queue.LeaveAllOnDisk();
  Answer(queue, {Owed(1, 1)}, true);
  EXPECT_EQ(queue.queued(), 0);
  EXPECT_EQ(queue.BeginRead(), OwedKey());
}

// The invariant itself: whatever is done, every pending delivery up to the horizon is in memory.
TEST_F(WebhookQueueTest, EverythingUpToTheHorizonIsInMemory) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const auto below = [&](int n) { return static_cast<int>(random.Next() % n); };
    WebhookQueue queue(true);
    std::map<int64_t, QueueKey> disk;  // what is pending
    std::vector<Item*> busy;
    std::optional<std::pair<OwedPage, int>> answer;
    int64_t next_id = 1;
    for (int i = 0; i < 400; ++i) {
      switch (below(7)) {
        case 0: {  // a publish
          const QueueKey key{below(50), next_id++};
          disk[key.id] = key;
          if (queue.Covers(key) && below(4) != 0) {
            queue.Push(New(key.due_us, key.id));
          } else {
            queue.LeaveOnDisk(key);
          }
          break;
        }
        case 1:
          if (queue.queued() > 0) {
            busy.push_back(queue.front());
            queue.Take(queue.front());
          }
          break;
        case 2:  // an outcome is recorded
          if (!busy.empty()) {
            Item* const item = busy.back();
            busy.pop_back();
            if (below(2) == 0) {
              disk.erase(item->key.id);
              queue.Drop(item, 1);
              break;
            }
            const QueueKey key{below(50), item->key.id};
            disk[key.id] = key;
            if (queue.Covers(key) && below(4) != 0) {
              queue.PutBack(item, key);
            } else {
              queue.Drop(item, 1);
              queue.LeaveOnDisk(key);
            }
          }
          break;
        case 3:
          if (queue.queued() > 0) queue.EvictBack();
          break;
        case 4:
          if (!queue.reading() && !queue.complete()) {
            // The disk as it is at some moment of the read.
            const OwedKey after = queue.BeginRead();
            std::set<QueueKey> keys;
            for (const auto& [id, key] : disk) {
              if (key.ToOwedKey() > after) keys.insert(key);
            }
            OwedPage page;
            for (const QueueKey& key : keys) {
              page.complete = page.rows.size() < 4;
              if (!page.complete) break;
              page.rows.push_back(Owed(key.due_us, key.id));
            }
            answer = {std::move(page), below(8)};
          }
          break;
        case 5:
          if (answer.has_value()) {
            int room = answer->second;
            queue.EndRead(std::move(answer->first), [&](OwedDelivery&& row) {
              return room-- > 0 ? New(std::move(row)) : nullptr;
            });
            answer.reset();
          }
          break;
        case 6:
          if (queue.queued() > 0 && below(4) == 0) {  // a retry by hand
            Item* const item = queue.back();
            const QueueKey key{below(50), item->key.id};
            queue.Remove(item);
            disk[key.id] = key;
            if (queue.Covers(key)) {
              queue.Push(New(key.due_us, key.id));
            } else {
              queue.LeaveOnDisk(key);
            }
          }
          break;
      }
      for (const auto& [id, key] : disk) {
        const Item* const item = queue.Find(DeliveryId{id});
        ASSERT_TRUE(item != nullptr || !queue.Covers(key)) << "lost " << id;
        ASSERT_TRUE(item == nullptr || item->busy || item->key == key);
      }
      ASSERT_EQ(queue.busy(), busy.size());
    }
    items_.clear();
  }
}

}  // namespace
}  // namespace postrider
