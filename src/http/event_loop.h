#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/executor.h"
#include "src/base/mutex.h"

namespace postrider {

// One thread's epoll loop: it waits for file descriptors, deadlines and closures of other threads,
// and runs what belongs to them on the thread that called Run.
//
// Post and Stop are thread-safe; everything else belongs to that thread (or, before Run, to the
// thread that sets it up).
class EventLoop final : public Executor {
 public:
  // Somebody who waits for a file descriptor. Called with EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void OnReady(int fd, uint32_t events) = 0;
  };

  // Somebody who does something at the end of each turn, and at a time of its own.
  class Timed {
   public:
    virtual ~Timed() = default;
    // Called after the turn's events and closures, in the order of AddTimed.
    virtual void OnTurn() = 0;
    // When the next turn must begin at the latest (Clock::Monotonic); InfiniteDuration: when
    // something happens. Asked after the OnTurn of all.
    virtual absl::Duration Deadline() const = 0;
  };

  // Fails when the process has no file descriptors left. The clock must outlive the loop.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create(const Clock& clock);
  ~EventLoop() override;

  // Thread-safe. One wake-up serves all closures that are posted before the loop looks.
  void Post(absl::AnyInvocable<void() &&> closure) override;

  // Makes Run return at the end of its turn. Thread-safe, idempotent. Closures that are left, or
  // come later, are destroyed without being run.
  void Stop();

  // Runs until Stop.
  void Run();

  // Waits for `events` of `fd`, and for nothing that was asked for before. The watcher must stay
  // until Pause or Unwatch.
  void Watch(int fd, uint32_t events, Watcher* watcher);
  // Calls the watcher no more, but keeps the fd registered: a Watch for the same events costs no
  // system call then. For connections that are used again and again.
  void Pause(int fd);
  // REQUIRED before the fd is closed, unless whoever opens the next one of its number says Forget.
  void Unwatch(int fd);
  // The fd has just been opened: what is registered under its number is one that was closed.
  void Forget(int fd);

  // How much of its time the thread lately did not wait, from 0 to 1: of a period of at least 5 ms,
  // or 0 when it waits since then. Thread-safe.
  float busy() const;

  // REQUIRES: before Run. Must outlive Run.
  void AddTimed(Timed* timed) { timed_.push_back(timed); }

 private:
  // Later than any time.
  static constexpr int64_t kNotWaiting = std::numeric_limits<int64_t>::max();

  struct Registration {
    // Null while paused.
    Watcher* watcher = nullptr;
    // What the kernel was told; 0: not registered.
    uint32_t events = 0;
  };

  EventLoop(const Clock& clock, int epoll_fd, int wake_fd);

  // False when the loop was stopped.
  bool RunPosted();
  void WaitAndDispatch();
  void CountBusy(absl::Duration before_wait, absl::Duration after_wait);
  int TimeoutMillis() const;
  void Control(int operation, int fd, uint32_t events);

  const Clock& clock_;
  const int epoll_fd_;
  const int wake_fd_;

  // Owned by the loop's thread.
  std::vector<Registration> registrations_;  // by fd
  std::vector<Timed*> timed_;
  std::vector<absl::AnyInvocable<void() &&>> running_;
  // What `busy` will say next: since when it is counted, and how long the thread has waited since.
  absl::Duration counted_since_;
  absl::Duration waited_;

  std::atomic<float> busy_{0};
  // Clock::Monotonic in nanoseconds.
  std::atomic<int64_t> waiting_since_{kNotWaiting};

  Mutex mutex_;
  std::vector<absl::AnyInvocable<void() &&>> posted_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace postrider
