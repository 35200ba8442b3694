#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

// What every part of the bench stands on: the clock, the scratch directory, and one way to give up.

namespace postrider::bench {

// CLOCK_MONOTONIC, which all processes of the machine share.
int64_t NowNs();
void SleepUntilNs(int64_t time_ns);

// The processor time of the calling thread.
int64_t ThreadCpuNs();

// Says what went wrong, shows the ends of the registered logs, removes the scratch directory and
// ends the process with code 1. The children end with it. Thread-safe.
[[noreturn]] void Fail(const std::string& message);

// Makes an empty directory below `parent` that is removed when the process ends. Called once, by
// main. Fails when `parent` is in memory: a sync would cost nothing there.
std::string MakeScratch(const std::string& parent);
void RemoveScratch();

// A log whose end Fail shows.
void RegisterLog(const std::string& path);
void UnregisterLog(const std::string& path);

// Starts the thread that watches over deadlines and takes SIGINT and SIGTERM: both end in Fail.
// Blocks these signals in the calling thread, so it comes before any other thread.
void StartWatchdog();

// The part of the run that goes by `name` fails when it takes longer. One at a time.
class Deadline {
 public:
  Deadline(const std::string& name, absl::Duration limit);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
};

}  // namespace postrider::bench
