#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/ids.h"
#include "src/base/mutex.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/options.h"
#include "src/outbox/sqlite/routing.h"
#include "src/outbox/sqlite/running_reads.h"

namespace postrider {

// Deliveries, by the webhook that they are owed to.
using OwedCounts = std::unordered_map<WebhookId, int64_t>;

// Counts what is owed as of its making, once, on a thread and a connection of its own: by index,
// some millions a second. REQUIRES: it is made before the writer's first transaction.
class BacklogCount {
 public:
  // `reads` must outlive it.
  static absl::StatusOr<std::unique_ptr<BacklogCount>> Begin(const std::string& path,
                                                             const std::string& vfs,
                                                             RunningReads& reads);
  // Breaks it off.
  ~BacklogCount();
  BacklogCount(const BacklogCount&) = delete;
  BacklogCount& operator=(const BacklogCount&) = delete;

  // The counts, once, when they are there. An error is the database's. Thread-safe.
  absl::StatusOr<std::optional<OwedCounts>> Take();

 private:
  explicit BacklogCount(Database db) : db_(std::move(db)) {}
  absl::StatusOr<OwedCounts> Count();

  Database db_;
  Statement owed_;
  std::atomic<bool> stopped_{false};
  Mutex mutex_;
  std::optional<absl::StatusOr<OwedCounts>> result_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// How much is owed, and since when it is due: kept with every transaction, so that nobody counts
// rows for it. What was owed before the start joins when BacklogCount has it; until then nothing is
// told. Not thread-safe: it belongs to the writer thread.
class Backlog {
 public:
  static absl::StatusOr<Backlog> Create(Database& db);

  void StartWith(std::unique_ptr<BacklogCount> before) { before_ = std::move(before); }
  // Nothing more is counted.
  void Stop() { before_ = nullptr; }

  // Inside a transaction: so many more are owed to the webhook, or fewer.
  void Add(WebhookId webhook, int64_t deliveries) { changes_[webhook] += deliveries; }
  void Commit();
  void Rollback() { changes_.clear(); }

  // Brings the metrics up to date, once a second. Reads by index, for a few milliseconds at most:
  // with very many webhooks the oldest due time is found over several calls.
  absl::Status Report(absl::Duration monotonic, const Routing& routing,
                      SqliteOutboxMetrics* metrics);

 private:
  void TakeBefore();
  absl::Status LookForOldest(const Routing& routing, SqliteOutboxMetrics* metrics);

  std::unique_ptr<BacklogCount> before_;
  bool complete_ = false;
  // Without those to which nothing is owed.
  OwedCounts owed_;
  OwedCounts changes_;
  absl::Duration next_report_ = -absl::InfiniteDuration();
  // The webhooks that this round still looks at, and the earliest due time that it has found.
  std::vector<WebhookId> to_look_at_;
  int64_t oldest_due_us_ = 0;
  Statement first_due_;
};

}  // namespace postrider
