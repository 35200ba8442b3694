#pragma once

#include <memory>
#include <vector>

#include "src/server/api/call_gate.h"
#include "src/server/rpc/call_queue.h"

namespace postrider {

class MetricsPage;

// gRPC's door to the API: takes calls from the server's queues, and has the gate serve them. A
// handler may answer on whatever thread it likes.
//
// Thread-safe. Must outlive the grpc::Server that serves it; the gate must outlive this.
class RpcServices final : public QueuedService {
 public:
  explicit RpcServices(CallGate& gate);
  ~RpcServices();
  RpcServices(const RpcServices&) = delete;
  RpcServices& operator=(const RpcServices&) = delete;

  // QueuedService:
  std::vector<grpc::Service*> services() override;
  void TakeCalls(CallQueue& queue) override;

  void AddMetrics(MetricsPage* page) const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
