#include "src/outbox/sqlite/backlog.h"

#include <pthread.h>
#include <sqlite3.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "src/base/status_macros.h"

namespace postrider {
namespace {

constexpr absl::Duration kReportInterval = absl::Seconds(1);
// Each is a look into an index, some microseconds when it is in memory.
constexpr size_t kLooksAtOnce = 500;
constexpr int64_t kNothingDue = std::numeric_limits<int64_t>::max();

}  // namespace

// ---- BacklogCount

absl::StatusOr<std::unique_ptr<BacklogCount>> BacklogCount::Begin(const std::string& path,
                                                                  const std::string& vfs,
                                                                  RunningReads& reads) {
  ASSIGN_OR_RETURN(Database db, Database::Open(path, Database::Mode::kReadOnly, vfs));
  std::unique_ptr<BacklogCount> count(new BacklogCount(std::move(db)));
  RETURN_IF_ERROR(count->db_.Exec("PRAGMA query_only = ON; PRAGMA cache_size = -1024;"
                                  "PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 0; BEGIN"));
  // The transaction's picture is taken by its first read.
  RETURN_IF_ERROR(count->db_.Int("SELECT count(*) FROM meta").status());
  ASSIGN_OR_RETURN(count->owed_,
                   count->db_.Prepare("SELECT webhook_id, count(*) FROM delivery"
                                      " INDEXED BY delivery_owed WHERE state = 0"
                                      " GROUP BY webhook_id"));
  count->thread_ = std::thread([raw = count.get(), &reads] {
    pthread_setname_np(pthread_self(), "outbox-count");
    absl::StatusOr<OwedCounts> result;
    {
      const RunningReads::Read read(reads);
      result = raw->Count();
      raw->db_.Rollback().IgnoreError();
    }
    MutexLock lock(&raw->mutex_);
    raw->result_ = std::move(result);
  });
  return count;
}

BacklogCount::~BacklogCount() {
  stopped_ = true;
  sqlite3_interrupt(db_.handle());
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<OwedCounts> BacklogCount::Count() {
  const ResetOnExit reset(owed_);
  OwedCounts counts;
  while (!stopped_) {
    ASSIGN_OR_RETURN(const bool row, owed_.Next());
    if (!row) break;
    counts[WebhookId{owed_.Int(0)}] = owed_.Int(1);
  }
  return counts;
}

absl::StatusOr<std::optional<OwedCounts>> BacklogCount::Take() {
  MutexLock lock(&mutex_);
  if (!result_.has_value()) return std::optional<OwedCounts>();
  absl::StatusOr<OwedCounts> result = *std::exchange(result_, std::nullopt);
  if (!result.ok()) return result.status();
  return std::optional<OwedCounts>(*std::move(result));
}

// ---- Backlog

absl::StatusOr<Backlog> Backlog::Create(Database& db) {
  Backlog backlog;
  ASSIGN_OR_RETURN(backlog.first_due_,
                   db.Prepare("SELECT due_us FROM delivery INDEXED BY delivery_owed"
                              " WHERE webhook_id = ? AND state = 0 ORDER BY due_us LIMIT 1"));
  return backlog;
}

void Backlog::Commit() {
  for (const auto& [webhook, change] : changes_) {
    if (change == 0) continue;
    const auto it = owed_.try_emplace(webhook, 0).first;
    it->second += change;
    // Until what was owed before has joined, it may be below 0.
    if (it->second == 0) owed_.erase(it);
  }
  changes_.clear();
}

void Backlog::TakeBefore() {
  if (before_ == nullptr) return;
  absl::StatusOr<std::optional<OwedCounts>> taken = before_->Take();
  // Damage that a read finds is no end of the writer: these metrics are left out.
  if (!taken.ok()) before_ = nullptr;
  if (!taken.ok() || !taken->has_value()) return;
  const OwedCounts& counts = **taken;
  for (const auto& [webhook, count] : counts) {
    const auto it = owed_.try_emplace(webhook, 0).first;
    it->second += count;
    if (it->second == 0) owed_.erase(it);
  }
  before_ = nullptr;
  complete_ = true;
}

absl::Status Backlog::Report(absl::Duration monotonic, const Routing& routing,
                             SqliteOutboxMetrics* metrics) {
  if (monotonic < next_report_) return absl::OkStatus();
  TakeBefore();
  if (!complete_) return absl::OkStatus();
  next_report_ = monotonic + kReportInterval;
  int64_t enabled = 0;
  int64_t disabled = 0;
  for (const auto& [webhook, count] : owed_) {
    (routing.IsEnabled(webhook) ? enabled : disabled) += count;
  }
  metrics->owed_enabled.Set(enabled);
  metrics->owed_disabled.Set(disabled);
  RETURN_IF_ERROR(LookForOldest(routing, metrics));
  metrics->backlog_known.Set(1);
  return absl::OkStatus();
}

absl::Status Backlog::LookForOldest(const Routing& routing, SqliteOutboxMetrics* metrics) {
  if (to_look_at_.empty()) {
    oldest_due_us_ = kNothingDue;
    for (const auto& [webhook, count] : owed_) {
      if (routing.IsEnabled(webhook)) to_look_at_.push_back(webhook);
    }
  }
  for (size_t looks = 0; looks < kLooksAtOnce && !to_look_at_.empty(); ++looks) {
    const ResetOnExit reset(first_due_);
    first_due_.Bind(to_look_at_.back());
    to_look_at_.pop_back();
    ASSIGN_OR_RETURN(const bool row, first_due_.Next());
    if (row) oldest_due_us_ = std::min(oldest_due_us_, first_due_.Int(0));
  }
  if (to_look_at_.empty()) {
    metrics->oldest_due_us.Set(oldest_due_us_ == kNothingDue ? 0 : oldest_due_us_);
  }
  return absl::OkStatus();
}

}  // namespace postrider
