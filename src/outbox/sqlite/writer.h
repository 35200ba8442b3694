#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/fair_queue.h"
#include "src/outbox/sqlite/completion.h"
#include "src/outbox/sqlite/file_identity.h"
#include "src/outbox/sqlite/options.h"
#include "src/outbox/sqlite/pending_write.h"
#include "src/outbox/sqlite/running_reads.h"
#include "src/outbox/sqlite/write_session.h"

namespace postrider {

// The one thread that writes. It does what waits in one transaction, and hands it to the completion
// thread when it is on disk. When that is too much for one, tenants take turns, and half of each
// transaction is for the engines' outcomes; a write that is itself too large is done in slices,
// with the others between them. Checkpoints and maintenance are its own affair: in idle moments,
// and in a bounded share of its time when there are none.
//
// A disk that is full, or another process that holds the write lock, fails the transaction's
// writes with RESOURCE_EXHAUSTED and the writer goes on. Any other failure is the end: all that
// waits and all that comes is answered UNKNOWN, and `on_fatal` is called once, on the completion
// thread. Files that were removed or replaced are such a failure: nothing is acknowledged that
// could not be found again.
//
// Submit is thread-safe, Close is for the owner.
class Writer {
 public:
  Writer(const SqliteOutboxOptions& options, const Clock& clock,
         std::unique_ptr<WriteSession> session, DataFiles files, RunningReads& reads,
         CompletionThread& completion, SqliteOutboxMetrics& metrics,
         absl::AnyInvocable<void(absl::Status) &&> on_fatal);
  ~Writer() { Close(); }

  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Takes the write; answers it with an error, later, when it is refused: because the queue is
  // full (not when the write is the house's own), shut, or the disk failed.
  void Submit(std::unique_ptr<PendingWrite> write);

  // Takes no more, finishes what waits (of a write in slices, the slice that runs), empties the log
  // and ends the thread. Idempotent.
  void Close();

 private:
  using Writes = std::vector<std::unique_ptr<PendingWrite>>;
  // A write that is to be run again, and what its tenant owes for it.
  struct Slice {
    std::unique_ptr<PendingWrite> write;
    int64_t unpaid;
  };
  // One transaction's.
  struct Round {
    Writes done;
    std::vector<Slice> unfinished;
    Effects effects;
  };

  void Loop();
  // Does what waits and fits into one transaction.
  void CommitSome();
  absl::Status RunTransaction(Round* round);
  absl::Status RunWrites(WriteContext* context, Round* round);
  // After the commit: their next slices come when the others have had their turn.
  void PutBack(std::vector<Slice> unfinished);
  // Answers all that waits with the failure.
  void RefuseAll();
  void Refuse(std::unique_ptr<PendingWrite> write, absl::Status failure);
  bool MaintenanceDue() const;
  absl::Status Maintain(absl::Time now, Effects* effects);
  absl::Status Admission();
  absl::Status ReportSizes();
  // A transaction failed. Says what its callers are told, and ends the writer when it must.
  absl::Status Recover(absl::Status status);
  void Fail(const absl::Status& status);

  // Maintenance and checkpoints between transactions.
  void Idle();
  void CheckpointWhenLarge();
  // False when a read of the outbox's own, which takes long, stands in the way.
  bool RunCheckpoint(Database::Checkpoint mode);
  // Begins the log anew, unless a reader of another process keeps it from that.
  void RestartLog();
  void SetLogHeld(bool held);
  // A transaction found the disk full, or found room.
  void SetDiskFull(bool full);
  void TellRoom();
  void Notify(OutboxNotice notice);
  absl::Duration IdleTimeout() const;

  void Count(const TransactionCounts& counts);

  const SqliteOutboxOptions options_;
  const Clock& clock_;
  const DataFiles files_;
  RunningReads& reads_;
  CompletionThread& completion_;
  SqliteOutboxMetrics& metrics_;
  FairQueue<std::unique_ptr<PendingWrite>> queue_;
  // The disk failed: set by the writer thread, read by callers.
  std::atomic<bool> failed_{false};
  std::atomic<bool> closing_{false};

  // Of the writer thread.
  std::unique_ptr<WriteSession> session_;
  absl::AnyInvocable<void(absl::Status) &&> on_fatal_;
  absl::Status failure_;
  uint64_t disk_free_bytes_ = 0;
  absl::Duration next_disk_check_ = -absl::InfiniteDuration();
  int64_t used_bytes_ = 0;
  // Maintenance waits until then while there is other work.
  absl::Duration next_busy_slice_ = -absl::InfiniteDuration();
  // And until then in any case: the disk was full.
  absl::Duration next_maintenance_ = -absl::InfiniteDuration();
  // A reader of another process holds the log: it is not asked for again before then.
  bool log_held_ = false;
  absl::Duration next_restart_ = -absl::InfiniteDuration();
  bool disk_full_ = false;
  // By the last transaction.
  bool room_found_ = false;
  absl::Duration last_full_ = -absl::InfiniteDuration();
  // Those that have passed since the last write.
  int idle_intervals_ = 0;
  // What the last transaction held: writes, and rows without what was fanned out.
  size_t last_writes_ = 0;
  size_t last_rows_ = 0;

  std::thread thread_;
};

}  // namespace postrider
