#include "src/outbox/sqlite/writer.h"

#include <pthread.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/outbox/sqlite/data_dir.h"
#include "src/outbox/sqlite/status_macros.h"

namespace postrider {
namespace {

// One transaction: enough that the cost of the sync is shared by many, little enough that nobody
// waits for long.
constexpr size_t kTransactionRows = 2048;
constexpr size_t kTransactionBytes = size_t{4} << 20;

// When so many writes came together, others are on their way: the next transaction waits a moment
// until as many are there again. Of few it takes what it finds; and it does not wait for all, since
// those who wait for their answers send nothing meanwhile.
constexpr size_t kGatherWrites = 8;
constexpr size_t kGatherAtMost = 48;
constexpr size_t kGatherRows = 512;
constexpr absl::Duration kGather = absl::Milliseconds(1);

// Pages in the log after which it is copied into the database, and after which the writer waits for
// the readers so that the log can begin anew.
constexpr int kCheckpointPages = 4000;
constexpr int kRestartPages = 4 * kCheckpointPages;
// It waits for the outbox's own readers: in each of the checkpoint's two stages, and once more since
// a read that began in between may hold the second. They take milliseconds.
constexpr int kWaitsForReads = 3;
constexpr absl::Duration kMaxWaitForReads = absl::Milliseconds(100);
// After a reader of another process was in the way, whom it does not wait for.
constexpr absl::Duration kRestartAgain = absl::Seconds(1);
// How long nothing has come before the rest of the log is copied. When it is short, only after so
// many idle intervals: a log that begins anew costs its first commit another sync, for which a lone
// call would wait each time.
constexpr absl::Duration kCheckpointIdle = absl::Milliseconds(200);
constexpr int kShortLogPages = 256;
constexpr int kShortLogIntervals = 10;

constexpr absl::Duration kDiskCheckInterval = absl::Milliseconds(100);
// Under load, maintenance takes at most a fifth of the time.
constexpr int kBusyShare = 4;
constexpr absl::Duration kMinBusyPause = absl::Milliseconds(5);
// Deleting needs room in the log first: when there is none it is tried again after this long.
constexpr absl::Duration kMaintenanceAgain = absl::Seconds(1);

absl::Time ToMicrosecond(absl::Time time) { return absl::FromUnixMicros(absl::ToUnixMicros(time)); }

}  // namespace

Writer::Writer(const SqliteOutboxOptions& options, const Clock& clock,
               std::unique_ptr<WriteSession> session, DataFiles files, RunningReads& reads,
               CompletionThread& completion, SqliteOutboxMetrics& metrics,
               absl::AnyInvocable<void(absl::Status) &&> on_fatal)
    : options_(options),
      clock_(clock),
      files_(std::move(files)),
      reads_(reads),
      completion_(completion),
      metrics_(metrics),
      queue_(options.max_queued_writes, options.max_queued_bytes),
      session_(std::move(session)),
      on_fatal_(std::move(on_fatal)),
      thread_([this] { Loop(); }) {}

// ---- Callers' threads

void Writer::Submit(std::unique_ptr<PendingWrite> write, bool bounded) {
  const size_t bytes = write->bytes();
  metrics_.queued_writes.Add(1);
  if (bounded ? queue_.TryPush(write, bytes) : queue_.PushUnbounded(write, bytes)) return;
  metrics_.queued_writes.Add(-1);
  FinishedBatch refused;
  if (failed_) {
    refused.failure = absl::UnknownError(
        "the disk has failed, so the outbox takes no more writes: restart Postrider");
  } else if (closing_) {
    refused.failure = absl::UnavailableError("Postrider is shutting down: try again later");
  } else {
    metrics_.writes_refused.Add();
    refused.failure =
        absl::ResourceExhaustedError("too many writes wait for the disk: try again in a moment");
  }
  refused.writes.push_back(std::move(write));
  completion_.Post(std::move(refused));
}

void Writer::Close() {
  closing_ = true;
  queue_.Close();
  if (!thread_.joinable()) return;
  thread_.join();
  // What is left in the log is read from there at the next start: nothing is lost by a failure
  // here.
  if (!failed_ && !session_->Finish().ok()) metrics_.checkpoint_failures.Add();
  session_.reset();
}

// ---- The writer thread

void Writer::Loop() {
  pthread_setname_np(pthread_self(), "outbox-writer");
  Writes writes;
  // What cannot be read here is found, and told, by the first write.
  ReportSizes().IgnoreError();
  size_t last_writes = 0;
  size_t last_rows = 0;
  while (true) {
    if (last_writes >= kGatherWrites && last_rows < kGatherRows) {
      queue_.Await(std::min(last_writes, kGatherAtMost), kGather);
    }
    if (!queue_.TakeAll(&writes, IdleTimeout())) break;
    last_writes = writes.size();
    last_rows = 0;
    for (const std::unique_ptr<PendingWrite>& write : writes) last_rows += write->rows();
    for (size_t next = 0; next < writes.size();) {
      const size_t end = CommitSome(writes, next);
      metrics_.queued_writes.Add(-static_cast<int64_t>(end - next));
      next = end;
      CheckpointWhenLarge();
    }
    if (writes.empty()) {
      Idle();
    } else {
      idle_intervals_ = 0;
    }
  }
}

absl::Duration Writer::IdleTimeout() const {
  if (failed_) return absl::InfiniteDuration();
  if (MaintenanceDue()) return absl::ZeroDuration();
  if (session_->wal_pages() >= kShortLogPages) {
    return std::min(kCheckpointIdle, options_.idle_interval);
  }
  return options_.idle_interval;
}

size_t Writer::EndOfTransaction(const Writes& writes, size_t begin) const {
  size_t end = begin;
  size_t rows = 0;
  size_t bytes = 0;
  do {
    rows += writes[end]->rows();
    bytes += writes[end]->bytes();
    ++end;
  } while (end < writes.size() && rows + writes[end]->rows() <= kTransactionRows &&
           bytes + writes[end]->bytes() <= kTransactionBytes);
  return end;
}

size_t Writer::CommitSome(Writes& writes, size_t begin) {
  FinishedBatch batch;
  size_t end = writes.size();
  if (failed_) {
    batch.failure = Unshared(failure_);
  } else {
    end = EndOfTransaction(writes, begin);
    const absl::Duration start = clock_.Monotonic();
    Effects effects;
    const absl::Status status = RunTransaction(writes, begin, &end, &effects);
    if (status.ok()) {
      metrics_.commit_latency.Observe(absl::ToDoubleSeconds(clock_.Monotonic() - start));
      metrics_.commits.Add();
      metrics_.committed_writes.Add(end - begin);
      Count(effects.counts());
      batch.events = std::move(effects.events());
    } else {
      batch.failure = Recover(status);
    }
  }
  batch.writes.assign(std::make_move_iterator(writes.begin() + begin),
                      std::make_move_iterator(writes.begin() + end));
  completion_.PostCommitted(std::move(batch));
  return end;
}

absl::Status Writer::RunTransaction(Writes& writes, size_t begin, size_t* end, Effects* effects) {
  RETURN_IF_ERROR(session_->Begin());
  // What the system says here is no caller's answer.
  RETURN_IF_ERROR(ReportSizes());
  WriteContext context{*session_, *effects, ToMicrosecond(clock_.Now()), Admission()};
  for (size_t i = begin; i < *end; ++i) {
    RETURN_IF_ERROR(writes[i]->Run(context));
    if (effects->counts().deliveries >= kTransactionRows) *end = i + 1;
  }
  const absl::Duration before = clock_.Monotonic();
  if (before >= next_busy_slice_ && MaintenanceDue()) {
    RETURN_IF_ERROR(Maintain(context.now, effects));
    const absl::Duration after = clock_.Monotonic();
    next_busy_slice_ = after + std::max(kMinBusyPause, kBusyShare * (after - before));
  }
  RETURN_IF_ERROR(session_->Commit());
  return files_.CheckStoredIn();
}

bool Writer::MaintenanceDue() const {
  const absl::Duration now = clock_.Monotonic();
  return now >= next_maintenance_ && session_->MaintenanceDue(now);
}

absl::Status Writer::Maintain(absl::Time now, Effects* effects) {
  const absl::StatusOr<Janitor::Slice> slice = session_->Maintain(now, clock_.Monotonic());
  if (!slice.ok()) return slice.status();
  effects->counts().cancelled += slice->cancelled;
  effects->counts().expired += slice->deleted;
  return absl::OkStatus();
}

absl::Status Writer::ReportSizes() {
  const absl::Duration now = clock_.Monotonic();
  if (now >= next_disk_check_) {
    RETURN_IF_ERROR(files_.CheckGuards());
    const absl::StatusOr<uint64_t> free = DiskFreeBytes(options_.data_directory);
    if (!free.ok()) return free.status();
    disk_free_bytes_ = *free;
    metrics_.disk_free_bytes.Set(static_cast<int64_t>(*free));
    next_disk_check_ = now + kDiskCheckInterval;
  }
  const absl::StatusOr<WriteSession::Size> size = session_->ReadSize();
  if (!size.ok()) return size.status();
  used_bytes_ = size->used_bytes;
  metrics_.file_bytes.Set(size->file_bytes);
  metrics_.used_bytes.Set(size->used_bytes);
  metrics_.wal_bytes.Set(session_->wal_pages() * session_->page_bytes());
  return absl::OkStatus();
}

absl::Status Writer::Admission() {
  if (disk_free_bytes_ < options_.min_free_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the disk of ", options_.data_directory, " has ", disk_free_bytes_ >> 20, " MiB left and ",
        options_.min_free_bytes >> 20, " MiB are kept free: make room there; deliveries go on"));
  }
  if (used_bytes_ >= options_.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the outbox holds ", used_bytes_ >> 20, " MiB of at most ", options_.max_bytes >> 20,
        " MiB: try again when older notifications have been delivered and expired, or raise the "
        "bound"));
  }
  return absl::OkStatus();
}

absl::Status Writer::Recover(absl::Status status) {
  metrics_.commit_failures.Add();
  const absl::Status rolled_back = session_->Rollback();
  if (absl::IsAborted(status) && rolled_back.ok()) {
    Notify(OutboxNotice::kWriteLockHeld);
    return absl::ResourceExhaustedError(absl::StrCat(
        "another process holds the write lock of ", options_.data_directory,
        "/outbox.db, nothing was stored: end that process and try again (", status.message(), ")"));
  }
  if (status.code() == absl::StatusCode::kResourceExhausted && rolled_back.ok()) {
    next_maintenance_ = clock_.Monotonic() + kMaintenanceAgain;
    return absl::ResourceExhaustedError(absl::StrCat("the disk of ", options_.data_directory,
                                                     " is full, nothing was stored: make room "
                                                     "there and try again (",
                                                     status.message(), ")"));
  }
  Fail(status);
  return Unshared(failure_);
}

void Writer::Fail(const absl::Status& status) {
  if (failed_) return;
  failure_ = absl::UnknownError(absl::StrCat(
      "writing to ", options_.data_directory, " failed: ", status.message(),
      "; whether this call is stored is known after a restart: check the disk and the kernel's "
      "log, then restart Postrider"));
  failed_ = true;
  queue_.Close();
  // After the answers of this transaction: the owner may end the process.
  FinishedBatch last;
  const absl::StatusCode code = absl::IsDataLoss(status) ? status.code() : failure_.code();
  last.then = [on_fatal = std::move(on_fatal_),
               failure = absl::Status(code, failure_.message())]() mutable {
    if (on_fatal) std::move(on_fatal)(failure);
  };
  completion_.Post(std::move(last));
}

void Writer::Count(const TransactionCounts& counts) {
  metrics_.notifications_published.Add(counts.notifications);
  metrics_.notifications_duplicate.Add(counts.duplicates);
  metrics_.deliveries_created.Add(counts.deliveries);
  metrics_.publishes_refused.Add(counts.refused);
  metrics_.outcomes_recorded.Add(counts.outcomes);
  metrics_.deliveries_cancelled.Add(counts.cancelled);
  metrics_.rows_expired.Add(counts.expired);
}

void Writer::Idle() {
  if (failed_) return;
  if (!MaintenanceDue()) {
    ++idle_intervals_;
    const int pages = session_->wal_pages();
    if (pages >= kShortLogPages || (pages > 0 && idle_intervals_ >= kShortLogIntervals)) {
      RunCheckpoint(Database::Checkpoint::kPassive);
    }
    // The disk fills and empties without us, and the files may go.
    const absl::Status status = ReportSizes();
    if (status.ok() || absl::IsAborted(status)) return;
    Recover(status).IgnoreError();
    return;
  }
  Effects effects;
  absl::Status status = session_->Begin();
  if (status.ok()) status = Maintain(ToMicrosecond(clock_.Now()), &effects);
  if (status.ok()) status = session_->Commit();
  if (status.ok()) status = files_.CheckStoredIn();
  if (status.ok()) {
    Count(effects.counts());
    CheckpointWhenLarge();
  } else {
    // Its own failure is told by the metrics, or by on_fatal: nobody waits for it.
    Recover(status).IgnoreError();
  }
}

void Writer::CheckpointWhenLarge() {
  // A commit has begun it anew: what a checkpoint says is not enough, since a reader of the last
  // commit lets it copy all and holds the log all the same.
  if (session_->wal_pages() < kCheckpointPages) SetLogHeld(false);
  if (failed_ || session_->wal_pages() < kCheckpointPages) return;
  if (session_->wal_pages() >= kRestartPages && clock_.Monotonic() >= next_restart_) {
    RestartLog();
  } else {
    RunCheckpoint(Database::Checkpoint::kPassive);
  }
}

void Writer::RestartLog() {
  RunCheckpoint(Database::Checkpoint::kRestart);
  if (failed_ || session_->wal_pages() == 0) return;
  next_restart_ = clock_.Monotonic() + kRestartAgain;
  SetLogHeld(true);
}

void Writer::SetLogHeld(bool held) {
  if (held == log_held_) return;
  log_held_ = held;
  metrics_.log_held.Set(held ? 1 : 0);
  Notify(held ? OutboxNotice::kLogHeld : OutboxNotice::kLogFree);
}

void Writer::Notify(OutboxNotice notice) {
  if (options_.on_notice) {
    options_.on_notice(notice, session_->wal_pages() * session_->page_bytes());
  }
}

void Writer::RunCheckpoint(Database::Checkpoint mode) {
  const absl::Duration start = clock_.Monotonic();
  int waits = 0;
  const absl::StatusOr<CheckpointResult> result = session_->Checkpoint(mode, [this, &waits] {
    if (++waits > kWaitsForReads) return false;
    reads_.Await(kMaxWaitForReads);
    return true;
  });
  metrics_.checkpoint_latency.Observe(absl::ToDoubleSeconds(clock_.Monotonic() - start));
  metrics_.checkpoints.Add();
  if (result.ok()) {
    if (result->busy) metrics_.checkpoints_busy.Add();
    metrics_.wal_bytes.Set(session_->wal_pages() * session_->page_bytes());
    return;
  }
  metrics_.checkpoint_failures.Add();
  // A full disk leaves the log as it is, to be copied later.
  if (result.status().code() != absl::StatusCode::kResourceExhausted) Fail(result.status());
}

}  // namespace postrider
