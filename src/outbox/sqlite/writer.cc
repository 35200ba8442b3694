#include "src/outbox/sqlite/writer.h"

#include <pthread.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/data_dir.h"

namespace postrider {
namespace {

// What a tenant writes before it is the next one's turn.
constexpr int64_t kTurnRows = 256;
// What a write is taken to cost before it has run: then it pays for what it wrote.
constexpr int64_t kCost = 1;
// What the engines write before it is the tenants' turn.
constexpr size_t kOwnRows = WriteContext::kRows / 2;

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
// It waits for the outbox's own readers: in each of the checkpoint's two stages, and once more
// since a read that began in between may hold the second. They take milliseconds; the count of what
// was owed at the start takes longer, and is not waited for a second time.
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

// A full disk is over when nothing has failed for so long.
constexpr absl::Duration kFullOver = absl::Seconds(5);
constexpr absl::Duration kDiskCheckInterval = absl::Milliseconds(100);
// Under load, maintenance takes at most a fifth of the time.
constexpr int kBusyShare = 4;
constexpr absl::Duration kMinBusyPause = absl::Milliseconds(5);
// Deleting needs room in the log first: when there is none it is tried again after this long.
constexpr absl::Duration kMaintenanceAgain = absl::Seconds(1);

absl::Status ShuttingDown() {
  return absl::UnavailableError("Postrider is shutting down: try again later");
}

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
      queue_(options.max_queued_writes, options.max_queued_bytes, kTurnRows),
      session_(std::move(session)),
      on_fatal_(std::move(on_fatal)),
      thread_([this] { Loop(); }) {}

// ---- Callers' threads

void Writer::Submit(std::unique_ptr<PendingWrite> write) {
  metrics_.queued_writes.Add(1);
  const PendingWrite& w = *write;
  const bool taken = w.tenant().empty() ? queue_.PushOwn(write)
                                        : queue_.TryPush(w.tenant(), write, kCost, w.bytes());
  if (taken) return;
  if (failed_) {
    Refuse(std::move(write),
           absl::UnknownError(
               "the disk has failed, so the outbox takes no more writes: restart Postrider"));
  } else if (closing_) {
    Refuse(std::move(write), ShuttingDown());
  } else {
    metrics_.writes_refused.Add();
    Refuse(std::move(write), absl::ResourceExhaustedError(
                                 "too many writes wait for the disk: try again in a moment"));
  }
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
  // What cannot be read here is found, and told, by the first write.
  ReportSizes().IgnoreError();
  while (true) {
    if (last_writes_ >= kGatherWrites && last_rows_ < kGatherRows) {
      queue_.Await(std::min(last_writes_, kGatherAtMost), kGather);
    }
    if (!queue_.Wait(IdleTimeout())) break;
    if (queue_.size() == 0) {
      last_writes_ = 0;
      Idle();
      continue;
    }
    idle_intervals_ = 0;
    if (failed_) {
      RefuseAll();
    } else {
      CommitSome();
      CheckpointWhenLarge();
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

void Writer::CommitSome() {
  FinishedBatch batch;
  Round round;
  const absl::Duration start = clock_.Monotonic();
  const absl::Status status = RunTransaction(&round);
  if (status.ok()) {
    metrics_.commit_latency.Observe(absl::ToDoubleSeconds(clock_.Monotonic() - start));
    SetDiskFull(false);
    metrics_.commits.Add();
    metrics_.committed_writes.Add(round.done.size());
    Count(round.effects.counts());
    batch.events = std::move(round.effects.events());
  } else {
    batch.failure = Recover(status);
    for (Slice& slice : round.unfinished) round.done.push_back(std::move(slice.write));
    round.unfinished.clear();
    // It came to nobody's turn: then it is the answer of all that wait.
    for (size_t waiting = round.done.empty() ? queue_.size() : 0; waiting > 0; --waiting) {
      round.done.push_back(*queue_.Take(/*own_first=*/true));
    }
    // A full disk is met only here when it fills up faster than its room is looked at.
    for (const auto& write : round.done) {
      if (absl::IsResourceExhausted(status) && write->publishes()) metrics_.publishes_refused.Add();
    }
  }
  metrics_.queued_writes.Add(-static_cast<int64_t>(round.done.size()));
  batch.writes = std::move(round.done);
  completion_.PostCommitted(std::move(batch));
  PutBack(std::move(round.unfinished));
}

absl::Status Writer::RunTransaction(Round* round) {
  RETURN_IF_ERROR(session_->Begin());
  // What the system says here is no caller's answer.
  RETURN_IF_ERROR(ReportSizes());
  WriteContext context{*session_, round->effects, ToMicrosecond(clock_.Now()),
                       ToMicrosecond(clock_.Steady()), Admission()};
  RETURN_IF_ERROR(session_->NoteClock(context.now - context.due));
  RETURN_IF_ERROR(RunWrites(&context, round));
  last_writes_ = round->unfinished.empty() ? round->done.size() : 0;
  last_rows_ = context.rows - round->effects.counts().deliveries;
  const absl::Duration before = clock_.Monotonic();
  if (before >= next_busy_slice_ && MaintenanceDue()) {
    RETURN_IF_ERROR(Maintain(context.now, &round->effects));
    const absl::Duration after = clock_.Monotonic();
    next_busy_slice_ = after + std::max(kMinBusyPause, kBusyShare * (after - before));
  }
  RETURN_IF_ERROR(session_->Commit(context.admission.ok()));
  return files_.CheckStoredIn();
}

absl::Status Writer::RunWrites(WriteContext* context, Round* round) {
  size_t own_rows = 0;
  // What comes meanwhile is for the next one: else a busy time would have no commits.
  for (size_t waiting = queue_.size(); waiting > 0 && !context->full(); --waiting) {
    std::optional<std::unique_ptr<PendingWrite>> taken = queue_.Take(own_rows < kOwnRows);
    if (!taken) break;
    PendingWrite& write = **taken;
    // Whatever comes of it, it is answered.
    round->done.push_back(*std::move(taken));
    const size_t before = context->rows;
    RETURN_IF_ERROR(write.Run(*context));
    const size_t rows = context->rows - before;
    if (write.tenant().empty()) {
      own_rows += rows;
      continue;
    }
    const int64_t unpaid = static_cast<int64_t>(rows) - kCost;
    if (std::exchange(context->unfinished, false)) {
      round->unfinished.push_back({std::move(round->done.back()), unpaid});
      round->done.pop_back();
    } else if (unpaid > 0) {
      queue_.Charge(write.tenant(), unpaid);
    }
  }
  return absl::OkStatus();
}

void Writer::PutBack(std::vector<Slice> unfinished) {
  for (Slice& slice : unfinished) {
    PendingWrite& write = *slice.write;
    write.SetPartStored();
    if (closing_) {
      // A stop waits for no large call. Its caller asks again, with the same keys.
      Refuse(std::move(slice.write), ShuttingDown());
      continue;
    }
    queue_.PutBack(write.tenant(), std::move(slice.write), slice.unpaid, kCost, write.bytes());
  }
}

void Writer::RefuseAll() {
  while (std::optional<std::unique_ptr<PendingWrite>> write = queue_.Take(/*own_first=*/true)) {
    Refuse(*std::move(write), Unshared(failure_));
  }
}

void Writer::Refuse(std::unique_ptr<PendingWrite> write, absl::Status failure) {
  metrics_.queued_writes.Add(-1);
  FinishedBatch refused;
  refused.failure = std::move(failure);
  refused.writes.push_back(std::move(write));
  completion_.Post(std::move(refused));
}

bool Writer::MaintenanceDue() const {
  const absl::Duration now = clock_.Monotonic();
  return now >= next_maintenance_ && session_->MaintenanceDue(now);
}

absl::Status Writer::Maintain(absl::Time now, Effects* effects) {
  const absl::StatusOr<Janitor::Slice> slice =
      session_->Maintain(now, clock_.Monotonic(), effects);
  if (!slice.ok()) return slice.status();
  effects->counts().cancelled += slice->cancelled;
  effects->counts().expired += slice->deleted;
  effects->counts().aged += slice->aged;
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
  return session_->ReportBacklog(now, &metrics_);
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
    SetDiskFull(true);
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
  const AttemptTable::Removed removed = session_->attempts().TakeRemoved();
  metrics_.attempt_bodies_removed.Add(removed.bodies);
  metrics_.attempts_removed.Add(removed.attempts);
  metrics_.attempt_bytes.Set(session_->attempts().bytes());
  metrics_.notifications_published.Add(counts.notifications);
  metrics_.notifications_duplicate.Add(counts.duplicates);
  metrics_.deliveries_created.Add(counts.deliveries);
  metrics_.publishes_refused.Add(counts.refused);
  metrics_.outcomes_recorded.Add(counts.outcomes);
  metrics_.deliveries_cancelled.Add(counts.cancelled);
  metrics_.rows_expired.Add(counts.expired);
  metrics_.deliveries_aged.Add(counts.aged);
}

void Writer::Idle() {
  if (failed_) return;
  TellRoom();
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
  const absl::Time now = ToMicrosecond(clock_.Now());
  if (status.ok()) status = session_->NoteClock(now - ToMicrosecond(clock_.Steady()));
  if (status.ok()) status = Maintain(now, &effects);
  if (status.ok()) status = session_->Commit(Admission().ok());
  if (status.ok()) status = files_.CheckStoredIn();
  if (status.ok()) {
    Count(effects.counts());
    if (!effects.events().empty()) {
      FinishedBatch told;
      told.events = std::move(effects.events());
      completion_.PostCommitted(std::move(told));
    }
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
  const bool own_reads_ended = RunCheckpoint(Database::Checkpoint::kRestart);
  if (failed_ || session_->wal_pages() == 0) return;
  next_restart_ = clock_.Monotonic() + kRestartAgain;
  if (own_reads_ended) SetLogHeld(true);
}

void Writer::SetLogHeld(bool held) {
  if (held == log_held_) return;
  log_held_ = held;
  metrics_.log_held.Set(held ? 1 : 0);
  Notify(held ? OutboxNotice::kLogHeld : OutboxNotice::kLogFree);
}

void Writer::SetDiskFull(bool full) {
  if (full) {
    last_full_ = clock_.Monotonic();
    if (!std::exchange(disk_full_, true)) Notify(OutboxNotice::kDiskFull);
  }
  room_found_ = !full;
  TellRoom();
}

// A small write may fit where a larger one does not: it must go well for a while.
void Writer::TellRoom() {
  if (!disk_full_ || !room_found_ || clock_.Monotonic() < last_full_ + kFullOver) return;
  disk_full_ = false;
  Notify(OutboxNotice::kDiskHasRoom);
}

void Writer::Notify(OutboxNotice notice) {
  if (options_.on_notice) {
    options_.on_notice(notice, session_->wal_pages() * session_->page_bytes());
  }
}

bool Writer::RunCheckpoint(Database::Checkpoint mode) {
  const absl::Duration start = clock_.Monotonic();
  int waits = 0;
  bool own_reads_ended = true;
  const absl::StatusOr<CheckpointResult> result = session_->Checkpoint(mode, [&] {
    if (++waits > kWaitsForReads) return false;
    own_reads_ended = reads_.Await(kMaxWaitForReads);
    return own_reads_ended;
  });
  metrics_.checkpoint_latency.Observe(absl::ToDoubleSeconds(clock_.Monotonic() - start));
  metrics_.checkpoints.Add();
  if (result.ok()) {
    if (result->busy) metrics_.checkpoints_busy.Add();
    metrics_.wal_bytes.Set(session_->wal_pages() * session_->page_bytes());
    return own_reads_ended;
  }
  metrics_.checkpoint_failures.Add();
  // A full disk leaves the log as it is, to be copied later.
  if (result.status().code() != absl::StatusCode::kResourceExhausted) Fail(result.status());
  return own_reads_ended;
}

}  // namespace postrider
