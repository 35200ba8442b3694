#include "tests/support/manual_executor.h"

#include <iterator>
#include <utility>

namespace postrider {

void ManualExecutor::Post(absl::AnyInvocable<void() &&> closure) {
  MutexLock lock(&mutex_);
  // A refused closure dies with the parameter, after the lock is gone.
  if (!stopped_) queue_.push_back(std::move(closure));
}

bool ManualExecutor::RunOne() { return Run(/*newest=*/false); }
bool ManualExecutor::RunLast() { return Run(/*newest=*/true); }

bool ManualExecutor::Run(bool newest) {
  absl::AnyInvocable<void() &&> closure;
  {
    MutexLock lock(&mutex_);
    if (queue_.empty()) return false;
    const auto chosen = newest ? std::prev(queue_.end()) : queue_.begin();
    closure = std::move(*chosen);
    queue_.erase(chosen);
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
  Queue dropped;
  MutexLock lock(&mutex_);
  stopped_ = true;
  dropped.swap(queue_);
}

size_t ManualExecutor::size() const {
  MutexLock lock(&mutex_);
  return queue_.size();
}

}  // namespace postrider
