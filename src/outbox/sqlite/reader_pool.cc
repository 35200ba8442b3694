#include "src/outbox/sqlite/reader_pool.h"

#include <pthread.h>

#include <cstdint>
#include <optional>
#include <utility>

namespace postrider {
namespace {

// A read costs one: its rows are bounded.
constexpr int64_t kTurn = 1;

}  // namespace

ReaderPool::ReaderPool(std::vector<std::unique_ptr<ReadSession>> sessions, size_t max_queued,
                       Gauge& queued)
    : queued_(queued), queue_(max_queued, max_queued, kTurn) {
  for (std::unique_ptr<ReadSession>& session : sessions) {
    threads_.emplace_back([this, own = std::move(session)]() mutable { Loop(std::move(own)); });
  }
}

absl::Status ReaderPool::Submit(const std::string& tenant, Job& job) {
  queued_.Add(1);
  if (tenant.empty() ? queue_.PushOwn(job) : queue_.TryPush(tenant, job, kTurn, 1)) {
    return absl::OkStatus();
  }
  queued_.Add(-1);
  if (closed_) return absl::UnavailableError("Postrider is shutting down: try again later");
  return absl::ResourceExhaustedError("too many reads wait for the disk: try again in a moment");
}

void ReaderPool::Close() {
  closed_ = true;
  queue_.Close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ReaderPool::Loop(std::unique_ptr<ReadSession> session) {
  pthread_setname_np(pthread_self(), "outbox-reader");
  while (queue_.Wait(absl::InfiniteDuration())) {
    // Another reader may have been quicker.
    std::optional<Job> job = queue_.Take(/*own_first=*/true);
    if (!job) continue;
    queued_.Add(-1);
    const RunningReads::Read running(running_);
    (*std::move(job))(session.get());
  }
}

}  // namespace postrider
