#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/outbox/outbox.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/delivery_rows.h"
#include "src/outbox/sqlite/delivery_spans.h"
#include "src/outbox/sqlite/id_epochs.h"
#include "src/outbox/sqlite/webhook_rows.h"

namespace postrider {

// A read-only connection with its prepared statements. It never checkpoints, and its transactions
// are short: the log cannot begin anew while one is open. Not thread-safe: one thread at a time.
class ReadSession {
 public:
  // Rows that one page looks at, and bytes of bodies that it holds.
  static constexpr int kMaxRowsLookedAt = 10000;
  static constexpr size_t kMaxPageBytes = size_t{2} << 20;

  static absl::StatusOr<std::unique_ptr<ReadSession>> Open(const std::string& path,
                                                           const std::string& vfs);

  ReadSession(const ReadSession&) = delete;
  ReadSession& operator=(const ReadSession&) = delete;

  // What the reads of Outbox answer.
  absl::StatusOr<OwedPage> ReadOwed(WebhookId webhook, OwedKey after, int limit, size_t max_bytes);
  absl::StatusOr<std::vector<StartingWebhook>> LoadWebhooks();
  absl::StatusOr<Webhook> GetWebhook(const std::string& tenant, const std::string& name);
  absl::StatusOr<WebhookPage> ListWebhooks(const std::string& tenant, const std::string& after,
                                           int limit);
  absl::StatusOr<Notification> GetNotification(const std::string& tenant, NotificationId id);
  absl::StatusOr<NotificationPage> ListNotifications(const NotificationFilter& filter);
  absl::StatusOr<DeliveryWithAttempts> GetDelivery(const std::string& tenant, DeliveryId id);
  absl::StatusOr<DeliveryPage> ListDeliveries(const DeliveryFilter& filter);

  // How SQLite runs the statements of ReadOwed, for a test that they use the index.
  absl::StatusOr<std::string> ExplainReadOwed();

 private:
  class Transaction;
  using IdRange = IdEpochs::Range;

  // One call of ListNotifications.
  struct NotificationWalk {
    const NotificationFilter& filter;
    int64_t tenant_id;
    int looked_at = 0;
    size_t bytes = 0;
  };
  // One call of ListDeliveries.
  struct DeliveryWalk {
    const DeliveryFilter& filter;
    int64_t tenant_id;
    // Those of the name that was asked for; empty: all.
    std::vector<WebhookId> webhooks;
    std::unordered_map<WebhookId, bool> of_tenant;
    // In rows.
    int looked_at = 0;
  };

  explicit ReadSession(Database db) : db_(std::move(db)) {}
  absl::Status Prepare();
  static absl::Status AddOwed(Statement& row, WebhookId webhook, int limit, size_t max_bytes,
                              size_t* bytes, OwedPage* page);
  absl::StatusOr<int64_t> TenantId(const std::string& tenant);
  // The numbers that were given out in a range of time, and are below `before`; the newest first.
  absl::StatusOr<std::vector<IdRange>> RangesOf(absl::Time start, absl::Time end,
                                                std::optional<int64_t> before);
  // Adds what matches in the range to the page, backwards. True when that is full or enough was
  // looked at.
  absl::StatusOr<bool> AddNotifications(const IdRange& range, NotificationWalk* walk,
                                        NotificationPage* page);
  absl::Status NarrowToNotification(NotificationId id, int64_t tenant_id,
                                    std::vector<IdRange>* ranges);
  absl::StatusOr<bool> WebhookIsOf(WebhookId id, int64_t tenant_id,
                                   std::unordered_map<WebhookId, bool>* known);
  // Adds what matches in the range to the page, backwards. True when that is full or enough was
  // looked at.
  absl::StatusOr<bool> AddDeliveries(const IdRange& range, DeliveryWalk* walk, DeliveryPage* page);
  // The same for one webhook, by spans.
  absl::StatusOr<bool> AddBySpans(IdRange range, DeliveryWalk* walk, DeliveryPage* page);

  Database db_;
  WebhookReader webhooks_;
  DeliveryReader deliveries_;
  SpanReader spans_;
  Statement begin_;
  Statement commit_;
  Statement tenant_;
  Statement webhook_there_;
  Statement webhook_tenant_;
  Statement is_owed_;
  Statement epochs_;
  Statement owed_at_same_time_;
  Statement owed_later_;
  Statement notification_;
  Statement list_notifications_;
  Statement notification_deliveries_;
  Statement list_deliveries_;
};

}  // namespace postrider
