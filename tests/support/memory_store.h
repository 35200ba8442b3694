#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/ids.h"
#include "src/outbox/outbox.h"
#include "src/outbox/types.h"

namespace postrider {

// What a MemoryOutbox has on its "disk": the rows, and what each call of the outbox does to them,
// at once and without a queue. It outlives the outbox, so that a test ends one, as a crash does,
// and opens the next over the same store.
//
// Each write is a transaction: on an error nothing has changed. `listener` may be null.
// Not thread-safe.
class MemoryStore {
 public:
  explicit MemoryStore(uint64_t instance = 0x5eed) : ids_(instance) {}

  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  const IdCodec& ids() const { return ids_; }
  size_t notification_count() const { return notifications_.size(); }
  // As kMaxDeliveriesPerNotification, for tests that have no time to owe so many.
  void SetMaxDeliveriesPerNotification(size_t max) { max_per_notification_ = max; }

  std::vector<absl::StatusOr<Published>> Publish(const std::vector<NewNotification>& notifications,
                                                 absl::Time now, absl::Time due,
                                                 OutboxListener* listener);
  absl::StatusOr<Webhook> ModifyWebhook(const std::string& tenant, const std::string& name,
                                        Outbox::Modify& modify, absl::Time now,
                                        OutboxListener* listener);
  void DisableWebhook(WebhookId id, int64_t version, const std::string& reason, absl::Time now,
                      OutboxListener* listener);
  void RecordOutcomes(const OutcomeBatch& batch, absl::Time now);
  absl::StatusOr<Delivery> RetryDelivery(const std::string& tenant, DeliveryId id, absl::Time now,
                                         OutboxListener* listener);
  // What the outbox does "some time after": cancels what is owed to webhooks that are gone, and
  // ends what is owed to disabled ones when its age is spent.
  void SweepOwed(absl::Time now);
  // What the outbox does when it is opened after the wall clock was set by `offset`.
  void Rebase(absl::Duration offset);

  OwedPage ReadOwed(WebhookId webhook, OwedKey after, int limit, size_t max_bytes) const;
  std::vector<StartingWebhook> LoadWebhooks() const;
  absl::StatusOr<Webhook> GetWebhook(const std::string& tenant, const std::string& name) const;
  absl::StatusOr<WebhookPage> ListWebhooks(const std::string& tenant, const std::string& after,
                                           int limit) const;
  absl::StatusOr<Notification> GetNotification(const std::string& tenant, NotificationId id) const;
  absl::StatusOr<NotificationPage> ListNotifications(const NotificationFilter& filter) const;
  absl::StatusOr<DeliveryWithAttempts> GetDelivery(const std::string& tenant, DeliveryId id) const;
  absl::StatusOr<DeliveryPage> ListDeliveries(const DeliveryFilter& filter) const;

 private:
  struct NotificationRow {
    Notification notification;  // without its body
    std::shared_ptr<const std::string> body;
  };
  struct DeliveryRow {
    Delivery delivery;
    int budget_attempts = 0;
    absl::Time budget_start = absl::InfiniteFuture();
    std::map<int, Attempt> attempts;
  };

  // Of one that is disabled.
  void EndSpent(const Webhook& webhook, absl::Time now);
  absl::StatusOr<Published> PublishOne(const NewNotification& notification, absl::Time now,
                                       absl::Time due, std::vector<OwedDelivery>* owed);
  void RecordOutcome(const AttemptOutcome& outcome, absl::Time now);
  OwedDelivery Owed(const DeliveryRow& row) const;
  // Ends the delivery, or keeps it pending with another due time; keeps owed_ true to it.
  void SetState(DeliveryRow& row, DeliveryState state, absl::Time due, absl::Time now,
                EndReason reason = EndReason::kNone);
  Webhook* FindWebhook(const std::string& tenant, const std::string& name);
  const Webhook* FindWebhook(const std::string& tenant, const std::string& name) const;
  absl::Status CheckTenant(const std::string& tenant) const;

  const IdCodec ids_;
  IdSequence webhook_ids_{0};
  IdSequence notification_ids_{0};
  IdSequence delivery_ids_{0};
  int64_t last_version_ = 0;
  size_t max_per_notification_ = kMaxDeliveriesPerNotification;
  std::set<std::string> tenants_{"default"};
  std::map<WebhookId, Webhook> webhooks_;
  std::map<WebhookId, absl::Time> disabled_since_;
  std::map<NotificationId, NotificationRow> notifications_;
  // By tenant and key.
  std::map<std::pair<std::string, std::string>, NotificationId> keys_;
  std::map<DeliveryId, DeliveryRow> deliveries_;
  // The pending deliveries. A webhook that is gone stays until SweepOwed.
  std::map<WebhookId, std::set<OwedKey>> owed_;
};

}  // namespace postrider
