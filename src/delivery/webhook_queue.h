#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "src/base/require.h"
#include "src/outbox/types.h"

namespace postrider {

struct WebhookState;

// OwedKey in plain numbers: microseconds since 1970, which is what the outbox keeps, and the id.
struct QueueKey {
  int64_t due_us = std::numeric_limits<int64_t>::min();
  int64_t id = 0;

  static QueueKey Of(const OwedDelivery& delivery) {
    return {absl::ToUnixMicros(delivery.due), static_cast<int64_t>(delivery.id)};
  }
  static constexpr QueueKey Min() { return {}; }
  static constexpr QueueKey Max() {
    return {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max()};
  }
  // The greatest key that is less. REQUIRES: a key of a delivery.
  QueueKey Below() const { return {due_us, id - 1}; }
  absl::Time due() const { return absl::FromUnixMicros(due_us); }
  OwedKey ToOwedKey() const;

  auto operator<=>(const QueueKey&) const = default;
};

// A delivery in memory. Lives in QueueMemory's pool; in a queue, or busy.
struct Item {
  OwedDelivery delivery;
  // What it stands under in the queue, and on disk.
  QueueKey key;
  WebhookState* webhook = nullptr;
  // What it counts towards the memory bound.
  size_t cost = 0;
  // When its last attempt began; steady, and InfinitePast before the first in this process.
  absl::Time start = absl::InfinitePast();
  // The configuration that the attempt was made with.
  std::shared_ptr<const Webhook> sent;
  // The attempt began while its webhook was probed; before the delivery was due.
  bool probe = false;
  bool early = false;
  // An early try since an outage is over; it has taken credit (early_credit.h).
  bool catch_up = false;
  bool busy = false;
  // The transport has answered; the outcome is on its way to the disk.
  bool recording = false;
  // What a caller's retry made of it while the outcome was on its way.
  std::unique_ptr<OwedDelivery> retried;

 private:
  friend class WebhookQueue;
  Item* next_busy_ = nullptr;
  Item* prev_busy_ = nullptr;
};

// The part of a webhook's pending deliveries that is in memory, and the knowledge of what is not.
//
// All are on disk. The *horizon* divides them: every pending delivery whose key is not beyond it is
// in memory, queued or busy (under way, or its outcome being recorded). Of those beyond some may be
// in memory, too. So whoever leaves a delivery on disk, for whatever reason, lowers the
// horizon below it, and only the answer of a read raises it. While a read is outstanding there are
// two things that its answer cannot know, and they are remembered here: the least key that was left
// on disk since, and the deliveries that left memory since, of which it may have an old row.
//
// The queue is a sorted vector: most arrive in the order of their keys, and it is short (its bound
// is EngineOptions::max_queued_per_webhook), so that the rare insertion in its middle is a small
// move.
//
// Knows nothing of time, of memory bounds and of the outbox. Does not own the items. Not
// thread-safe.
class WebhookQueue {
 public:
  // `complete`: nothing is owed on disk that will not be told of.
  explicit WebhookQueue(bool complete) : horizon_(complete ? QueueKey::Max() : QueueKey::Min()) {}

  size_t queued() const { return entries_.size() - begin_; }
  size_t busy() const { return busy_; }
  bool empty() const { return queued() == 0 && busy_ == 0; }
  const QueueKey& horizon() const { return horizon_; }
  bool complete() const { return horizon_ == QueueKey::Max(); }
  // Of those that are queued, how many are not beyond the horizon.
  size_t covered() const;
  // Whether a delivery of this key must be in memory.
  bool Covers(const QueueKey& key) const { return key <= horizon_; }

  // The least and the greatest key. REQUIRES: queued() > 0.
  Item* front() const { return at(0); }
  Item* back() const { return at(queued() - 1); }
  // In the order of the keys. REQUIRES: index < queued().
  Item* at(size_t index) const {
    REQUIRE(index < queued());
    return entries_[begin_ + index].item;
  }
  // The queued one with the least key that is greater; null without one.
  Item* FirstAfter(const QueueKey& key) const;
  // The queued one that was published first. Looks at all. REQUIRES: queued() > 0.
  Item* FindFirstPublished() const;
  // The delivery if it is in memory, null otherwise. At once for one that is newer than all that
  // were seen before; otherwise it looks at all.
  Item* Find(DeliveryId id) const;

  // nowhere -> queued. REQUIRES: Covers(item->key), Find(item) is null.
  void Push(Item* item);
  // queued -> busy.
  void Take(Item* item);
  // busy -> queued, under another key. REQUIRES: Covers(key).
  void PutBack(Item* item, const QueueKey& key);
  // queued -> nowhere: it is about to come back under another key.
  void Remove(Item* item);
  // queued -> disk only: removes the greatest and returns it. REQUIRES: queued() > 0.
  Item* EvictBack();
  // busy -> nowhere: its outcome is on disk, or it was no attempt. When it is pending still,
  // LeaveOnDisk must follow. `attempts`: how many of it are on disk; a row that has fewer is old.
  void Drop(Item* item, int attempts);
  // A pending delivery of this key is not in memory.
  void LeaveOnDisk(const QueueKey& key);
  // Nothing is known of what is on disk any more.
  void LeaveAllOnDisk() { LeaveOnDisk(QueueKey::Min()); }

  // A read of what is beyond the horizon; one at a time. Returns its `after`.
  OwedKey BeginRead();
  bool reading() const { return read_ != nullptr; }
  // The read's answer. Calls `admit` for each row that is not in memory, in order, until it returns
  // null: then this row and the rest stay on disk. Pushes what it returns. A row that is newer than
  // the outcome which is being recorded of it becomes the item's `retried`.
  void EndRead(OwedPage page, absl::FunctionRef<Item*(OwedDelivery&&)> admit);
  // The read failed.
  void AbandonRead() { read_.reset(); }

 private:
  struct Entry {
    QueueKey key;
    Item* item;
  };
  struct Read {
    QueueKey left_on_disk = QueueKey::Max();
    // By number; the attempts that a row of it must have at least to be newer than that.
    absl::flat_hash_map<int64_t, int> gone;
  };

  using Entries = std::vector<Entry>;
  void Unlink(Item* item);
  // Whether the row is in memory, or older than what has become of it since.
  bool Knows(OwedDelivery& row, const absl::flat_hash_map<int64_t, Item*>& in_memory,
             const Read& read) const;
  Entries::iterator LowerBound(const QueueKey& key);
  // Where those with a greater key begin.
  Entries::const_iterator After(const QueueKey& key) const;
  void Erase(Item* item);

  // From begin_ on, in the order of the keys.
  Entries entries_;
  uint32_t begin_ = 0;
  uint32_t busy_ = 0;
  Item* busy_list_ = nullptr;
  QueueKey horizon_;
  int64_t last_id_ = 0;
  std::unique_ptr<Read> read_;
};

}  // namespace postrider
