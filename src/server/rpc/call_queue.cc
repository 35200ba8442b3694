#include "src/server/rpc/call_queue.h"

#include <grpc/support/time.h>
#include <pthread.h>

#include <utility>

namespace postrider {

CallQueue::CallQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue)
    : queue_(std::move(queue)) {}

CallQueue::~CallQueue() { Shutdown(); }

void CallQueue::Start(const std::string& name) {
  thread_ = std::thread([this, name] {
    pthread_setname_np(pthread_self(), name.c_str());
    Poll();
  });
}

void CallQueue::Run(Event* event) {
  MutexLock lock(&mutex_);
  events_.push_back(event);
  if (alarm_set_) return;
  alarm_set_ = true;
  alarm_.Set(queue_.get(), gpr_inf_past(GPR_CLOCK_MONOTONIC), static_cast<Event*>(&handed_over_));
}

void CallQueue::HandedOver::Happened(bool /*ok*/) {
  std::vector<Event*> events;
  {
    MutexLock lock(&queue_.mutex_);
    events.swap(queue_.events_);
    queue_.alarm_set_ = false;
  }
  for (Event* event : events) event->Happened(true);
}

void CallQueue::Shutdown() {
  if (std::exchange(shut_down_, true)) return;
  {
    MutexLock lock(&mutex_);
    while (holds_ > 0) no_holds_.Wait(&mutex_);
  }
  queue_->Shutdown();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    Poll();
  }
}

void CallQueue::ChangeHolds(int by) {
  MutexLock lock(&mutex_);
  holds_ += by;
  if (holds_ == 0) no_holds_.SignalAll();
}

void CallQueue::Poll() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) static_cast<Event*>(tag)->Happened(ok);
}

}  // namespace postrider
