#pragma once

#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include "src/base/ids.h"
#include "src/outbox/types.h"

namespace postrider {

// A webhook is gone.
struct WebhookDeleted {
  WebhookId id{};
};

// What a transaction did, for the metrics.
struct TransactionCounts {
  uint64_t notifications = 0;
  uint64_t duplicates = 0;
  uint64_t deliveries = 0;
  uint64_t refused = 0;
  uint64_t outcomes = 0;
  uint64_t cancelled = 0;
  uint64_t expired = 0;
  uint64_t aged = 0;
  // Deliveries that had ended, and are owed again.
  uint64_t reopened = 0;
};

// What the listener is to hear of a transaction once it is committed, in the order of what
// happened. All deliveries that become owed between two changes of webhooks are told at once. Not
// thread-safe.
class Effects {
 public:
  using Event = std::variant<std::vector<OwedDelivery>, Webhook, WebhookDeleted>;

  // Where the next deliveries that become owed are put.
  std::vector<OwedDelivery>& owed() {
    if (events_.empty() || !std::holds_alternative<std::vector<OwedDelivery>>(events_.back())) {
      events_.emplace_back(std::vector<OwedDelivery>());
    }
    return std::get<std::vector<OwedDelivery>>(events_.back());
  }
  void Changed(Webhook webhook) { events_.emplace_back(std::move(webhook)); }
  void Deleted(WebhookId id) { events_.emplace_back(WebhookDeleted{id}); }

  std::vector<Event>& events() { return events_; }
  TransactionCounts& counts() { return counts_; }
  // Owed deliveries that a sweep ended, by webhook.
  std::vector<std::pair<WebhookId, int64_t>>& swept() { return swept_; }

 private:
  std::vector<Event> events_;
  TransactionCounts counts_;
  std::vector<std::pair<WebhookId, int64_t>> swept_;
};

}  // namespace postrider
