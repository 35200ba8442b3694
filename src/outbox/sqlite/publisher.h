#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/ids.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/effects.h"
#include "src/outbox/sqlite/id_epochs.h"
#include "src/outbox/sqlite/options.h"
#include "src/outbox/sqlite/routing.h"
#include "src/outbox/types.h"

namespace postrider {

// Stores notifications and fans them out. Not thread-safe: it belongs to the writer thread, inside
// a transaction. A number that a transaction took is not given again when it is rolled back.
class Publisher {
 public:
  static absl::StatusOr<Publisher> Create(Database& db, const Routing& routing,
                                          const SqliteOutboxOptions& options);

  // Sets `refusal` when the notifications, without those that are stored already, owe more than one
  // call may.
  absl::Status CheckFanOut(const std::vector<NewNotification>& notifications,
                           absl::Status* refusal);

  // Stores one notification and its deliveries, unless it is refused or a duplicate, which `result`
  // says. The status that is returned is the database's.
  absl::Status Publish(const NewNotification& notification, absl::Time now, absl::Time due,
                       Effects* effects, absl::StatusOr<Published>* result);

  // The transaction is committed, or rolled back.
  void Commit() { committed_epochs_ = epochs_.size(); }
  void Rollback() { epochs_.Resize(committed_epochs_); }

  // When numbers were given out.
  const IdEpochs& epochs() const { return epochs_; }
  // The last numbers that were given out, which outlive their rows.
  int64_t last_notification_id() const { return last_notification_id_; }
  int64_t last_delivery_id() const { return last_delivery_id_; }

 private:
  absl::Status FanOut(const Routing::Tenant& tenant, const NewNotification& notification,
                      NotificationId id, absl::Time due, int64_t first_delivery_id,
                      Effects* effects);
  absl::Status AnswerTooMany(const Routing::Tenant& tenant, const NewNotification& notification,
                             size_t count, absl::StatusOr<Published>* result);
  // A notification of this tenant and key is stored.
  absl::StatusOr<bool> IsKnown(int64_t tenant_id, const std::string& key);
  absl::Status AnswerDuplicate(int64_t tenant_id, const NewNotification& notification,
                               absl::StatusOr<Published>* result);

  Database* db_ = nullptr;
  const Routing* routing_ = nullptr;
  size_t max_per_notification_ = 0;
  size_t max_per_call_ = 0;
  IdSequence notification_ids_{0};
  IdSequence delivery_ids_{0};
  int64_t last_notification_id_ = 0;
  int64_t last_delivery_id_ = 0;
  IdEpochs epochs_;
  size_t committed_epochs_ = 1;
  Statement insert_epoch_;
  Statement insert_notification_;
  Statement insert_delivery_;
  Statement find_key_;
  Statement key_known_;
};

}  // namespace postrider
