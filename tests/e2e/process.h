#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace postrider {

// How long a test waits for what must come. Only a failing test ever waits that long.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

// The real binary as a process of its own. Its output is collected while it runs; when it is
// destroyed the process is killed, and it does not outlive the test in any other way either.
//
// Belongs to one thread, which must not end before the process does: the kernel kills the process
// with the thread that started it.
class Process {
 public:
  struct Options {
    // Without the program itself.
    std::vector<std::string> args;
    // `NAME=value`, beside what the test's own environment has. No POSTRIDER_ variable of the
    // test's own is handed on.
    std::vector<std::string> environment;
    // What it reads on standard input.
    std::string input;
    // Called in the new process before the program runs. Must be async-signal-safe.
    std::function<void()> before_exec;
  };

  explicit Process(const Options& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const;
  // What it has written so far.
  std::string out() const;
  std::string err() const;

  // The first line of standard output that begins with `prefix`. Nothing when the process ended, or
  // the time passed, without one.
  std::optional<std::string> WaitForLine(const std::string& prefix,
                                         absl::Duration timeout = kPatience);
  // Waits until standard output, or standard error, holds the text.
  bool WaitForOut(const std::string& text, absl::Duration timeout = kPatience);
  bool WaitForErr(const std::string& text, absl::Duration timeout = kPatience);

  // Does nothing when the process has ended.
  void Signal(int signal);
  // The exit code, or 128 and the signal's number. Nothing when the time passed.
  std::optional<int> WaitForEnd(absl::Duration timeout = kPatience);
  bool ended() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

struct CommandResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// Runs a client subcommand to its end.
CommandResult RunCommand(const std::vector<std::string>& args, const std::string& input = "",
                         const std::vector<std::string>& environment = {});

// What a sanitizer has written; empty when there is nothing.
std::string SanitizerReport(const std::string& err);

}  // namespace postrider
