#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "src/base/metrics.h"
#include "src/base/mutex.h"
#include "src/outbox/sqlite/read_session.h"
#include "src/outbox/sqlite/running_reads.h"

namespace postrider {

// Threads that read, each on a connection of its own. Thread-safe; Close is for the owner.
class ReaderPool {
 public:
  // Is given the session to read with, or why it was not run. Answers its caller itself.
  using Job = absl::AnyInvocable<void(absl::StatusOr<ReadSession*>) &&>;

  ReaderPool(std::vector<std::unique_ptr<ReadSession>> sessions, size_t max_queued, Gauge& queued);
  ~ReaderPool() { Close(); }

  ReaderPool(const ReaderPool&) = delete;
  ReaderPool& operator=(const ReaderPool&) = delete;

  // OK when it took the job. Otherwise `job` is untouched: RESOURCE_EXHAUSTED when the queue is
  // full and the job `bounded`, UNAVAILABLE after Close. What is not bounded, since its producer
  // bounds it, comes first: however many lists are asked for, deliveries are read.
  absl::Status Submit(Job& job, bool bounded);

  RunningReads& running() { return running_; }

  // Takes no more, runs what waits, and ends the threads. Idempotent.
  void Close();

 private:
  void Loop(std::unique_ptr<ReadSession> session);
  bool empty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return first_.empty() && jobs_.empty();
  }
  void ReportQueued() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    queued_.Set(static_cast<int64_t>(first_.size() + jobs_.size()));
  }

  const size_t max_queued_;
  Gauge& queued_;
  RunningReads running_;

  Mutex mutex_;
  CondVar submitted_;
  std::deque<Job> first_ ABSL_GUARDED_BY(mutex_);
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;

  std::vector<std::thread> threads_;
};

}  // namespace postrider
