#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/ids.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/options.h"
#include "src/outbox/types.h"

namespace postrider {

// Stores failed attempts, and bounds the room that they take, in all and for a tenant: webhooks
// that fail would fill the disk with what their receivers say, and then nothing could be recorded
// or sent. The oldest answers' bodies go first; when what else is known of attempts takes half of
// the room, the oldest attempts go. Beyond the bound for all, the tenant who has most gives.
//
// A tenant's attempts stand in attempt_age in the order of their making, with what they weigh, so
// that making room costs as much as what is removed, and counting nothing. What was deleted
// otherwise (with its notification) counts until ForgetGone or making room comes by.
//
// Not thread-safe: it belongs to the writer thread, inside a transaction.
class AttemptTable {
 public:
  // Failed attempts that are kept of one delivery: the last ones.
  static constexpr int kMaxKept = 100;

  static absl::StatusOr<AttemptTable> Create(Database& db, const SqliteOutboxOptions& options);

  absl::Status Insert(WebhookId webhook, DeliveryId delivery, const Attempt& attempt);

  // At the end of a transaction: makes room, and keeps the counts. `may_grow`: false while nothing
  // new may be published for want of room; then attempts take no more of it.
  absl::Status Finish(bool may_grow);
  void Commit() { before_ = total_; }
  // After the database's own rollback.
  absl::Status Rollback() { return Load(); }

  // Forgets what counts but is gone, and goes on where it left off: at most 100 attempts or
  // tenants. False when it has come to the end, to begin anew.
  absl::StatusOr<bool> ForgetGone();

  // What they take, as counted.
  int64_t bytes() const { return total_; }
  struct Removed {
    uint64_t bodies = 0;
    uint64_t attempts = 0;
  };
  // Since the last call.
  Removed TakeRemoved();

 private:
  // A tenant's.
  struct Room {
    int64_t record_bytes = 0;
    int64_t body_bytes = 0;
    // In attempt_age: the last one without a body, and the last one.
    int64_t last_bare = 0;
    int64_t last = 0;
    bool changed = false;
    int64_t bytes() const { return record_bytes + body_bytes; }
  };

  absl::Status Load();
  absl::StatusOr<int64_t> TenantOf(WebhookId webhook);
  absl::Status MakeRoom(int64_t tenant, Room& room, bool spare_records);
  absl::Status RemoveOldestBody(int64_t tenant, Room& room);
  absl::Status RemoveOldest(int64_t tenant, Room& room);
  void Take(int64_t tenant, Room& room, int64_t record_bytes, int64_t body_bytes);

  int64_t max_bytes_ = 0;
  int64_t max_tenant_bytes_ = 0;
  std::map<int64_t, Room> rooms_;
  // The tenants whose room has changed in this transaction.
  std::vector<int64_t> changed_;
  // Where ForgetGone goes on.
  int64_t next_to_forget_ = 0;
  int64_t total_ = 0;
  int64_t records_ = 0;
  // As of the last commit.
  int64_t before_ = 0;
  Removed removed_;

  Statement rooms_rows_;
  Statement tenant_;
  Statement insert_;
  Statement prune_;
  Statement insert_age_;
  Statement oldest_;
  Statement oldest_body_;
  Statement is_there_;
  Statement strip_;
  Statement delete_;
  Statement delete_age_;
  Statement save_;
};

}  // namespace postrider
