#include "src/server/app/serve.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/host_port.h"
#include "src/server/app/app.h"
#include "src/server/observe/logging.h"

namespace postrider {
namespace {

// What has been broken off is recorded, if the disk does not hang.
constexpr absl::Duration kAbandonTimeout = absl::Seconds(5);

// Whoever signals a process and its group, or a wrapper that passes on what it gets, too, sends two
// and means one.
constexpr absl::Duration kOneSignal = absl::Seconds(1);

sigset_t OurSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

// What the main thread waits for: a signal, or a word from the App.
class Events {
 public:
  Events() {
    const sigset_t signals = OurSignals();
    signals_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  }
  ~Events() {
    if (signals_ >= 0) close(signals_);
    if (wake_ >= 0) close(wake_);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  bool ok() const { return signals_ >= 0 && wake_ >= 0; }

  // Ends a Wait. Thread-safe.
  void Wake() {
    const uint64_t one = 1;
    // It fails only when the counter is full, and then there is a wake-up already.
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
  }

  // Waits for a signal or a Wake. The signal, which is then taken; 0: there was none.
  int Wait(absl::Duration timeout) {
    pollfd fds[2] = {{signals_, POLLIN, 0}, {wake_, POLLIN, 0}};
    const int millis =
        timeout == absl::InfiniteDuration()
            ? -1
            : static_cast<int>(std::max<int64_t>(0, absl::ToInt64Milliseconds(timeout) + 1));
    poll(fds, 2, millis);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t drained = read(wake_, &count, sizeof(count));
    signalfd_siginfo info;
    const bool taken = read(signals_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info));
    return taken ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  int signals_ = -1;
  int wake_ = -1;
};

ExitCode Complain(const Failure& failure) {
  Log(LogLevel::kError, "cannot start", {{"error", failure.message}});
  FlushLogging();
  return failure.code;
}

// None of them is a secret: those stand in files.
void LogSettings(const ServeFlags& flags) {
  std::vector<std::string> defaults;
  for (const Setting& setting : flags.settings()) {
    if (setting.source.empty()) {
      defaults.push_back(absl::StrCat(setting.flag, "=", setting.value));
      continue;
    }
    Log(LogLevel::kInfo, "setting",
        {{"flag", setting.flag}, {"value", setting.value}, {"from", setting.source}});
  }
  Log(LogLevel::kInfo, "settings by default", {{"flags", absl::StrJoin(defaults, " ")}});
  if (!flags.passed_over().empty()) {
    Log(LogLevel::kInfo, "variables that Kubernetes sets for a Service are passed over",
        {{"variables", absl::StrJoin(flags.passed_over(), " ")}});
  }
  const ServerConfig& config = flags.config();
  if (!config.insecure && !ParseHostPort(config.http_listen)->IsLoopback()) {
    Log(LogLevel::kWarn,
        "--http-listen is not a loopback address, and has neither TLS nor users: give --insecure "
        "if that is meant",
        {{"http_listen", config.http_listen}});
  }
}

void PrintReady(const App& app) {
  std::printf("ready grpc=%s http=%s\n", app.grpc_address().ToString().c_str(),
              app.http_address().ToString().c_str());
  std::fflush(stdout);
  Log(LogLevel::kInfo, "ready",
      {{"grpc", app.grpc_address().ToString()}, {"http", app.http_address().ToString()}});
}

// True when the disk failed.
bool WaitForStop(App* app, Events* events) {
  for (;;) {
    const int signal = events->Wait(absl::InfiniteDuration());
    if (app->disk_failure()) return true;
    if (signal == SIGHUP) {
      app->Reload();
    } else if (signal != 0) {
      return false;
    }
  }
}

// Waits until the app is idle. False when a second signal, the disk or the time ended that.
bool WaitForIdle(const App& app, Events* events, absl::Duration stop_begin,
                 absl::Duration timeout) {
  const absl::Duration deadline = SystemClock().Monotonic() + timeout;
  while (!app.idle()) {
    const absl::Duration now = SystemClock().Monotonic();
    if (now >= deadline || app.disk_failure()) return false;
    const int signal = events->Wait(deadline - now);
    if (signal == 0 || signal == SIGHUP) continue;
    if (SystemClock().Monotonic() < stop_begin + kOneSignal) continue;
    Log(LogLevel::kWarn, "second signal: requests under way are broken off");
    return false;
  }
  return true;
}

// There is nothing left to be saved: what is owed is on disk, or nobody was told that it is.
// Waiting for threads that wait for the disk could take forever.
[[noreturn]] void EndAfterDiskFailure(const App& app) {
  FlushLogging();
  std::fflush(nullptr);
  std::_Exit(static_cast<int>(app.disk_failure()->code));
}

}  // namespace

void BlockStopSignals() {
  const sigset_t signals = OurSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  // A file that may not grow is told by the write that finds out.
  signal(SIGXFSZ, SIG_IGN);
}

ExitCode Serve(const ServeFlags& flags) {
  const ServerConfig& config = flags.config();
  InitLogging(config.log_level, config.log_format == "json");
  LogSettings(flags);
  Events events;
  if (!events.ok()) return Complain({ExitCode::kUnavailable, "no file descriptors are left"});
  auto started = App::Start(config, [&events] { events.Wake(); });
  if (const auto* failure = std::get_if<Failure>(&started)) return Complain(*failure);
  const std::unique_ptr<App> app = std::move(std::get<std::unique_ptr<App>>(started));
  PrintReady(*app);

  if (WaitForStop(app.get(), &events)) EndAfterDiskFailure(*app);
  const absl::Duration stop_begin = SystemClock().Monotonic();
  Log(LogLevel::kInfo, "stopping", {{"drain_timeout", absl::FormatDuration(config.drain_timeout)}});
  app->BeginDrain();
  if (!WaitForIdle(*app, &events, stop_begin, config.drain_timeout)) {
    app->Abandon();
    if (!WaitForIdle(*app, &events, stop_begin, kAbandonTimeout)) {
      Log(LogLevel::kWarn, "stopping with outcomes that are not recorded: they are owed again");
    }
  }
  if (app->disk_failure()) EndAfterDiskFailure(*app);
  app->Stop();
  if (app->disk_failure()) EndAfterDiskFailure(*app);
  Log(LogLevel::kInfo, "stopped");
  FlushLogging();
  return ExitCode::kOk;
}

}  // namespace postrider
