#pragma once

#include <cstdint>
#include <deque>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/ids.h"
#include "src/outbox/sqlite/attempt_rows.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/delivery_spans.h"
#include "src/outbox/sqlite/owed_sweep.h"
#include "src/outbox/sqlite/publisher.h"

namespace postrider {

// The work that no caller waits for, in slices of a bounded number of rows: cancelling what is owed
// to deleted webhooks, deleting what is older than the retention, looking through what is owed,
// giving free pages back, putting deliveries into spans. Not thread-safe: it belongs to the writer
// thread; each slice runs inside a transaction.
class Janitor {
 public:
  static constexpr int kSliceRows = 500;

  // `attempts` must outlive it.
  static absl::StatusOr<Janitor> Create(Database& db, absl::Duration retention,
                                        AttemptTable* attempts);

  // What is owed to the webhook is to be cancelled. Taken back by Rollback.
  void CancelOwed(WebhookId id) {
    state_.cancelling.push_back(id);
    dirty_ = true;
  }

  // So many deliveries were stored.
  void Stored(int64_t deliveries) { spans_.Stored(deliveries); }

  // There is something to do at `monotonic`.
  bool Due(absl::Duration monotonic) const;

  struct Slice {
    // Deliveries of one webhook.
    int64_t cancelled = 0;
    WebhookId webhook{};
    int64_t deleted = 0;
    // DEAD, since their age is spent.
    int64_t aged = 0;
  };
  // The publisher's newest numbers are kept with what is deleted, so that they are never given
  // again.
  absl::StatusOr<Slice> Run(absl::Time now, absl::Duration monotonic, const Publisher& publisher,
                            Effects* effects);

  OwedSweep& owed_sweep() { return owed_sweep_; }

  // The transaction is committed, or rolled back with the slice that it held.
  void Commit();
  void Rollback();

 private:
  struct State {
    // Deleted webhooks to which something may be owed.
    std::deque<WebhookId> cancelling;
    // Notifications up to this number have been looked at in this sweep.
    int64_t cursor = 0;
    absl::Duration next_sweep = -absl::InfiniteDuration();
    // The spans that are older than the retention are looked through.
    bool forgetting_spans = false;
    // What attempts that were deleted have taken is given back.
    bool forgetting_attempts = false;
    // Free pages are given back until few are left.
    bool shrinking = false;
  };

  absl::StatusOr<int64_t> Cancel(absl::Time now);
  // `end`: notifications below it are older than the retention.
  absl::StatusOr<int64_t> Sweep(absl::Time now, absl::Duration monotonic, int64_t end);
  // Deletes what fits into `budget` rows, the notification last, and takes it off. True when the
  // notification is gone, or must stay since something of it is still owed.
  absl::StatusOr<bool> DeleteNotification(int64_t id, int64_t first, int64_t end, int64_t* budget);
  absl::Status EndSweep(absl::Time now, absl::Duration monotonic);
  absl::StatusOr<bool> ManyPagesFree(int64_t fraction);
  absl::Status Shrink();

  Database* db_ = nullptr;
  AttemptTable* attempts_ = nullptr;
  absl::Duration retention_;
  State state_;
  // As of the last commit; counts while `dirty_`.
  State saved_;
  bool dirty_ = false;
  SpanWriter spans_;
  OwedSweep owed_sweep_;

  Statement cancel_;
  Statement expired_;
  Statement owed_;
  Statement delete_attempts_;
  Statement delete_deliveries_;
  Statement delete_notification_;
  Statement oldest_delivery_;
  Statement delete_webhooks_;
  Statement save_ids_;
  Statement pages_;
  Statement free_pages_;
  Statement vacuum_;
};

}  // namespace postrider
