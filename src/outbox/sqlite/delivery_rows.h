#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/outbox/sqlite/attempt_rows.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/effects.h"
#include "src/outbox/types.h"

namespace postrider {

// A delivery with what only the inside needs.
struct DeliveryRow {
  Delivery delivery;
  int budget_attempts = 0;
  absl::Time budget_start = absl::InfiniteFuture();
  bool webhook_deleted = false;
  // The attempt that delivered it, which is kept in its row.
  std::optional<Attempt> success;
};

// Reads deliveries, on any connection. Not thread-safe.
class DeliveryReader {
 public:
  static absl::StatusOr<DeliveryReader> Create(Database& db);

  // Nothing when there is none.
  absl::StatusOr<std::optional<DeliveryRow>> Find(DeliveryId id);
  // The oldest first, the one in the row included.
  absl::StatusOr<std::vector<Attempt>> Attempts(const DeliveryRow& row);

 private:
  Statement find_;
  Statement attempts_;
};

// Records what becomes of deliveries. Not thread-safe: it belongs to the writer thread, inside a
// transaction. A returned status is the database's unless said otherwise.
class DeliveryTable {
 public:
  // `attempts` must outlive it.
  static absl::StatusOr<DeliveryTable> Create(Database& db, AttemptTable* attempts);

  // `ended`: whether the delivery was owed, and is no longer.
  absl::Status Record(const AttemptOutcome& outcome, absl::Time now, bool* ended);
  // `result`: what Outbox::RetryDelivery answers.
  // `due`: by the steady clock.
  absl::Status Retry(const std::string& tenant, DeliveryId id, absl::Time due, Effects* effects,
                     absl::StatusOr<Delivery>* result);

 private:
  absl::Status RecordSuccess(const AttemptOutcome& outcome, absl::Time now, bool* ended);
  absl::Status RecordFailure(const AttemptOutcome& outcome, absl::Time now, bool* ended);
  absl::Status RecordLate(const AttemptOutcome& outcome, absl::Time now, bool* ended);

  Database* db_ = nullptr;
  AttemptTable* attempts_ = nullptr;
  DeliveryReader reader_;
  Statement succeed_;
  Statement fail_;
  Statement late_;
  Statement retry_;
  Statement body_;
};

}  // namespace postrider
