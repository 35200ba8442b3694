#include "tests/support/manual_executor.h"

#include <utility>

namespace postrider {

void ManualExecutor::Post(absl::AnyInvocable<void() &&> closure) {
  MutexLock lock(&mutex_);
  // A refused closure dies with the parameter, after the lock is gone.
  if (!stopped_) queue_.push_back(std::move(closure));
}

bool ManualExecutor::RunOne() {
  absl::AnyInvocable<void() &&> closure;
  {
    MutexLock lock(&mutex_);
    if (queue_.empty()) return false;
    closure = std::move(queue_.front());
    queue_.pop_front();
  }
  std::move(closure)();
  return true;
}

size_t ManualExecutor::RunAll() {
  size_t ran = 0;
  while (RunOne()) ++ran;
  return ran;
}

void ManualExecutor::Stop() {
  std::deque<absl::AnyInvocable<void() &&>> dropped;
  MutexLock lock(&mutex_);
  stopped_ = true;
  dropped.swap(queue_);
}

size_t ManualExecutor::size() const {
  MutexLock lock(&mutex_);
  return queue_.size();
}

}  // namespace postrider
