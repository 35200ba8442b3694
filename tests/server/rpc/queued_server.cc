#include "tests/server/rpc/queued_server.h"

#include <string>

#include "absl/time/clock.h"

namespace postrider {

QueuedServer::QueuedServer(QueuedService& service, int queues) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  for (grpc::Service* one : service.services()) builder.RegisterService(one);
  for (int i = 0; i < queues; ++i) {
    queues_.push_back(std::make_unique<CallQueue>(builder.AddCompletionQueue()));
  }
  server_ = builder.BuildAndStart();
  for (const auto& queue : queues_) service.TakeCalls(*queue);
  for (const auto& queue : queues_) queue->Start("test-queue");
  channel_ = NewChannel();
}

QueuedServer::~QueuedServer() { Shutdown(absl::Seconds(2)); }

void QueuedServer::Shutdown(absl::Duration timeout) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
  for (const auto& queue : queues_) queue->Shutdown();
}

void QueuedServer::GiveUpUnsent() {
  for (const auto& queue : queues_) queue->unsent().GiveUpOlderThan(absl::ZeroDuration());
}

std::shared_ptr<grpc::Channel> QueuedServer::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_),
                                   grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace postrider
