#include "tools/benchmark/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tools/benchmark/environment.h"

namespace postrider::bench {
namespace {

// Between fork and exec: only what is safe there.
[[noreturn]] void Exec(char* const* arguments, int output, int log, pid_t parent) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  dup2(output, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(arguments[0], arguments);
  const char* const why = std::strerror(errno);
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, why, std::strlen(why));
  _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, const std::string& log)
    : log_(log) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  const int log_fd = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (log_fd < 0 || pipe2(ends, O_CLOEXEC) != 0) {
    Fail(absl::StrCat("starting ", arguments[0], ": ", std::strerror(errno)));
  }
  const pid_t parent = getpid();
  start_ns_ = NowNs();
  pid_ = fork();
  if (pid_ == 0) Exec(argv.data(), ends[1], log_fd, parent);
  if (pid_ < 0) Fail(absl::StrCat("starting ", arguments[0], ": ", std::strerror(errno)));
  close(log_fd);
  close(ends[1]);
  output_ = ends[0];
  RegisterLog(log_);
}

ChildProcess::~ChildProcess() {
  Kill();
  close(output_);
}

std::string ChildProcess::ReadLine(absl::Duration timeout) {
  const int64_t until_ns = NowNs() + absl::ToInt64Nanoseconds(timeout);
  std::string line;
  while (line.empty() || line.back() != '\n') {
    pollfd wait{output_, POLLIN, 0};
    const int64_t left_ms = (until_ns - NowNs()) / 1'000'000;
    if (left_ms <= 0) Fail("a server did not say in time that it is ready");
    if (poll(&wait, 1, static_cast<int>(left_ms)) <= 0) continue;
    char text[256];
    const ssize_t count = read(output_, text, sizeof(text));
    if (count <= 0) Fail("a server ended before it was ready");
    line.append(text, static_cast<size_t>(count));
  }
  line.pop_back();
  return line;
}

void ChildProcess::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
    Fail("a server ended on its own before the bench was done with it");
  }
  pid_ = -1;
  UnregisterLog(log_);
}

int64_t ChildProcess::CpuNs() const {
  clockid_t clock;
  timespec time;
  if (clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &time) != 0) {
    Fail("a server has gone, so its processor time cannot be read");
  }
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

double ChildProcess::PeakRssMib() const {
  std::ifstream status(absl::StrCat("/proc/", pid_, "/status"));
  std::string line;
  while (std::getline(status, line)) {
    if (!absl::StartsWith(line, "VmHWM:")) continue;
    return std::strtod(line.c_str() + std::strlen("VmHWM:"), nullptr) / 1024;
  }
  Fail("a server has gone, so its peak memory cannot be read");
}

}  // namespace postrider::bench
