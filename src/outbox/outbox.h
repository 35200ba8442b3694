#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/ids.h"
#include "src/outbox/types.h"

namespace postrider {

// A notification and its deliveries are one transaction, and one call does not take for ever.
inline constexpr size_t kMaxDeliveriesPerNotification = 100000;
inline constexpr size_t kMaxDeliveriesPerCall = 1000000;

// Hears what was committed, so that it is known in memory without being read back. The calls come
// one at a time, in the order of the commits, before the callers of those commits are answered.
// They must be quick and must not block.
class OutboxListener {
 public:
  virtual ~OutboxListener() = default;

  // Deliveries that became pending: published, or retried by a caller. Takes the rows.
  virtual void OnOwed(std::vector<OwedDelivery> deliveries) = 0;
  // A webhook was created or changed.
  virtual void OnWebhookChanged(const Webhook& webhook) = 0;
  virtual void OnWebhookDeleted(WebhookId id) = 0;
};

// A webhook as the engine needs it at the start.
struct StartingWebhook {
  Webhook webhook;
  // Something is owed to it.
  bool owed = false;
};

// The durable store of webhooks, notifications, deliveries and attempts.
//
// Thread-safe. Every call returns at once, without having waited for the disk, and calls `done`
// exactly once, later, on a thread of the outbox's own (never inside the call). `done` must be
// quick and must not block. An OK from a write means that it is durable: it outlives a power cut.
// An error means that nothing of it was stored, except that UNKNOWN (the disk failed at the commit)
// leaves open whether the write is there after the restart, and that Publish may have stored some.
//
// Errors that every write can have:
//
//   RESOURCE_EXHAUSTED  the queue is full, the outbox has reached its bound, or the disk is
//                       full: try again later. Not from RecordOutcomes, but for a full disk.
//   UNAVAILABLE         the outbox is shutting down.
//   UNKNOWN             the disk failed: see above. The outbox takes no more writes, and has
//                       said so to its owner.
class Outbox {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>) &&>;
  using StatusDone = absl::AnyInvocable<void(absl::Status) &&>;

  // Given the webhook as it is (nothing when there is none), tells what it shall be (nothing:
  // deleted). An error leaves it as it is and becomes the call's answer. Runs between two other
  // writes; must be quick. May run again when the commit is repeated.
  using Modify = absl::AnyInvocable<absl::StatusOr<std::optional<Webhook>>(std::optional<Webhook>)>;

  virtual ~Outbox() = default;

  // Turns ids into text and back.
  virtual const IdCodec& ids() const = 0;

  // ---- Writes

  // Stores each notification, with a delivery due at once for every enabled webhook of its tenant
  // that wants its type, in one transaction; many notifications may take several, with the writes
  // of others between them. So when the call fails, some of them may be stored. The results stand
  // in the order of the notifications. A notification fails alone with NOT_FOUND (the tenant is
  // unknown: no webhook was ever configured for it, and it is not `default`), ALREADY_EXISTS (its
  // key is known with another type or body) or FAILED_PRECONDITION (it owes more than
  // kMaxDeliveriesPerNotification). The call fails, with nothing stored, with FAILED_PRECONDITION
  // when it owes more than kMaxDeliveriesPerCall.
  virtual void Publish(std::vector<NewNotification> notifications,
                       Done<std::vector<absl::StatusOr<Published>>> done) = 0;

  // Reads, changes and writes one webhook in one transaction. Answers the webhook as it is now, or
  // as it was before it was deleted. A deleted webhook's deliveries become CANCELLED, some time
  // after. Creating a webhook makes its tenant known.
  virtual void ModifyWebhook(std::string tenant, std::string name, Modify modify,
                             Done<Webhook> done) = 0;

  // Disables the webhook, unless it is gone or has been changed since `version`; then OK all the
  // same, since its owner has decided.
  virtual void DisableWebhook(WebhookId id, int64_t version, std::string reason,
                              StatusDone done) = 0;

  // Records attempts and what their deliveries become, all in one transaction. A delivery that is
  // no longer pending keeps its state, unless the attempt succeeded: then it is DELIVERED. Outcomes
  // of deliveries that are gone are passed over.
  virtual void RecordOutcomes(OutcomeBatch batch, StatusDone done) = 0;

  // Makes a DEAD or CANCELLED delivery PENDING and due now, with a fresh budget; makes a PENDING
  // one due now unless it is due already: then it keeps its place in the queue. NOT_FOUND when the
  // tenant has none of that id; FAILED_PRECONDITION when it was delivered or its webhook is
  // deleted.
  virtual void RetryDelivery(std::string tenant, DeliveryId id, Done<Delivery> done) = 0;

  // ---- Reads. They see every write whose `done` was called before.

  // The webhook's pending deliveries whose key is greater than `after`, in the order of their keys:
  // at most `limit` rows, and at most `max_bytes` of bodies (but one row at least).
  virtual void ReadOwed(WebhookId webhook, OwedKey after, int limit, size_t max_bytes,
                        Done<OwedPage> done) = 0;

  // All webhooks, for the start.
  virtual void LoadWebhooks(Done<std::vector<StartingWebhook>> done) = 0;

  // NOT_FOUND when there is none.
  virtual void GetWebhook(std::string tenant, std::string name, Done<Webhook> done) = 0;
  // By name, after `after`. A page may be shorter than `limit`, for its bytes, while there is more.
  // NOT_FOUND when the tenant is unknown.
  virtual void ListWebhooks(std::string tenant, std::string after, int limit,
                            Done<WebhookPage> done) = 0;
  // NOT_FOUND when the tenant has none of that id.
  virtual void GetNotification(std::string tenant, NotificationId id, Done<Notification> done) = 0;
  // The newest first. NOT_FOUND when the tenant is unknown.
  virtual void ListNotifications(NotificationFilter filter, Done<NotificationPage> done) = 0;
  // NOT_FOUND when the tenant has none of that id.
  virtual void GetDelivery(std::string tenant, DeliveryId id, Done<DeliveryWithAttempts> done) = 0;
  // The newest first. Of a name also those of webhooks that had it before they were deleted.
  // NOT_FOUND when the tenant is unknown, or no webhook has that name or had it.
  virtual void ListDeliveries(DeliveryFilter filter, Done<DeliveryPage> done) = 0;
};

}  // namespace postrider
