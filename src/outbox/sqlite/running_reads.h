#pragma once

#include <chrono>
#include <cstdint>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"

namespace postrider {

// Knows which of the outbox's own reads run. Who begins the write-ahead log anew waits for these,
// which are short, and so can tell them from a reader of another process, for whom it does not
// wait. Thread-safe.
class RunningReads {
 public:
  // One read, from its construction to its end.
  class Read {
   public:
    explicit Read(RunningReads& reads) : reads_(reads), number_(reads.Begin()) {}
    ~Read() { reads_.End(number_); }
    Read(const Read&) = delete;
    Read& operator=(const Read&) = delete;

   private:
    RunningReads& reads_;
    const uint64_t number_;
  };

  // Waits for the end of every read that runs now, but for `timeout` at most: reads that begin and
  // end meanwhile do not prolong it. False when some of them still run.
  bool Await(absl::Duration timeout) {
    const absl::Duration deadline = Monotonic() + timeout;
    MutexLock lock(&mutex_);
    const uint64_t last = last_;
    while (!running_.empty() && *running_.begin() <= last) {
      const absl::Duration rest = deadline - Monotonic();
      if (rest <= absl::ZeroDuration()) return false;
      ended_.WaitFor(&mutex_, rest);
    }
    return true;
  }

 private:
  static absl::Duration Monotonic() {
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }

  uint64_t Begin() {
    MutexLock lock(&mutex_);
    running_.insert(++last_);
    return last_;
  }
  void End(uint64_t number) {
    MutexLock lock(&mutex_);
    running_.erase(number);
    ended_.SignalAll();
  }

  Mutex mutex_;
  CondVar ended_;
  // They are numbered as they begin.
  uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> running_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
