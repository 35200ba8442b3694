#pragma once

#include <memory>
#include <string>

#include "tools/benchmark/child_process.h"

namespace postrider::bench {

// gRPC alone: a server with Postrider's own service and messages that reads each request and
// answers PublishNotification with an id. It runs as a process of its own (`postrider-bench
// bare-grpc-server MODEL`), which prints the same ready line.
enum class GrpcModel {
  // These answer at once, on the thread that has read the request.
  kCompletionQueues,
  kCallbacks,
  // These answer as Postrider does: another thread answers all that wait, as after a commit.
  kOneQueueLater,
  kCallbacksLater,
};

const char* Name(GrpcModel model);

// Serves until it is killed. Returns the exit code when it cannot.
int ServeBareGrpc(const std::string& model);

// A running one. REQUIRES, as ChildProcess: used on the main thread.
class BareGrpcServer {
 public:
  BareGrpcServer(GrpcModel model, const std::string& log);

  const std::string& address() const { return address_; }
  ChildProcess& process() { return process_; }

 private:
  ChildProcess process_;
  std::string address_;
};

}  // namespace postrider::bench
