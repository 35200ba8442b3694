#include "tests/server/queued_server.h"

#include <string>

#include "absl/time/clock.h"

namespace postrider {

QueuedServer::QueuedServer(QueuedService& service) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* one : service.services()) builder.RegisterService(one);
  queue_ = std::make_unique<CallQueue>(builder.AddCompletionQueue());
  server_ = builder.BuildAndStart();
  service.TakeCalls(*queue_);
  queue_->Start("test-queue");
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  channel_ = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port),
                                       grpc::InsecureChannelCredentials(), arguments);
}

QueuedServer::~QueuedServer() { Shutdown(absl::Seconds(2)); }

void QueuedServer::Shutdown(absl::Duration timeout) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
  queue_->Shutdown();
}

}  // namespace postrider
