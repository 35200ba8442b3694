#include "src/server/app/engine_log.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace postrider {
namespace {

constexpr int kLinesPerSecond = 10;
// Engines that look one after the other see a clock that NTP slews a little differently.
constexpr absl::Duration kSame = absl::Milliseconds(500);

}  // namespace

EngineLog::EngineLog(const Clock& clock)
    : held_back_(clock, kLinesPerSecond), let_go_(clock, kLinesPerSecond) {}

void EngineLog::OnHeldBack(const Webhook& webhook, const std::string& error) {
  uint64_t suppressed = 0;
  if (!held_back_.Allow(&suppressed)) return;
  Log(LogLevel::kWarn,
      "webhook held back: its receiver fails, so one delivery at a time is tried until it works",
      {{"tenant", webhook.tenant},
       {"webhook", webhook.name},
       {"error", error},
       {"suppressed", absl::StrCat(suppressed)}});
}

void EngineLog::OnLetGo(const Webhook& webhook) {
  uint64_t suppressed = 0;
  if (!let_go_.Allow(&suppressed)) return;
  Log(LogLevel::kInfo, "webhook no longer held back",
      {{"tenant", webhook.tenant},
       {"webhook", webhook.name},
       {"suppressed", absl::StrCat(suppressed)}});
}

void EngineLog::OnClockSet(absl::Duration offset) {
  absl::Duration by;
  {
    MutexLock lock(&mutex_);
    by = offset - std::exchange(told_offset_, offset);
  }
  if (absl::AbsDuration(by) < kSame) return;
  Log(LogLevel::kWarn,
      "the clock was set while the server runs: what waits goes on as if it had not been; see that "
      "the time is right",
      {{"by", absl::FormatDuration(absl::Trunc(by, absl::Milliseconds(1)))}});
}

}  // namespace postrider
