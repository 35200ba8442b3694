#include "src/http/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace postrider {
namespace {

// Taken from the kernel at once; what is beyond comes with the next turn.
constexpr int kMaxEvents = 256;
constexpr absl::Duration kLongestWait = absl::Minutes(1);
// Of what `busy` says: long beside a turn, short beside the time in which a backlog begins or ends.
constexpr absl::Duration kBusyPeriod = absl::Milliseconds(5);

// A system call failed that fails only when this code is wrong.
[[noreturn]] void Die(const char* call, int fd) {
  std::fprintf(stderr, "event loop: %s on descriptor %d failed: %s\n", call, fd,
               std::strerror(errno));
  std::abort();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create(const Clock& clock) {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return absl::ErrnoToStatus(errno, "epoll_create1");
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const int error = errno;
    close(epoll_fd);
    return absl::ErrnoToStatus(error, "eventfd");
  }
  return std::unique_ptr<EventLoop>(new EventLoop(clock, epoll_fd, wake_fd));
}

EventLoop::EventLoop(const Clock& clock, int epoll_fd, int wake_fd)
    : clock_(clock), epoll_fd_(epoll_fd), wake_fd_(wake_fd) {
  Control(EPOLL_CTL_ADD, wake_fd_, EPOLLIN);
}

EventLoop::~EventLoop() {
  Stop();
  close(wake_fd_);
  close(epoll_fd_);
}

void EventLoop::Post(absl::AnyInvocable<void() &&> closure) {
  MutexLock lock(&mutex_);
  if (stopped_) return;
  posted_.push_back(std::move(closure));
  if (woken_) return;
  woken_ = true;
  if (eventfd_write(wake_fd_, 1) != 0) Die("eventfd_write", wake_fd_);
}

void EventLoop::Stop() {
  std::vector<absl::AnyInvocable<void() &&>> dropped;
  MutexLock lock(&mutex_);
  if (stopped_) return;
  stopped_ = true;
  dropped.swap(posted_);
  if (!woken_ && eventfd_write(wake_fd_, 1) != 0) Die("eventfd_write", wake_fd_);
  woken_ = true;
}

void EventLoop::Run() {
  counted_since_ = clock_.Monotonic();
  while (RunPosted()) {
    for (Timed* timed : timed_) timed->OnTurn();
    WaitAndDispatch();
  }
}

bool EventLoop::RunPosted() {
  {
    MutexLock lock(&mutex_);
    if (stopped_) return false;
    if (woken_) {
      woken_ = false;
      eventfd_t ignored;
      if (eventfd_read(wake_fd_, &ignored) != 0) Die("eventfd_read", wake_fd_);
    }
    running_.swap(posted_);
  }
  for (auto& closure : running_) std::move(closure)();
  running_.clear();
  return true;
}

int EventLoop::TimeoutMillis() const {
  absl::Duration deadline = absl::InfiniteDuration();
  for (const Timed* timed : timed_) deadline = std::min(deadline, timed->Deadline());
  if (deadline == absl::InfiniteDuration()) return -1;
  const absl::Duration wait = std::min(deadline - clock_.Monotonic(), kLongestWait);
  if (wait <= absl::ZeroDuration()) return 0;
  // Rounded up: a turn that comes too early finds nothing to do, and comes again at once.
  return static_cast<int>(absl::ToInt64Milliseconds(wait + absl::Microseconds(999)));
}

void EventLoop::WaitAndDispatch() {
  std::array<epoll_event, kMaxEvents> events;
  const int timeout_ms = TimeoutMillis();
  const absl::Duration before = clock_.Monotonic();
  waiting_since_.store(absl::ToInt64Nanoseconds(before), std::memory_order_relaxed);
  const int count = epoll_wait(epoll_fd_, events.data(), kMaxEvents, timeout_ms);
  waiting_since_.store(kNotWaiting, std::memory_order_relaxed);
  CountBusy(before, clock_.Monotonic());
  if (count < 0) {
    if (errno == EINTR) return;
    Die("epoll_wait", epoll_fd_);
  }
  for (int i = 0; i < count; ++i) {
    const int fd = events[i].data.fd;
    // RunPosted empties it.
    if (fd == wake_fd_) continue;
    Registration& registration = registrations_[fd];
    if (registration.watcher != nullptr) {
      registration.watcher->OnReady(fd, events[i].events);
    } else if (registration.events != 0) {
      // Nobody looks at a paused descriptor, so the kernel would tell of it for ever.
      Unwatch(fd);
    }
  }
}

float EventLoop::busy() const {
  const absl::Duration since = absl::Nanoseconds(waiting_since_.load(std::memory_order_relaxed));
  if (clock_.Monotonic() - since >= kBusyPeriod) return 0;
  return busy_.load(std::memory_order_relaxed);
}

void EventLoop::CountBusy(absl::Duration before_wait, absl::Duration after_wait) {
  waited_ += after_wait - before_wait;
  const absl::Duration period = after_wait - counted_since_;
  if (period < kBusyPeriod) return;
  busy_.store(1 - static_cast<float>(absl::FDivDuration(waited_, period)),
              std::memory_order_relaxed);
  counted_since_ = after_wait;
  waited_ = absl::ZeroDuration();
}

void EventLoop::Watch(int fd, uint32_t events, Watcher* watcher) {
  if (static_cast<size_t>(fd) >= registrations_.size()) registrations_.resize(fd + 1);
  Registration& registration = registrations_[fd];
  registration.watcher = watcher;
  if (registration.events == events) return;
  Control(registration.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, events);
  registration.events = events;
}

void EventLoop::Pause(int fd) {
  if (static_cast<size_t>(fd) < registrations_.size()) registrations_[fd].watcher = nullptr;
}

void EventLoop::Unwatch(int fd) {
  if (static_cast<size_t>(fd) >= registrations_.size()) return;
  Registration& registration = registrations_[fd];
  if (registration.events != 0) Control(EPOLL_CTL_DEL, fd, 0);
  registration = Registration();
}

void EventLoop::Forget(int fd) {
  // The kernel has forgotten the old one itself.
  if (static_cast<size_t>(fd) < registrations_.size()) registrations_[fd] = Registration();
}

void EventLoop::Control(int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd_, operation, fd, &event) != 0) Die("epoll_ctl", fd);
}

}  // namespace postrider
