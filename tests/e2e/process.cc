#include "tests/e2e/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "src/base/mutex.h"

namespace postrider {
namespace {

// For what cannot fail but for a machine that is out of everything.
int Must(int result, const char* what) {
  if (result >= 0) return result;
  std::perror(what);
  std::abort();
}

struct Pipe {
  Pipe() {
    int fds[2];
    Must(pipe2(fds, O_CLOEXEC), "pipe2");
    read_end = fds[0];
    write_end = fds[1];
  }
  int read_end;
  int write_end;
};

// A file in memory with the content, at its beginning.
int FileWith(const std::string& content) {
  const int fd = Must(memfd_create("input", MFD_CLOEXEC), "memfd_create");
  for (size_t at = 0; at < content.size();) {
    const ssize_t written = write(fd, content.data() + at, content.size() - at);
    at += static_cast<size_t>(Must(static_cast<int>(written), "write"));
  }
  Must(static_cast<int>(lseek(fd, 0, SEEK_SET)), "lseek");
  return fd;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> EnvironmentWith(const std::vector<std::string>& added) {
  std::vector<std::string> lines;
  for (char** line = environ; *line != nullptr; ++line) {
    if (!absl::StartsWith(*line, "POSTRIDER_")) lines.emplace_back(*line);
  }
  lines.insert(lines.end(), added.begin(), added.end());
  return lines;
}

}  // namespace

struct Process::Impl {
  // Collects what comes through the pipe.
  void Read(int fd, std::string* text, bool* ended) {
    char buffer[4096];
    for (;;) {
      const ssize_t got = read(fd, buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      MutexLock lock(&mutex);
      changed.SignalAll();
      if (got > 0) {
        text->append(buffer, static_cast<size_t>(got));
        continue;
      }
      *ended = true;
      break;
    }
    close(fd);
  }

  void AwaitEnd() {
    siginfo_t info;
    while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0) {
      if (errno != EINTR) Must(-1, "waitid");
    }
    // It is taken away under the lock, so that nobody signals another process of its number.
    MutexLock lock(&mutex);
    int status = 0;
    Must(waitpid(pid, &status, 0), "waitpid");
    exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    changed.SignalAll();
  }

  // Waits until `condition`, which is called with the lock held, is true.
  template <typename Condition>
  bool WaitUntil(absl::Duration timeout, Condition condition) {
    const absl::Time deadline = absl::Now() + timeout;
    MutexLock lock(&mutex);
    while (!condition()) {
      const absl::Duration left = deadline - absl::Now();
      if (left <= absl::ZeroDuration()) return false;
      changed.WaitFor(&mutex, left);
    }
    return true;
  }

  pid_t pid = -1;
  std::thread out_reader;
  std::thread err_reader;
  std::thread waiter;

  Mutex mutex;
  CondVar changed;
  std::string out ABSL_GUARDED_BY(mutex);
  std::string err ABSL_GUARDED_BY(mutex);
  bool out_ended ABSL_GUARDED_BY(mutex) = false;
  bool err_ended ABSL_GUARDED_BY(mutex) = false;
  std::optional<int> exit_code ABSL_GUARDED_BY(mutex);
};

Process::Process(const Options& options) : impl_(std::make_unique<Impl>()) {
  std::vector<std::string> args = {POSTRIDER_BINARY};
  args.insert(args.end(), options.args.begin(), options.args.end());
  std::vector<std::string> environment = EnvironmentWith(options.environment);
  const std::vector<char*> argv = Pointers(args);
  const std::vector<char*> envp = Pointers(environment);
  const int input = FileWith(options.input);
  const Pipe out;
  const Pipe err;
  const pid_t parent = getpid();

  impl_->pid = Must(fork(), "fork");
  if (impl_->pid == 0) {
    // From here to execve only what is async-signal-safe.
    dup2(input, STDIN_FILENO);
    dup2(out.write_end, STDOUT_FILENO);
    dup2(err.write_end, STDERR_FILENO);
    close_range(3, ~0U, 0);
    if (options.before_exec) options.before_exec();
    // After it, since a change of credentials takes it back.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    execve(POSTRIDER_BINARY, argv.data(), envp.data());
    _exit(127);
  }
  close(input);
  close(out.write_end);
  close(err.write_end);
  Impl* const impl = impl_.get();
  impl->out_reader =
      std::thread([impl, fd = out.read_end] { impl->Read(fd, &impl->out, &impl->out_ended); });
  impl->err_reader =
      std::thread([impl, fd = err.read_end] { impl->Read(fd, &impl->err, &impl->err_ended); });
  impl->waiter = std::thread([impl] { impl->AwaitEnd(); });
}

Process::~Process() {
  Signal(SIGKILL);
  impl_->waiter.join();
  impl_->out_reader.join();
  impl_->err_reader.join();
  const std::string report = SanitizerReport(err());
  if (!report.empty()) ADD_FAILURE() << report;
}

pid_t Process::pid() const { return impl_->pid; }

std::string Process::out() const {
  MutexLock lock(&impl_->mutex);
  return impl_->out;
}

std::string Process::err() const {
  MutexLock lock(&impl_->mutex);
  return impl_->err;
}

std::optional<std::string> Process::WaitForLine(const std::string& prefix, absl::Duration timeout) {
  std::optional<std::string> line;
  impl_->WaitUntil(timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const std::string& out = impl_->out;
    for (size_t begin = 0; begin < out.size();) {
      const size_t end = out.find('\n', begin);
      if (end == std::string::npos) break;
      if (out.compare(begin, prefix.size(), prefix) == 0) {
        line = out.substr(begin, end - begin);
        return true;
      }
      begin = end + 1;
    }
    return impl_->out_ended;
  });
  return line;
}

bool Process::WaitForOut(const std::string& text, absl::Duration timeout) {
  return impl_->WaitUntil(timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->out.find(text) != std::string::npos;
  });
}

bool Process::WaitForErr(const std::string& text, absl::Duration timeout) {
  return impl_->WaitUntil(timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->err.find(text) != std::string::npos;
  });
}

void Process::Signal(int signal) {
  MutexLock lock(&impl_->mutex);
  if (!impl_->exit_code.has_value()) kill(impl_->pid, signal);
}

std::optional<int> Process::WaitForEnd(absl::Duration timeout) {
  impl_->WaitUntil(timeout, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return impl_->exit_code.has_value() && impl_->out_ended && impl_->err_ended;
  });
  MutexLock lock(&impl_->mutex);
  return impl_->exit_code;
}

bool Process::ended() const {
  MutexLock lock(&impl_->mutex);
  return impl_->exit_code.has_value();
}

CommandResult RunCommand(const std::vector<std::string>& args, const std::string& input,
                         const std::vector<std::string>& environment) {
  CommandResult result;
  Process::Options options;
  options.args = args;
  options.input = input;
  options.environment = environment;
  Process process(options);
  const std::optional<int> exit_code = process.WaitForEnd();
  if (!exit_code.has_value()) {
    ADD_FAILURE() << "the command did not end: " << testing::PrintToString(args);
    return result;
  }
  result.exit_code = *exit_code;
  result.out = process.out();
  result.err = process.err();
  return result;
}

std::string SanitizerReport(const std::string& err) {
  for (const char* mark : {"WARNING: ThreadSanitizer", "ERROR: AddressSanitizer",
                           "ERROR: LeakSanitizer", "runtime error: "}) {
    const size_t at = err.find(mark);
    if (at != std::string::npos) return err.substr(at, 20000);
  }
  return "";
}

}  // namespace postrider
