#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <utility>

#include "src/base/mutex.h"
#include "src/server/call_queue.h"

namespace postrider {

// A call that was taken and waits for its answer.
class UnaryCall {
 public:
  // Sends the answer: the response when the status is OK. Exactly once, on any thread; the call,
  // its request and its response are gone with it.
  virtual void Answer(const grpc::Status& status) = 0;

 protected:
  ~UnaryCall() = default;
};

class AnyUnaryMethod {
 public:
  virtual ~AnyUnaryMethod() = default;
};

// Takes the calls of one method from one queue, for as long as the server runs. Belongs to the
// queue's thread once that was started, and must outlive it.
template <typename Request, typename Response>
class UnaryMethod final : public AnyUnaryMethod {
 public:
  using Writer = grpc::ServerAsyncResponseWriter<Response>;
  // The Request... method of the generated AsyncService.
  using Take = std::function<void(grpc::ServerContext*, Request*, Writer*, grpc::CompletionQueue*,
                                  grpc::ServerCompletionQueue*, void*)>;
  // Must see to it that the call is answered. On the queue's thread, so it may not block.
  using Handle = std::function<void(const Request&, Response*, UnaryCall*)>;

  UnaryMethod(CallQueue& queue, Take take, Handle handle)
      : queue_(queue), take_(std::move(take)), handle_(std::move(handle)) {
    for (int i = 0; i < kWaiting; ++i) TakeOne();
  }
  UnaryMethod(const UnaryMethod&) = delete;
  UnaryMethod& operator=(const UnaryMethod&) = delete;

 private:
  // Calls that gRPC can hand over without asking again.
  static constexpr int kWaiting = 8;

  class Call final : public UnaryCall {
   public:
    explicit Call(UnaryMethod& method) : hold_(method.queue_), method_(method) {
      grpc::ServerCompletionQueue* const queue = method_.queue_.queue();
      method_.take_(&context_, &request_, &writer_, queue, queue, &taken_);
    }

    void Answer(const grpc::Status& status) override {
      const MutexLock lock(&answering_);
      if (status.ok()) {
        writer_.Finish(response_, status, &answered_);
      } else {
        writer_.FinishWithError(status, &answered_);
      }
    }

   private:
    class Taken final : public CallQueue::Event {
     public:
      explicit Taken(Call* call) : call_(call) {}
      void Happened(bool ok) override {
        if (ok) {
          call_->method_.TakeOne();
          call_->method_.handle_(call_->request_, &call_->response_, call_);
        } else {
          // The server takes no more calls.
          delete call_;
        }
      }

     private:
      Call* const call_;
    };
    class Answered final : public CallQueue::Event {
     public:
      explicit Answered(Call* call) : call_(call) {}
      // Whether the answer arrived is not known to anybody.
      void Happened(bool /*ok*/) override {
        { const MutexLock lock(&call_->answering_); }
        delete call_;
      }

     private:
      Call* const call_;
    };

    const CallQueue::Hold hold_;
    UnaryMethod& method_;
    grpc::ServerContext context_;
    Request request_;
    Response response_;
    Writer writer_{&context_};
    // Held while the answer is given to gRPC, which may tell the queue's thread that it was sent
    // before that has returned.
    Mutex answering_;
    Taken taken_{this};
    Answered answered_{this};
  };

  // gRPC holds it until its call comes; it deletes itself at its end.
  void TakeOne() { new Call(*this); }

  CallQueue& queue_;
  const Take take_;
  const Handle handle_;
};

}  // namespace postrider
