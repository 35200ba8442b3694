#include "src/outbox/sqlite/completion.h"

#include <pthread.h>

#include <utility>
#include <variant>

namespace postrider {
namespace {

size_t CountOwed(const FinishedBatch& batch) {
  size_t owed = 0;
  for (const Effects::Event& event : batch.events) {
    const auto* deliveries = std::get_if<std::vector<OwedDelivery>>(&event);
    if (deliveries != nullptr) owed += deliveries->size();
  }
  return owed;
}

}  // namespace

CompletionThread::CompletionThread(OutboxListener* listener)
    : listener_(listener), thread_([this] { Loop(); }) {}

void CompletionThread::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    posted_.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void CompletionThread::PostCommitted(FinishedBatch batch) {
  const size_t owed = CountOwed(batch);
  MutexLock lock(&mutex_);
  while (batches_.size() >= kMaxWaiting || (owed_ > 0 && owed_ + owed > kMaxOwedWaiting)) {
    taken_.Wait(&mutex_);
  }
  owed_ += owed;
  batches_.push_back(std::move(batch));
  posted_.Signal();
}

void CompletionThread::Post(FinishedBatch batch) {
  MutexLock lock(&mutex_);
  batches_.push_back(std::move(batch));
  posted_.Signal();
}

void CompletionThread::Loop() {
  pthread_setname_np(pthread_self(), "outbox-answers");
  while (true) {
    FinishedBatch batch;
    {
      MutexLock lock(&mutex_);
      while (batches_.empty() && !stopping_) posted_.Wait(&mutex_);
      if (batches_.empty()) return;
      batch = std::move(batches_.front());
      batches_.pop_front();
      owed_ -= CountOwed(batch);
      taken_.Signal();
    }
    Finish(batch);
  }
}

void CompletionThread::Finish(FinishedBatch& batch) {
  struct Teller {
    OutboxListener& listener;
    void operator()(std::vector<OwedDelivery>& owed) { listener.OnOwed(std::move(owed)); }
    void operator()(const Webhook& webhook) { listener.OnWebhookChanged(webhook); }
    void operator()(const WebhookDeleted& deleted) { listener.OnWebhookDeleted(deleted.id); }
  };
  if (listener_ != nullptr) {
    for (Effects::Event& event : batch.events) std::visit(Teller{*listener_}, event);
  }
  for (const std::unique_ptr<PendingWrite>& write : batch.writes) write->Answer(batch.failure);
  if (batch.then) std::move(batch.then)();
}

}  // namespace postrider
