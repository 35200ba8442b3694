#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace postrider::bench {

// A program that runs beside the bench, and dies with it. Its standard error goes to a file, which
// Fail shows while the program runs. Not thread-safe: it belongs to the main thread.
class ChildProcess {
 public:
  // Starts it; Fails when that cannot be.
  ChildProcess(const std::vector<std::string>& arguments, const std::string& log);
  // Kills it.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The first line on its standard output; Fails when none has come in time.
  std::string ReadLine(absl::Duration timeout);

  // SIGKILL, and waits for its end. Idempotent.
  void Kill();

  // Just before it was started.
  int64_t start_ns() const { return start_ns_; }
  // Processor time of all its threads so far. REQUIRES: it was not killed.
  int64_t CpuNs() const;
  // The most memory that it has had resident. REQUIRES: it was not killed.
  double PeakRssMib() const;

 private:
  const std::string log_;
  int64_t start_ns_ = 0;
  pid_t pid_ = -1;
  int output_ = -1;
};

}  // namespace postrider::bench
