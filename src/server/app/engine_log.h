#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"
#include "src/delivery/engine.h"
#include "src/server/observe/logging.h"

namespace postrider {

// Writes the log lines of the engines: one when a webhook is held back and when it is let go, at
// most ten a second of each, and one each time that the wall clock is set, whichever engine sees it
// first.
//
// Thread-safe: the engines call it on threads of their own.
class EngineLog final : public EngineListener {
 public:
  explicit EngineLog(const Clock& clock);

  void OnHeldBack(const Webhook& webhook, const std::string& error) override;
  void OnLetGo(const Webhook& webhook) override;
  void OnClockSet(absl::Duration offset) override;

 private:
  LogLimiter held_back_;
  LogLimiter let_go_;
  Mutex mutex_;
  absl::Duration told_offset_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
