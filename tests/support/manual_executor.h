#pragma once

#include <cstddef>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "src/base/executor.h"
#include "src/base/mutex.h"

namespace postrider {

// An executor without a thread: the test runs what was posted, when it likes. Posting is
// thread-safe; Run... is called by one thread. A closure that runs may post, and may stop it.
class ManualExecutor final : public Executor {
 public:
  void Post(absl::AnyInvocable<void() &&> closure) override;

  // Runs the oldest closure. False when there is none.
  bool RunOne();
  // Runs the newest closure: as if it had been posted first. False when there is none.
  bool RunLast();
  // Runs until nothing is left, also what is posted meanwhile. Tells how many it ran.
  size_t RunAll();

  // Destroys what waits and what is posted from now on, without running it.
  void Stop();

  size_t size() const;
  bool empty() const { return size() == 0; }

 private:
  using Queue = std::deque<absl::AnyInvocable<void() &&>>;
  bool Run(bool newest);

  mutable Mutex mutex_;
  Queue queue_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace postrider
