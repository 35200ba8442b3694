#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/time/time.h"
#include "src/server/call_queue.h"

namespace postrider {

// A gRPC server on a free port of the loopback, with one queue, for services of a test.
class QueuedServer {
 public:
  // The service must outlive it.
  explicit QueuedServer(QueuedService& service);
  // Shuts down.
  ~QueuedServer();
  QueuedServer(const QueuedServer&) = delete;
  QueuedServer& operator=(const QueuedServer&) = delete;

  // Cancels what is still under way after `timeout`. Idempotent.
  void Shutdown(absl::Duration timeout);

  // To it, one for all.
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  std::unique_ptr<CallQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace postrider
