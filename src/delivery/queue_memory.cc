#include "src/delivery/queue_memory.h"

#include <algorithm>
#include <utility>

#include "src/base/require.h"

namespace postrider {
namespace {

constexpr size_t kItemsPerBlock = 64;
// The string and the control block of the body, the queue's entry and the allocator's own.
constexpr size_t kOverhead = sizeof(Item) + 128;
// How many holders one call looks at.
constexpr int kLooks = 16;
// What is due later can be read again in time.
constexpr absl::Duration kSoon = absl::Seconds(1);

}  // namespace

QueueMemory::QueueMemory(size_t max_bytes, const Moment& now,
                         absl::AnyInvocable<void(WebhookState&)> evicted)
    : max_bytes_(max_bytes), now_(now), evicted_(std::move(evicted)) {}

size_t QueueMemory::CostOf(const OwedDelivery& delivery) {
  return delivery.body->size() + kOverhead;
}

size_t QueueMemory::Share() const {
  return max_bytes_ / std::max<size_t>(holders_.size() + waiting_, 1);
}

Item* QueueMemory::Admit(WebhookState& webhook, OwedDelivery& delivery, size_t capacity,
                         Room room) {
  const QueueKey key = QueueKey::Of(delivery);
  const size_t cost = CostOf(delivery);
  WebhookQueue& queue = webhook.queue;
  if (queue.queued() >= capacity) {
    if (capacity == 0 || queue.back()->key < key) return nullptr;
    EvictBack(webhook);
  }
  if (room != Room::kAlways && !Fits(cost)) {
    if (room == Room::kShare && webhook.memory_bytes + cost <= Share()) {
      TakeFromGreedy(cost, &webhook);
    }
    // What comes later of the same webhook makes room, whatever its share.
    while (!Fits(cost) && queue.queued() > 0 && key < queue.back()->key) EvictBack(webhook);
    if (!Fits(cost)) return nullptr;
  }
  Item* const item = Allocate();
  item->delivery = std::move(delivery);
  item->key = key;
  item->webhook = &webhook;
  item->cost = cost;
  if (webhook.memory_bytes == 0) {
    webhook.holder_index = holders_.size();
    holders_.push_back(&webhook);
  }
  webhook.memory_bytes += cost;
  used_ += cost;
  ++items_;
  return item;
}

void QueueMemory::Release(Item* item) {
  WebhookState& webhook = *item->webhook;
  used_ -= item->cost;
  --items_;
  webhook.memory_bytes -= item->cost;
  if (webhook.memory_bytes == 0) {
    holders_.back()->holder_index = webhook.holder_index;
    holders_[webhook.holder_index] = holders_.back();
    holders_.pop_back();
  }
  item->delivery.body.reset();
  item->retried.reset();
  item->sent.reset();
  free_.push_back(item);
}

void QueueMemory::EvictTo(WebhookState& webhook, size_t count) {
  while (webhook.queue.queued() > count) EvictBack(webhook);
}

bool QueueMemory::TakeFromGreedy(size_t bytes, const WebhookState* but) {
  for (int i = 0; i < kLooks && !Fits(bytes) && !holders_.empty(); ++i) {
    hand_ = hand_ + 1 < holders_.size() ? hand_ + 1 : 0;
    WebhookState& webhook = *holders_[hand_];
    if (&webhook == but || webhook.queue.queued() == 0) continue;
    // One stays with those that are about to send it, or a tiny share would be read in vain.
    const bool active = webhook.queue.front()->key.due() <= now_.steady + kSoon &&
                        webhook.held_until() <= now_.mono;
    const size_t keep = active ? 1 : 0;
    const size_t before = webhook.queue.queued();
    // `Share` grows when a holder has nothing left.
    while (!Fits(bytes) && webhook.queue.queued() > keep &&
           (!active || webhook.memory_bytes > Share())) {
      EvictBack(webhook);
    }
    if (webhook.queue.queued() < before) evicted_(webhook);
  }
  return Fits(bytes);
}

size_t QueueMemory::Reserve(size_t want, Room room) {
  REQUIRE(room != Room::kAlways);
  const size_t least = std::min(want, std::max<size_t>(Share(), 1));
  if (!Fits(least) && (room == Room::kFree || !TakeFromGreedy(least, nullptr))) return 0;
  const size_t taken = used_ + reserved_;
  const size_t free = max_bytes_ > taken ? max_bytes_ - taken : 0;
  const size_t granted = std::clamp(free, least, want);
  reserved_ += granted;
  return granted;
}

Item* QueueMemory::Allocate() {
  if (free_.empty()) {
    blocks_.push_back(std::make_unique<Item[]>(kItemsPerBlock));
    for (size_t i = kItemsPerBlock; i-- > 0;) free_.push_back(&blocks_.back()[i]);
  }
  Item* const item = free_.back();
  free_.pop_back();
  item->busy = item->recording = item->probe = item->early = item->catch_up = false;
  item->start = absl::InfinitePast();
  return item;
}

}  // namespace postrider
