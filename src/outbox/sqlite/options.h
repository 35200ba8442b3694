#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "src/base/metrics.h"
#include "src/outbox/outbox.h"

namespace postrider {

// What an operator should hear of, beside the metrics.
enum class OutboxNotice {
  // A reader, which is none of the outbox's own, keeps the log from beginning anew: it grows.
  kLogHeld,
  // It no longer does.
  kLogFree,
  // Another process held the write lock for so long that writes were refused.
  kWriteLockHeld,
  // The disk is full: nothing can be recorded.
  kDiskFull,
  // Things have been recorded again for some seconds.
  kDiskHasRoom,
};

struct SqliteOutboxOptions {
  // Made for its owner alone when it is not there. Holds outbox.db, its log, and the lock.
  std::string data_directory;
  // What the rows may take before publishing is refused. The log comes on top (near 16 MiB, by the
  // writer's checkpoints), and what deliveries that were taken still need.
  int64_t max_bytes = int64_t{16} << 30;
  // Publishing is refused while the disk has less room than this.
  uint64_t min_free_bytes = uint64_t{256} << 20;
  // Writes that wait for the disk; outcomes are taken beyond it, since their producers bound them.
  size_t max_queued_writes = 65536;
  size_t max_queued_bytes = size_t{64} << 20;
  // Reads that wait for a reader; ReadOwed and LoadWebhooks are taken beyond it.
  size_t max_queued_reads = 1024;
  // What is owed by more is refused.
  size_t max_deliveries_per_notification = kMaxDeliveriesPerNotification;
  size_t max_deliveries_per_call = kMaxDeliveriesPerCall;
  int reader_threads = 2;
  // Notifications are kept for this long, and longer while anything of them is owed; idempotency
  // keys as long as their notification. At least 24 h.
  absl::Duration retention = absl::Hours(7 * 24);
  // How often the writer looks for maintenance when it has nothing to do.
  absl::Duration idle_interval = absl::Seconds(1);
  // Called on the writer's thread, rarely; must be quick. May be empty. With the log's bytes.
  std::function<void(OutboxNotice, int64_t)> on_notice;
  // What the records of failed attempts may take, in all and of one tenant.
  int64_t max_attempt_bytes = int64_t{2} << 30;
  int64_t max_tenant_attempt_bytes = int64_t{1} << 30;
  // A registered SQLite VFS; empty: the system's.
  std::string vfs;
};

// What an operator wants to see. Counters since the start.
struct SqliteOutboxMetrics {
  Counter notifications_published;
  Counter notifications_duplicate;
  Counter deliveries_created;
  // Calls of Publish that were refused for want of room.
  Counter publishes_refused;
  // Writes that were refused because the queue was full.
  Counter writes_refused;
  Counter reads_refused;
  Counter outcomes_recorded;
  Counter reads;
  // Commits that held writes of callers, and how many writes those were.
  Counter commits;
  Counter committed_writes;
  Counter commit_failures;
  Counter checkpoints;
  // Checkpoints that a reader kept from their end.
  Counter checkpoints_busy;
  Counter checkpoint_failures;
  Counter deliveries_cancelled;
  // DEAD by age, since their webhook was disabled for so long.
  Counter deliveries_aged;
  Counter rows_expired;
  // For want of room: bodies of receivers' answers, and whole records of attempts.
  Counter attempt_bodies_removed;
  Counter attempts_removed;
  Gauge queued_writes;
  Gauge queued_reads;
  Gauge wal_bytes;
  // 1 while a reader of another process keeps the log from beginning anew.
  Gauge log_held;
  Gauge file_bytes;
  // Without the pages that wait to be filled again.
  Gauge used_bytes;
  Gauge disk_free_bytes;
  Gauge attempt_bytes;
  // 1 when the next three have been counted, some time after the start.
  Gauge backlog_known;
  // Owed deliveries of webhooks that are enabled, and of those that are not.
  Gauge owed_enabled;
  Gauge owed_disabled;
  // Since when the oldest one of an enabled webhook is due, in Unix time; 0 when nothing is owed.
  // It may be in the future.
  Gauge oldest_due_us;
  // From the beginning of the transaction until it is on disk.
  DurationHistogram commit_latency;
  DurationHistogram checkpoint_latency;
};

}  // namespace postrider
