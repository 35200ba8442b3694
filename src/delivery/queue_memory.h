#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "src/delivery/webhook_queue.h"
#include "src/delivery/webhook_state.h"

namespace postrider {

// The memory that deliveries may take, and who gets it. While there is enough everybody may fill
// its queue. When it is used up a webhook that holds less than its share (the bound, divided by
// those that hold or wait for some) gets room from those that hold more: their last deliveries go
// back to the disk. They are found by a hand that goes round the holders a few at a time, so that
// no call walks over all of them.
//
// Owns the items, in a pool that is not given back. Not thread-safe.
class QueueMemory {
 public:
  // `evicted` is told of each webhook that lost deliveries to another one: somebody must see to it
  // that it reads them again some time.
  QueueMemory(size_t max_bytes, const Moment& now, absl::AnyInvocable<void(WebhookState&)> evicted);

  // Where room may come from when memory is used up, besides what comes later of the same webhook.
  enum class Room {
    kFree,    // nowhere else
    kShare,   // from others, up to a share
    kAlways,  // the bound on bytes does not count
  };

  // Takes the delivery into memory, under its key. Null, and `delivery` untouched, when there is no
  // room for it, or when `capacity` deliveries of this webhook are queued that come before it.
  Item* Admit(WebhookState& webhook, OwedDelivery& delivery, size_t capacity, Room room);
  // Ends an item that is in no queue any more.
  void Release(Item* item);
  // Sends the last deliveries of the queue to the disk until `count` are left.
  void EvictTo(WebhookState& webhook, size_t count);

  // Room for a read: at least a share, at most `want`, which no other read gets until it is given
  // back. 0 when there is none. REQUIRES: room is not kAlways.
  size_t Reserve(size_t want, Room room);
  void Unreserve(size_t bytes) { reserved_ -= bytes; }

  // How many webhooks wait for memory, for the share.
  void SetWaiting(size_t count) { waiting_ = count; }

  size_t used() const { return used_; }
  size_t items() const { return items_; }
  // Little is left: what is not needed at once should stay on disk.
  bool tight() const { return used_ > max_bytes_ / 2; }

  static size_t CostOf(const OwedDelivery& delivery);

 private:
  size_t Share() const;
  bool Fits(size_t bytes) const {
    return used_ + reserved_ + bytes <= max_bytes_ || used_ + reserved_ == 0;
  }
  // Takes from those that hold more than their share until `bytes` fit; looks at a few of them.
  bool TakeFromGreedy(size_t bytes, const WebhookState* but);
  void EvictBack(WebhookState& webhook) { Release(webhook.queue.EvictBack()); }
  Item* Allocate();

  const size_t max_bytes_;
  const Moment& now_;
  absl::AnyInvocable<void(WebhookState&)> evicted_;
  size_t used_ = 0;
  size_t items_ = 0;
  size_t reserved_ = 0;
  size_t waiting_ = 0;
  // Those with memory_bytes > 0.
  std::vector<WebhookState*> holders_;
  size_t hand_ = 0;
  std::vector<std::unique_ptr<Item[]>> blocks_;
  std::vector<Item*> free_;
};

}  // namespace postrider
