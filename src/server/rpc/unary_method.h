#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/async_unary_call.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "src/server/api/call_context.h"
#include "src/server/api/call_shares.h"
#include "src/server/rpc/call_peer.h"
#include "src/server/rpc/call_queue.h"
#include "src/server/rpc/grpc_status.h"
#include "src/server/rpc/raw_service.h"

namespace postrider {

// A call that was taken and waits for its answer.
class UnaryCall {
 public:
  // Sends the answer: the response when the status is OK. Exactly once, on any thread; the call,
  // its request and its response are gone with it. The share is held until the answer is on the
  // wire.
  virtual void Answer(const grpc::Status& status, CallShares::Share share) = 0;
  void Answer(const grpc::Status& status) { Answer(status, CallShares::Share()); }

  // Before Answer only. Its cancellation is null when the method is not watched.
  virtual CallContext Context() const = 0;

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
  using Writer = grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>;
  // Asks gRPC for a call: RawService's TakeUnary, with the method's number.
  using Take = std::function<void(grpc::ServerContext*, grpc::ByteBuffer*, Writer*,
                                  grpc::ServerCompletionQueue*, void*)>;
  // Must see to it that the call is answered. On the queue's thread, so it may not block.
  using Handle = std::function<void(const Request&, Response*, UnaryCall*)>;

  // `watched`: its calls tell when their caller cancels them, or when his deadline passes or his
  // connection ends. It costs an event of the queue's for each call.
  UnaryMethod(CallQueue& queue, Take take, Handle handle, bool watched = false)
      : queue_(queue), take_(std::move(take)), handle_(std::move(handle)), watched_(watched) {
    for (int i = 0; i < kWaiting; ++i) TakeOne();
  }
  UnaryMethod(const UnaryMethod&) = delete;
  UnaryMethod& operator=(const UnaryMethod&) = delete;

 private:
  // Calls that gRPC can hand over without asking again.
  static constexpr int kWaiting = 8;

  class Call final : public UnaryCall, public UnsentAnswers::Entry {
   public:
    using UnaryCall::Answer;

    explicit Call(UnaryMethod& method) : hold_(method.queue_), method_(method) {
      if (method_.watched_) context_.AsyncNotifyWhenDone(&ended_);
      method_.take_(&context_, &bytes_, &writer_, method_.queue_.queue(), &taken_);
    }

    void Answer(const grpc::Status& status, CallShares::Share share) override {
      share_ = std::move(share);
      grpc::ByteBuffer bytes;
      const grpc::Status done = status.ok() ? SerializeResponse(response_, &bytes) : status;
      // What a caller does not take is held once, as bytes.
      request_ = Request();
      response_ = Response();
      method_.queue_.unsent().Add(this);
      if (done.ok()) {
        writer_.Finish(bytes, done, &answered_);
      } else {
        writer_.FinishWithError(done, &answered_);
      }
      LetGo();
    }

    CallContext Context() const override {
      return {absl::FromChrono(context_.deadline()), cancellation_, PeerOfCall(context_.peer())};
    }

    void GiveUp() override { context_.TryCancel(); }

   private:
    class Taken final : public CallQueue::Event {
     public:
      explicit Taken(Call* call) : call_(call) {}
      void Happened(bool ok) override {
        if (ok) {
          call_->Begin();
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
      // It is on the wire, or never will be. Whether it arrived is not known to anybody.
      void Happened(bool /*ok*/) override {
        call_->method_.queue_.unsent().Remove(call_);
        call_->LetGo();
      }

     private:
      Call* const call_;
    };

    // The call has come to its end, for whatever reason.
    class Ended final : public CallQueue::Event {
     public:
      explicit Ended(Call* call) : call_(call) {}
      void Happened(bool /*ok*/) override {
        if (call_->context_.IsCancelled()) call_->cancellation_->Cancel();
        call_->LetGo();
      }

     private:
      Call* const call_;
    };

    void Begin() {
      method_.TakeOne();
      if (method_.watched_) {
        cancellation_ = std::make_shared<Cancellation>();
        users_.fetch_add(1, std::memory_order_relaxed);
      }
      const absl::Status parsed = ParseRequest(&bytes_, &request_);
      if (parsed.ok()) {
        method_.handle_(request_, &response_, this);
      } else {
        Answer(ToGrpcStatus(parsed));
      }
    }

    void LetGo() {
      if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    const CallQueue::Hold hold_;
    UnaryMethod& method_;
    grpc::ServerContext context_;
    grpc::ByteBuffer bytes_;
    Request request_;
    Response response_;
    CallShares::Share share_;
    Writer writer_{&context_};
    // Who gives the answer to gRPC, and gRPC, which may tell the queue's thread that it was sent
    // before that has returned.
    std::atomic<int> users_{2};
    Taken taken_{this};
    Answered answered_{this};
    Ended ended_{this};
    std::shared_ptr<Cancellation> cancellation_;
  };

  // gRPC holds it until its call comes; it deletes itself at its end.
  void TakeOne() { new Call(*this); }

  CallQueue& queue_;
  const Take take_;
  const Handle handle_;
  const bool watched_;
};

}  // namespace postrider
