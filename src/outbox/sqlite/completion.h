#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "src/base/mutex.h"
#include "src/outbox/outbox.h"
#include "src/outbox/sqlite/effects.h"
#include "src/outbox/sqlite/pending_write.h"

namespace postrider {

// What came of one transaction.
struct FinishedBatch {
  std::vector<Effects::Event> events;
  std::vector<std::unique_ptr<PendingWrite>> writes;
  // An error is the answer of all of them.
  absl::Status failure;
  // Run last, unless empty.
  absl::AnyInvocable<void() &&> then;
};

// The thread that tells the world what was committed: first the listener, then each waiter. It
// keeps the writer from waiting for either, and the order of the commits.
//
// Thread-safe.
class CompletionThread {
 public:
  // The listener may be null; it must outlive the object.
  explicit CompletionThread(OutboxListener* listener);
  ~CompletionThread() { Stop(); }

  CompletionThread(const CompletionThread&) = delete;
  CompletionThread& operator=(const CompletionThread&) = delete;

  // From the writer: waits while many batches, or many deliveries, are unfinished, so that they
  // cannot pile up.
  void PostCommitted(FinishedBatch batch);
  // From anyone, without waiting. The callers bound how many of these there are.
  void Post(FinishedBatch batch);

  // Finishes all that was posted, also by what it calls, and ends the thread. Nothing may be posted
  // after. Idempotent; for the owner.
  void Stop();

 private:
  static constexpr size_t kMaxWaiting = 64;
  // A single transaction may hold more.
  static constexpr size_t kMaxOwedWaiting = 65536;

  void Loop();
  void Finish(FinishedBatch& batch);

  OutboxListener* const listener_;

  Mutex mutex_;
  CondVar posted_;
  CondVar taken_;
  std::deque<FinishedBatch> batches_ ABSL_GUARDED_BY(mutex_);
  // Deliveries in `batches_`.
  size_t owed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  // Last, so that the thread sees the rest.
  std::thread thread_;
};

}  // namespace postrider
