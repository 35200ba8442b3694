#include "src/delivery/webhook_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace postrider {
namespace {

// An empty queue gives back more room than this: there may be a hundred thousand of them.
constexpr size_t kKeptEntries = 64;

}  // namespace

OwedKey QueueKey::ToOwedKey() const {
  if (due_us == std::numeric_limits<int64_t>::min()) return {absl::InfinitePast(), DeliveryId{id}};
  return {due(), DeliveryId{id}};
}

WebhookQueue::Entries::iterator WebhookQueue::LowerBound(const QueueKey& key) {
  const auto first = entries_.begin() + begin_;
  // In order of arrival, mostly.
  if (first == entries_.end() || entries_.back().key < key) return entries_.end();
  return std::lower_bound(first, entries_.end(), key,
                          [](const Entry& entry, const QueueKey& k) { return entry.key < k; });
}

WebhookQueue::Entries::const_iterator WebhookQueue::After(const QueueKey& key) const {
  if (queued() == 0 || entries_.back().key <= key) return entries_.end();
  return std::upper_bound(entries_.begin() + begin_, entries_.end(), key,
                          [](const QueueKey& k, const Entry& entry) { return k < entry.key; });
}

size_t WebhookQueue::covered() const {
  return static_cast<size_t>(After(horizon_) - entries_.begin()) - begin_;
}

Item* WebhookQueue::FirstAfter(const QueueKey& key) const {
  const auto found = After(key);
  return found == entries_.end() ? nullptr : found->item;
}

Item* WebhookQueue::FindFirstPublished() const {
  REQUIRE(queued() > 0);
  const auto first = entries_.begin() + begin_;
  return std::min_element(first, entries_.end(),
                          [](const Entry& a, const Entry& b) { return a.key.id < b.key.id; })
      ->item;
}

Item* WebhookQueue::Find(DeliveryId id) const {
  const auto number = static_cast<int64_t>(id);
  if (number > last_id_) return nullptr;
  for (size_t i = begin_; i < entries_.size(); ++i) {
    if (entries_[i].key.id == number) return entries_[i].item;
  }
  for (Item* item = busy_list_; item != nullptr; item = item->next_busy_) {
    if (item->delivery.id == id) return item;
  }
  return nullptr;
}

void WebhookQueue::Push(Item* item) {
  REQUIRE(Covers(item->key));
  REQUIRE(Find(DeliveryId{item->key.id}) == nullptr);
  // Room at the front is reused when it is half of the vector, which makes a move cost O(1) each.
  if (begin_ > kKeptEntries && begin_ > entries_.size() / 2) {
    entries_.erase(entries_.begin(), entries_.begin() + begin_);
    begin_ = 0;
  }
  entries_.insert(LowerBound(item->key), {item->key, item});
  last_id_ = std::max(last_id_, item->key.id);
}

void WebhookQueue::Erase(Item* item) {
  if (entries_[begin_].item == item) {
    ++begin_;
  } else {
    entries_.erase(LowerBound(item->key));
  }
  if (begin_ < entries_.size()) return;
  entries_.clear();
  begin_ = 0;
  if (entries_.capacity() > kKeptEntries) Entries().swap(entries_);
}

void WebhookQueue::Take(Item* item) {
  REQUIRE(!item->busy);
  Erase(item);
  item->busy = true;
  item->prev_busy_ = nullptr;
  item->next_busy_ = busy_list_;
  if (busy_list_ != nullptr) busy_list_->prev_busy_ = item;
  busy_list_ = item;
  ++busy_;
}

void WebhookQueue::PutBack(Item* item, const QueueKey& key) {
  REQUIRE(Covers(key));
  Unlink(item);
  item->key = key;
  Push(item);
}

void WebhookQueue::Remove(Item* item) {
  Erase(item);
  // No row can tell that its due time is the new one.
  if (reading()) read_->gone[item->key.id] = std::numeric_limits<int>::max();
}

Item* WebhookQueue::EvictBack() {
  Item* const item = back();
  Erase(item);
  LeaveOnDisk(item->key);
  return item;
}

void WebhookQueue::Drop(Item* item, int attempts) {
  Unlink(item);
  if (reading()) read_->gone[item->key.id] = attempts;
}

void WebhookQueue::Unlink(Item* item) {
  REQUIRE(item->busy);
  Item*& link = item->prev_busy_ != nullptr ? item->prev_busy_->next_busy_ : busy_list_;
  link = item->next_busy_;
  if (item->next_busy_ != nullptr) item->next_busy_->prev_busy_ = item->prev_busy_;
  item->prev_busy_ = item->next_busy_ = nullptr;
  item->busy = false;
  --busy_;
}

void WebhookQueue::LeaveOnDisk(const QueueKey& key) {
  const QueueKey below = key == QueueKey::Min() ? key : key.Below();
  horizon_ = std::min(horizon_, below);
  if (reading()) read_->left_on_disk = std::min(read_->left_on_disk, key);
}

OwedKey WebhookQueue::BeginRead() {
  read_ = std::make_unique<Read>();
  return horizon_.ToOwedKey();
}

bool WebhookQueue::Knows(OwedDelivery& row, const absl::flat_hash_map<int64_t, Item*>& in_memory,
                         const Read& read) const {
  const auto number = static_cast<int64_t>(row.id);
  if (const auto found = in_memory.find(number); found != in_memory.end()) {
    Item* const item = found->second;
    // While it is under way a row can be of a retry only when it is due before.
    if (item->recording ? row.attempts > item->delivery.attempts
                        : item->busy && row.attempts == item->delivery.attempts &&
                              QueueKey::Of(row) < item->key) {
      item->retried = std::make_unique<OwedDelivery>(std::move(row));
    }
    return true;
  }
  const auto gone = read.gone.find(number);
  return gone != read.gone.end() && row.attempts < gone->second;
}

void WebhookQueue::EndRead(OwedPage page, absl::FunctionRef<Item*(OwedDelivery&&)> admit) {
  const auto read = std::move(read_);
  absl::flat_hash_map<int64_t, Item*> in_memory;
  in_memory.reserve(queued() + busy_);
  for (size_t i = begin_; i < entries_.size(); ++i) {
    in_memory.emplace(entries_[i].key.id, entries_[i].item);
  }
  for (Item* item = busy_list_; item != nullptr; item = item->next_busy_) {
    in_memory.emplace(item->key.id, item);
  }
  QueueKey horizon =
      page.complete || page.rows.empty() ? QueueKey::Max() : QueueKey::Of(page.rows.back());
  const QueueKey& left = read->left_on_disk;
  if (left != QueueKey::Max()) {
    horizon = std::min(horizon, left == QueueKey::Min() ? left : left.Below());
  }
  // Raised first, since `admit` may evict from this queue to make room, which lowers it again.
  horizon_ = horizon;
  for (OwedDelivery& row : page.rows) {
    const QueueKey key = QueueKey::Of(row);
    if (!Covers(key)) break;
    if (Knows(row, in_memory, *read)) continue;
    Item* const item = admit(std::move(row));
    if (item == nullptr) {
      LeaveOnDisk(key);
      break;
    }
    Push(item);
  }
}

}  // namespace postrider
