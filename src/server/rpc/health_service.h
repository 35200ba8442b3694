#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "src/base/mutex.h"
#include "src/server/rpc/call_queue.h"
#include "src/server/rpc/raw_service.h"
#include "src/server/rpc/unary_method.h"

namespace postrider {

// grpc.health.v1.Health, as https://github.com/grpc/grpc/blob/master/doc/health-checking.md has it.
// gRPC's own one is not used: with it come polling threads, which then take turns with those of the
// queues at every event (docs/performance.md).
//
// Thread-safe.
class HealthService final : public QueuedService {
 public:
  // Of the whole ("") and of these services; NOT_SERVING until something else is said.
  explicit HealthService(const std::vector<std::string>& service_names);
  ~HealthService();

  // Of all of them.
  void SetServing(bool serving);

  // Ends the calls that watch, which else last for as long as their clients want, and refuses
  // others. Before the server is shut down. Idempotent.
  void EndWatches();

  // QueuedService:
  std::vector<grpc::Service*> services() override { return {&service_}; }
  void TakeCalls(CallQueue& queue) override;

 private:
  using Api = RawService<grpc::health::v1::Health>;
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;
  class Watch;
  class Watches;

  // SERVICE_UNKNOWN when it has no such service.
  Status StatusOf(const std::string& name) const;
  bool ended() const;
  // False when there are too many, in all or of this peer.
  bool CountWatch(const std::string& peer);
  void UncountWatch(const std::string& peer);
  // Lets every watch look at what was changed.
  void Tell() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Api service_;
  std::vector<std::unique_ptr<AnyUnaryMethod>> checks_;

  mutable Mutex mutex_;
  std::map<std::string, Status> statuses_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  int watch_count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> watches_by_peer_ ABSL_GUARDED_BY(mutex_);
  // One a queue; the list is complete before any of them is told.
  std::vector<std::unique_ptr<Watches>> watches_;
};

}  // namespace postrider
