#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/fair_queue.h"
#include "src/base/metrics.h"
#include "src/outbox/sqlite/read_session.h"
#include "src/outbox/sqlite/running_reads.h"

namespace postrider {

// Threads that read, each on a connection of its own, in the turns of the tenants that ask. What
// the engines ask for comes first: however many lists are asked for, deliveries are read.
// Thread-safe; Close is for the owner.
class ReaderPool {
 public:
  // Is given the session to read with, or why it was not run. Answers its caller itself.
  using Job = absl::AnyInvocable<void(absl::StatusOr<ReadSession*>) &&>;

  ReaderPool(std::vector<std::unique_ptr<ReadSession>> sessions, size_t max_queued, Gauge& queued);
  ~ReaderPool() { Close(); }

  ReaderPool(const ReaderPool&) = delete;
  ReaderPool& operator=(const ReaderPool&) = delete;

  // OK when it took the job. Otherwise `job` is untouched: RESOURCE_EXHAUSTED when the tenant's
  // share of the queue is used up, UNAVAILABLE after Close. An empty tenant: the house's own, which
  // is never refused for want of room, since its producers bound it.
  absl::Status Submit(const std::string& tenant, Job& job);

  RunningReads& running() { return running_; }

  // Takes no more, runs what waits, and ends the threads. Idempotent.
  void Close();

 private:
  void Loop(std::unique_ptr<ReadSession> session);

  Gauge& queued_;
  RunningReads running_;
  FairQueue<Job> queue_;
  std::atomic<bool> closed_{false};
  std::vector<std::thread> threads_;
};

}  // namespace postrider
