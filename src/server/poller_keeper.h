#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <thread>

#include "src/base/mutex.h"

namespace postrider {

// Keeps one of gRPC's polling threads awake. In 1.51 the threads of the callback API poll for a
// second and then, if nothing came, sleep for 100 ms (src/cpp/common/completion_queue_cc.cc): when
// all of them sleep at once, a lone call waits for that long. So the server gets a call from
// itself, within the process, more often than once a second: whichever thread takes it polls for
// another second.
//
// Thread-safe.
class PollerKeeper {
 public:
  // Must be stopped before the server is shut down.
  explicit PollerKeeper(grpc::Server& server);
  ~PollerKeeper() { Stop(); }
  PollerKeeper(const PollerKeeper&) = delete;
  PollerKeeper& operator=(const PollerKeeper&) = delete;

  // Breaks off the call that may be under way, and ends the thread. Idempotent; for the owner.
  void Stop();

 private:
  void Loop();
  void Call();

  const std::shared_ptr<grpc::Channel> channel_;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the call under way; null when there is none.
  grpc::ClientContext* calling_ ABSL_GUARDED_BY(mutex_) = nullptr;

  // Last, so that the thread sees the rest.
  std::thread thread_;
};

}  // namespace postrider
