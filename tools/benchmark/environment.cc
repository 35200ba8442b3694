#include "tools/benchmark/environment.h"

#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace postrider::bench {
namespace {

constexpr size_t kLogBytesShown = 4000;

struct State {
  // Fail holds it for good, so that two threads do not give up at once.
  std::mutex failing;
  std::mutex mutex;
  std::string scratch;
  std::vector<std::string> logs;
  std::string deadline_name;
  std::atomic<int64_t> deadline_ns{std::numeric_limits<int64_t>::max()};
};

State& TheState() {
  static State* const state = new State;
  return *state;
}

int64_t ReadClock(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void ShowEnd(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::string shown = text.str();
  if (shown.size() > kLogBytesShown) shown.erase(0, shown.size() - kLogBytesShown);
  std::fprintf(stderr, "---- the end of %s\n%s\n", path.c_str(), shown.c_str());
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

void Watch() {
  const sigset_t signals = StopSignals();
  const timespec pause{0, 100'000'000};
  while (true) {
    const int signal = sigtimedwait(&signals, nullptr, &pause);
    if (signal > 0) Fail(absl::StrCat("stopped by ", strsignal(signal)));
    State& state = TheState();
    if (NowNs() < state.deadline_ns) continue;
    std::string name;
    {
      const std::lock_guard lock(state.mutex);
      name = state.deadline_name;
    }
    Fail(absl::StrCat(name, " did not come to its end in time"));
  }
}

}  // namespace

int64_t NowNs() { return ReadClock(CLOCK_MONOTONIC); }
int64_t ThreadCpuNs() { return ReadClock(CLOCK_THREAD_CPUTIME_ID); }

void SleepUntilNs(int64_t time_ns) {
  const timespec time{static_cast<time_t>(time_ns / 1'000'000'000),
                      static_cast<long>(time_ns % 1'000'000'000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR) {
  }
}

void Fail(const std::string& message) {
  State& state = TheState();
  state.failing.lock();
  std::fprintf(stderr, "postrider-bench: %s\n", message.c_str());
  std::vector<std::string> logs;
  {
    const std::lock_guard lock(state.mutex);
    logs = state.logs;
  }
  for (const std::string& log : logs) ShowEnd(log);
  RemoveScratch();
  std::fflush(nullptr);
  // Other threads may be anywhere, so nothing is destroyed. The children die with their parent.
  _exit(1);
}

std::string MakeScratch(const std::string& parent) {
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  struct statfs disk;
  if (statfs(parent.c_str(), &disk) != 0) {
    Fail(absl::StrCat("--dir ", parent, ": ", std::strerror(errno)));
  }
  if (disk.f_type == TMPFS_MAGIC || disk.f_type == RAMFS_MAGIC) {
    Fail(absl::StrCat("--dir ", parent, " is in memory: name a directory on a disk"));
  }
  std::string path = parent + "/postrider-bench.XXXXXX";
  if (mkdtemp(path.data()) == nullptr) Fail(absl::StrCat(path, ": ", std::strerror(errno)));
  const std::lock_guard lock(TheState().mutex);
  TheState().scratch = path;
  return path;
}

void RemoveScratch() {
  std::string path;
  {
    const std::lock_guard lock(TheState().mutex);
    path.swap(TheState().scratch);
  }
  if (path.empty()) return;
  std::error_code error;
  // A server that is still dying may make a file meanwhile.
  for (int i = 0; i < 10 && std::filesystem::exists(path, error); ++i) {
    std::filesystem::remove_all(path, error);
  }
}

void RegisterLog(const std::string& path) {
  const std::lock_guard lock(TheState().mutex);
  TheState().logs.push_back(path);
}

void UnregisterLog(const std::string& path) {
  const std::lock_guard lock(TheState().mutex);
  std::erase(TheState().logs, path);
}

void StartWatchdog() {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(Watch).detach();
}

Deadline::Deadline(const std::string& name, absl::Duration limit) {
  State& state = TheState();
  const std::lock_guard lock(state.mutex);
  state.deadline_name = name;
  state.deadline_ns = NowNs() + absl::ToInt64Nanoseconds(limit);
}

Deadline::~Deadline() { TheState().deadline_ns = std::numeric_limits<int64_t>::max(); }

}  // namespace postrider::bench
