#include "src/outbox/sqlite/reader_pool.h"

#include <pthread.h>

#include <utility>

namespace postrider {

ReaderPool::ReaderPool(std::vector<std::unique_ptr<ReadSession>> sessions, size_t max_queued,
                       Gauge& queued)
    : max_queued_(max_queued), queued_(queued) {
  for (std::unique_ptr<ReadSession>& session : sessions) {
    threads_.emplace_back([this, own = std::move(session)]() mutable { Loop(std::move(own)); });
  }
}

absl::Status ReaderPool::Submit(Job& job, bool bounded) {
  MutexLock lock(&mutex_);
  if (closed_) return absl::UnavailableError("Postrider is shutting down: try again later");
  if (bounded && jobs_.size() >= max_queued_) {
    return absl::ResourceExhaustedError("too many reads wait for the disk: try again in a moment");
  }
  (bounded ? jobs_ : first_).push_back(std::move(job));
  ReportQueued();
  submitted_.Signal();
  return absl::OkStatus();
}

void ReaderPool::Close() {
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    submitted_.SignalAll();
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ReaderPool::Loop(std::unique_ptr<ReadSession> session) {
  pthread_setname_np(pthread_self(), "outbox-reader");
  while (true) {
    Job job;
    {
      MutexLock lock(&mutex_);
      while (empty() && !closed_) submitted_.Wait(&mutex_);
      if (empty()) return;
      std::deque<Job>& jobs = first_.empty() ? jobs_ : first_;
      job = std::move(jobs.front());
      jobs.pop_front();
      ReportQueued();
    }
    const RunningReads::Read running(running_);
    std::move(job)(session.get());
  }
}

}  // namespace postrider
