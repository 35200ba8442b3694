#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"

namespace postrider {

// The server's log: one line an event on standard error, as key=value pairs or as JSON. Lines are
// handed to a thread that writes them, so that nobody waits for whoever reads the log; when it
// falls too far behind, the oldest lines are dropped. Before InitLogging and after FlushLogging
// nothing is written.
//
// Thread-safe, but for InitLogging and FlushLogging, which belong to main.

enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogField {
  std::string_view key;
  std::string value;
};

// `level`: debug, info, warn or error. `json`: lines of JSON. REQUIRES: not called before.
void InitLogging(const std::string& level, bool json);
// Writes what waits and ends the thread.
void FlushLogging();

// `message` is a constant sentence; what varies goes into the fields.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

// A line as Log writes it, without its end.
std::string FormatLogLine(absl::Time time, LogLevel level, std::string_view message,
                          std::initializer_list<LogField> fields, bool json);

// Lets so many events a second through and counts the rest: for what a receiver or a caller could
// flood the log with. Thread-safe.
class LogLimiter {
 public:
  LogLimiter(const Clock& clock, int per_second) : clock_(clock), per_second_(per_second) {}

  // Whether the event may be logged; then `suppressed` is how many were not since the last that
  // was.
  bool Allow(uint64_t* suppressed);

 private:
  const Clock& clock_;
  const int per_second_;

  Mutex mutex_;
  absl::Duration second_start_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  int in_second_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t suppressed_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace postrider
