#include "src/server/poller_keeper.h"

#include <grpcpp/generic/generic_stub.h>
#include <pthread.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace postrider {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(400);
constexpr absl::Duration kTimeout = absl::Seconds(5);
// Any method will do; this one is there, and costs nothing.
constexpr char kMethod[] = "/grpc.health.v1.Health/Check";

}  // namespace

PollerKeeper::PollerKeeper(grpc::Server& server)
    : channel_(server.InProcessChannel(grpc::ChannelArguments())), thread_([this] { Loop(); }) {}

void PollerKeeper::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    if (calling_ != nullptr) calling_->TryCancel();
    changed_.SignalAll();
  }
  thread_.join();
}

void PollerKeeper::Loop() {
  pthread_setname_np(pthread_self(), "poller-keeper");
  while (true) {
    Call();
    MutexLock lock(&mutex_);
    const absl::Time next = absl::Now() + kInterval;
    while (!stopping_ && absl::Now() < next) changed_.WaitFor(&mutex_, next - absl::Now());
    if (stopping_) return;
  }
}

void PollerKeeper::Call() {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
  const grpc::Slice empty;
  const grpc::ByteBuffer request(&empty, 1);
  grpc::ByteBuffer response;
  {
    MutexLock lock(&mutex_);
    if (stopping_) return;
    calling_ = &context;
  }
  // That it was answered is all: what was answered does not matter.
  stub.UnaryCall(&context, kMethod, grpc::StubOptions(), &request, &response,
                 [this](const grpc::Status&) {
                   MutexLock lock(&mutex_);
                   calling_ = nullptr;
                   changed_.SignalAll();
                 });
  MutexLock lock(&mutex_);
  while (calling_ != nullptr) changed_.Wait(&mutex_);
}

}  // namespace postrider
