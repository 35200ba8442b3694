#include "src/server/app/call_log.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

constexpr int kErrorsPerSecond = 5;
constexpr int kRefusalsPerSecond = 1;

}  // namespace

CallLog::CallLog(const Clock& clock)
    : errors_(clock, kErrorsPerSecond), refusals_(clock, kRefusalsPerSecond) {}

void CallLog::OnFailed(const char* method, const absl::Status& status) {
  const bool refused = absl::IsResourceExhausted(status);
  uint64_t suppressed = 0;
  if (!(refused ? refusals_ : errors_).Allow(&suppressed)) return;
  Log(refused ? LogLevel::kWarn : LogLevel::kError,
      refused ? "a call was refused for want of room"
              : "a call failed for a reason of the server's own",
      {{"method", method}, {"error", status.ToString()}, {"suppressed", absl::StrCat(suppressed)}});
}

}  // namespace postrider
