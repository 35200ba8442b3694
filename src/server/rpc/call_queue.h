#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "src/base/mutex.h"
#include "src/server/rpc/unsent_answers.h"

namespace postrider {

// One of gRPC's completion queues and the one thread that polls it: it reads the requests and hands
// them over. Answers are sent on the thread that has them. With more polling threads, as gRPC's
// callback API has them, gRPC 1.51 makes them take turns at every event, and gives what two threads
// want to do on one connection to a third (docs/performance.md).
//
// Thread-safe, but for Start and Shutdown, which are the owner's.
class CallQueue {
 public:
  // What the thread is woken for: the tag of an operation of gRPC's, or an event that was run.
  class Event {
   public:
    // `ok` as in grpc::CompletionQueue::Next. The event may delete itself.
    virtual void Happened(bool ok) = 0;

   protected:
    ~Event() = default;
  };

  // Held by whatever starts operations on the queue, for as long as it may: gRPC ends the process
  // when one is started after the shutdown, and a server that is shut down does not wait for calls
  // that nobody has answered yet.
  class Hold {
   public:
    explicit Hold(CallQueue& queue) : queue_(queue) { queue_.ChangeHolds(1); }
    ~Hold() { queue_.ChangeHolds(-1); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    CallQueue& queue_;
  };

  // Not null; not polled by anybody else.
  explicit CallQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue);
  // Shuts down.
  ~CallQueue();
  CallQueue(const CallQueue&) = delete;
  CallQueue& operator=(const CallQueue&) = delete;

  // For the operations whose tags are events.
  grpc::ServerCompletionQueue* queue() const { return queue_.get(); }

  // Of the calls that were taken from it.
  UnsentAnswers& unsent() { return unsent_; }

  // Begins to poll, on a thread of this name (of at most 15 characters).
  void Start(const std::string& name);

  // Lets `event` happen (with true) on the queue's thread, soon. It must live until then, and the
  // queue may not be shut down.
  void Run(Event* event);

  // After the server was shut down: waits until the last Hold is gone and what is under way has
  // happened. No events may be run any more. Idempotent.
  void Shutdown();

 private:
  // The alarm's: others have handed events over.
  class HandedOver final : public Event {
   public:
    explicit HandedOver(CallQueue& queue) : queue_(queue) {}
    void Happened(bool ok) override;

   private:
    CallQueue& queue_;
  };

  void Poll();
  void ChangeHolds(int by);

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  HandedOver handed_over_{*this};
  UnsentAnswers unsent_;

  Mutex mutex_;
  std::vector<Event*> events_ ABSL_GUARDED_BY(mutex_);
  // Set, and not yet seen by the thread.
  bool alarm_set_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Alarm alarm_ ABSL_GUARDED_BY(mutex_);
  int holds_ ABSL_GUARDED_BY(mutex_) = 0;
  CondVar no_holds_;

  bool shut_down_ = false;
  std::thread thread_;
};

// Services whose calls are taken from queues.
class QueuedService {
 public:
  // To be registered with the grpc::ServerBuilder; they live as long as this.
  virtual std::vector<grpc::Service*> services() = 0;
  // Once for each queue of a server that runs, before the queue is started. The queue is shut down
  // before this is destroyed.
  virtual void TakeCalls(CallQueue& queue) = 0;

 protected:
  ~QueuedService() = default;
};

}  // namespace postrider
