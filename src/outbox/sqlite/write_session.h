#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/outbox/outbox.h"
#include "src/outbox/sqlite/attempt_rows.h"
#include "src/outbox/sqlite/backlog.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/delivery_rows.h"
#include "src/outbox/sqlite/effects.h"
#include "src/outbox/sqlite/janitor.h"
#include "src/outbox/sqlite/options.h"
#include "src/outbox/sqlite/publisher.h"
#include "src/outbox/sqlite/routing.h"
#include "src/outbox/sqlite/webhook_rows.h"

namespace postrider {

// The read-write connection with its prepared statements, and what the writer knows in memory: both
// go through a transaction together, and back together. Not thread-safe: one thread at a time.
class WriteSession {
 public:
  // Takes a connection from OpenDatabase: sets it up, empties the write-ahead log, reads the
  // routes.
  static absl::StatusOr<std::unique_ptr<WriteSession>> Create(Database db,
                                                              const SqliteOutboxOptions& options);

  WriteSession(const WriteSession&) = delete;
  WriteSession& operator=(const WriteSession&) = delete;

  // What was stored by a clock that has been set since is put right: what is due, and how old it
  // is. Before anything else is done. A full disk leaves it as it is.
  absl::Status PutTimesRight();

  absl::Status Begin();
  // `may_grow`: there is room for new publishes, so records of attempts may take some as well.
  // After an error the transaction is still to be rolled back.
  absl::Status Commit(bool may_grow);
  absl::Status Rollback();

  // ---- Inside a transaction. A returned status is the database's; what the caller is to be told
  // stands in `result`.

  // Refuses a call of Publish that owes too much, before anything of it is stored.
  absl::Status CheckFanOut(const std::vector<NewNotification>& notifications,
                           absl::Status* refusal) {
    return publisher_.CheckFanOut(notifications, refusal);
  }
  // `due`: when its deliveries are, by the steady clock.
  absl::Status Publish(const NewNotification& notification, absl::Time now, absl::Time due,
                       Effects* effects, absl::StatusOr<Published>* result) {
    const size_t before = effects->counts().deliveries;
    absl::Status status = publisher_.Publish(notification, now, due, effects, result);
    const size_t stored = effects->counts().deliveries - before;
    if (status.ok() && stored > 0) CountOwed(effects->owed(), stored);
    janitor_.Stored(static_cast<int64_t>(stored));
    return status;
  }
  // Before a webhook is enabled again, what is owed to it and whose age is spent is ended, a part
  // in each call: `more` says that it is to be called again. `walk`: empty in the first call.
  absl::Status ModifyWebhook(const std::string& tenant, const std::string& name,
                             Outbox::Modify& modify, absl::Time now, Effects* effects,
                             std::optional<OwedSweep::Walk>* walk, bool* more,
                             absl::StatusOr<Webhook>* result);
  absl::Status DisableWebhook(WebhookId id, int64_t version, const std::string& reason,
                              absl::Time now, Effects* effects);
  absl::Status Record(const OutcomeBatch& batch, absl::Time now);
  absl::Status Retry(const std::string& tenant, DeliveryId id, absl::Time due, Effects* effects,
                     absl::StatusOr<Delivery>* result) {
    const uint64_t before = effects->counts().reopened;
    absl::Status status = deliveries_.Retry(tenant, id, due, effects, result);
    if (status.ok() && effects->counts().reopened > before) CountOwed(effects->owed(), 1);
    return status;
  }
  // How far the wall clock is ahead of the steady one, by which all that is due is stored: kept for
  // the next start.
  absl::Status NoteClock(absl::Duration offset);
  bool MaintenanceDue(absl::Duration monotonic) const { return janitor_.Due(monotonic); }
  absl::StatusOr<Janitor::Slice> Maintain(absl::Time now, absl::Duration monotonic,
                                          Effects* effects);

  // ---- At any time

  AttemptTable& attempts() { return attempts_; }

  // The metrics of what is owed; `before`: what was owed before the first transaction.
  void CountBacklog(std::unique_ptr<BacklogCount> before) {
    backlog_.StartWith(std::move(before));
  }
  absl::Status ReportBacklog(absl::Duration monotonic, SqliteOutboxMetrics* metrics) {
    return backlog_.Report(monotonic, routing_, metrics);
  }

  struct Size {
    int64_t file_bytes = 0;
    // Without the pages that are free to be filled again.
    int64_t used_bytes = 0;
  };
  absl::StatusOr<Size> ReadSize();
  // Pages in the write-ahead log after the last commit.
  int wal_pages() const { return wal_pages_; }
  int64_t page_bytes() const { return page_bytes_; }
  absl::StatusOr<CheckpointResult> Checkpoint(Database::Checkpoint mode, Database::OnBusy on_busy);
  // Empties the log, so that closing leaves one file.
  absl::Status Finish();

 private:
  explicit WriteSession(Database db) : db_(std::move(db)) {}

  absl::Status EndSpent(const Webhook& webhook, absl::Time now, Effects* effects,
                        std::optional<OwedSweep::Walk>* walk);
  absl::Status SetUp(const SqliteOutboxOptions& options);
  absl::Status LoadRoutes();
  // The rest of PutTimesRight, inside its transaction.
  absl::Status AddToTimes(int64_t offset_us);
  // Has the file say whether a log belongs to it: one that is missing is noticed then.
  absl::Status SetInUse(bool in_use);
  // The last so many of them.
  void CountOwed(const std::vector<OwedDelivery>& owed, size_t count) {
    for (size_t i = owed.size() - count; i < owed.size(); ++i) backlog_.Add(owed[i].webhook, 1);
  }
  absl::StatusOr<int64_t> TenantId(const std::string& tenant);

  Database db_;
  Routing routing_;
  WebhookReader webhook_reader_;
  WebhookTable webhooks_;
  Publisher publisher_;
  AttemptTable attempts_;
  DeliveryTable deliveries_;
  Janitor janitor_;
  Backlog backlog_;
  // Gives webhooks their versions, which grow even from a webhook to its successor of the same
  // name.
  IdSequence versions_{0};
  int wal_pages_ = 0;
  int64_t page_bytes_ = 0;
  // As it is stored; and in this transaction.
  absl::Duration stored_offset_;
  absl::Duration offset_;

  Statement begin_;
  Statement commit_;
  Statement insert_tenant_;
  Statement pages_;
  Statement free_pages_;
};

}  // namespace postrider
