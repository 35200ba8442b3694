#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"

namespace postrider {

// Tells those who work for a call that nobody waits for its answer any more. Thread-safe.
class Cancellation {
 public:
  // The first time, runs what was left by OnCancel, on this thread.
  void Cancel() {
    std::vector<absl::AnyInvocable<void() &&>> then;
    {
      MutexLock lock(&mutex_);
      cancelled_ = true;
      then.swap(then_);
    }
    for (auto& one : then) std::move(one)();
  }

  bool cancelled() const {
    MutexLock lock(&mutex_);
    return cancelled_;
  }

  // Runs `then` when the call is cancelled; at once, if it is already. It may come after the call's
  // answer, or never. It must be quick.
  void OnCancel(absl::AnyInvocable<void() &&> then) {
    {
      MutexLock lock(&mutex_);
      if (!cancelled_) return then_.push_back(std::move(then));
    }
    std::move(then)();
  }

 private:
  mutable Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void() &&>> then_ ABSL_GUARDED_BY(mutex_);
};

// What a handler is told of a call beside its request. Copies share the cancellation.
struct CallContext {
  // Until when the caller waits.
  absl::Time deadline = absl::InfiniteFuture();
  // Null: it cannot be cancelled.
  std::shared_ptr<Cancellation> cancellation;
  // Who calls, as in base/peer.h; what calls are shared by.
  std::string peer;

  // OK while the caller waits; else DEADLINE_EXCEEDED or CANCELLED. What tells a secret to nobody
  // but the caller asks this right before it stores.
  absl::Status StillWanted(absl::Time now) const {
    if (now >= deadline) {
      return absl::DeadlineExceededError("the call's deadline has passed: nothing was stored");
    }
    if (cancellation != nullptr && cancellation->cancelled()) {
      return absl::CancelledError("the call was cancelled: nothing was stored");
    }
    return absl::OkStatus();
  }
};

}  // namespace postrider
