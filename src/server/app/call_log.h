#pragma once

#include "src/base/clock.h"
#include "src/server/api/call_gate.h"
#include "src/server/observe/logging.h"

namespace postrider {

// Tells the log of calls that failed, a few a second. Thread-safe.
class CallLog final : public CallGate::Listener {
 public:
  explicit CallLog(const Clock& clock);

  void OnFailed(const char* method, const absl::Status& status) override;

 private:
  LogLimiter errors_;
  LogLimiter refusals_;
};

}  // namespace postrider
