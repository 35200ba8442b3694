#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/clock.h"
#include "src/outbox/outbox.h"
#include "src/outbox/sqlite/options.h"

namespace postrider {

// The outbox in one SQLite file, for one process: it holds the data directory against others.
//
//   callers --> queue --> writer --> completion --> listener, then each `done`
//   callers --> queue --> readers --> `done`
//
// One thread writes, on the only read-write connection, and makes every checkpoint: Debian's SQLite
// has the WAL-reset bug (fixed in 3.51.3), which can lose commits when two connections do. What
// waits is done in one transaction with synchronous=FULL; after it OnOwed tells all its deliveries,
// before any `done` of it and of later ones. Times are kept to the microsecond.
//
// Thread-safe, but Close and the destructor are for the owner. Clock and listener must outlive it.
class SqliteOutbox final : public Outbox {
 public:
  // Called once, on a thread of the outbox, when the disk failed: the process should end, and be
  // started again. It must not destroy the outbox.
  using OnFatal = absl::AnyInvocable<void(absl::Status) &&>;

  // Opens the data directory, or makes it. The listener may be null. Errors, each with what to do:
  //   INVALID_ARGUMENT     an option makes no sense
  //   FAILED_PRECONDITION  another process holds the directory, or the schema is newer than this
  //                        binary
  //   DATA_LOSS            the database is damaged, or not Postrider's; it is left as it is
  //   others               from the system
  static absl::StatusOr<std::unique_ptr<SqliteOutbox>> Open(const SqliteOutboxOptions& options,
                                                            const Clock& clock,
                                                            OutboxListener* listener,
                                                            OnFatal on_fatal);
  ~SqliteOutbox() override;

  SqliteOutbox(const SqliteOutbox&) = delete;
  SqliteOutbox& operator=(const SqliteOutbox&) = delete;

  // Refuses new calls with UNAVAILABLE, finishes and answers those that wait, and leaves one closed
  // file. Answers may come until the destructor returns. Idempotent. Not from a `done`.
  void Close();

  const SqliteOutboxMetrics& metrics() const;

  const IdCodec& ids() const override;
  void Publish(std::vector<NewNotification> notifications,
               Done<std::vector<absl::StatusOr<Published>>> done) override;
  void ModifyWebhook(std::string tenant, std::string name, Modify modify,
                     Done<Webhook> done) override;
  void DisableWebhook(WebhookId id, int64_t version, std::string reason, StatusDone done) override;
  void RecordOutcomes(OutcomeBatch batch, StatusDone done) override;
  void RetryDelivery(std::string tenant, DeliveryId id, Done<Delivery> done) override;
  void ReadOwed(WebhookId webhook, OwedKey after, int limit, size_t max_bytes,
                Done<OwedPage> done) override;
  void LoadWebhooks(Done<std::vector<StartingWebhook>> done) override;
  void GetWebhook(std::string tenant, std::string name, Done<Webhook> done) override;
  void ListWebhooks(std::string tenant, std::string after, int limit,
                    Done<WebhookPage> done) override;
  void GetNotification(std::string tenant, NotificationId id, Done<Notification> done) override;
  void ListNotifications(NotificationFilter filter, Done<NotificationPage> done) override;
  void GetDelivery(std::string tenant, DeliveryId id, Done<DeliveryWithAttempts> done) override;
  void ListDeliveries(DeliveryFilter filter, Done<DeliveryPage> done) override;

 private:
  class Impl;
  explicit SqliteOutbox(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
