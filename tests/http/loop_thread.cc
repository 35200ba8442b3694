#include "tests/http/loop_thread.h"

#include <cstdlib>

namespace postrider {
namespace {

std::unique_ptr<EventLoop> MakeLoop(const Clock& clock) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) std::abort();  // no descriptors left
  return *std::move(loop);
}

}  // namespace

LoopThread::LoopThread(const Clock& clock) : loop_(MakeLoop(clock)) {}

void LoopThread::Start() {
  thread_ = std::thread([this] { loop_->Run(); });
}

void LoopThread::Stop() {
  loop_->Stop();
  if (thread_.joinable()) thread_.join();
}

void LoopThread::Call(absl::AnyInvocable<void() &&> closure) {
  if (!thread_.joinable()) {
    std::move(closure)();
    return;
  }
  Mailbox<bool> ran;
  loop_->Post([&] {
    std::move(closure)();
    ran.Put(true);
  });
  if (ran.WaitFor(1).empty()) std::abort();  // `ran` must not go while the loop may use it
}

void LoopThread::Turn() {
  // The turn of the first is over when the second runs.
  Call([] {});
  Call([] {});
}

}  // namespace postrider
