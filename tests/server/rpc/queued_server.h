#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "src/server/rpc/call_queue.h"

namespace postrider {

// A gRPC server on a free port of the loopback, for services of a test.
class QueuedServer {
 public:
  // The service must outlive it.
  explicit QueuedServer(QueuedService& service, int queues = 1);
  // Shuts down.
  ~QueuedServer();
  QueuedServer(const QueuedServer&) = delete;
  QueuedServer& operator=(const QueuedServer&) = delete;

  // Cancels what is still under way after `timeout`. Idempotent.
  void Shutdown(absl::Duration timeout);

  // Every answer that is not on the wire yet.
  void GiveUpUnsent();

  int port() const { return port_; }
  // To it, one for all.
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // To it, with a connection of its own: gRPC deals these out to the queues in turn.
  std::shared_ptr<grpc::Channel> NewChannel() const;

 private:
  std::vector<std::unique_ptr<CallQueue>> queues_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace postrider
