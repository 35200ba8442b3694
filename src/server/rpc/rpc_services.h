#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/base/clock.h"
#include "src/base/metrics.h"
#include "src/server/api/call_shares.h"
#include "src/server/rpc/call_queue.h"

namespace postrider {

class DeliveryHandlers;
class NotificationHandlers;
class WebhookHandlers;
class MetricsPage;

// The handlers that answer. All must outlive every call.
struct ApiHandlers {
  WebhookHandlers* webhooks;
  NotificationHandlers* notifications;
  DeliveryHandlers* deliveries;
};

// The methods of the API, as indices.
enum class RpcMethod {
  kConfigureWebhook,
  kValidateWebhook,
  kGetWebhook,
  kListWebhooks,
  kDeleteWebhook,
  kRotateSigningSecret,
  kPublishNotification,
  kBatchPublishNotifications,
  kGetNotification,
  kListNotifications,
  kListDeliveries,
  kGetDelivery,
  kRetryDelivery,
};
inline constexpr size_t kRpcMethods = 13;

struct RpcMetrics {
  struct Method {
    // By grpc::StatusCode.
    std::array<Counter, 17> ended;
    DurationHistogram latency;
  };
  std::array<Method, kRpcMethods> methods;
  Gauge in_flight;
  Gauge in_flight_bytes;
};

// The gRPC services: the glue between the server's queues and the handlers, which admits, counts
// and times the calls. A handler may answer on whatever thread it likes.
//
// Thread-safe. Must outlive the grpc::Server that serves it.
class RpcServices final : public QueuedService {
 public:
  // What the calls under way may hold in all.
  RpcServices(const Clock& clock, const CallShares::Amount& limits);
  ~RpcServices();
  RpcServices(const RpcServices&) = delete;
  RpcServices& operator=(const RpcServices&) = delete;

  // QueuedService:
  std::vector<grpc::Service*> services() override;
  void TakeCalls(CallQueue& queue) override;

  // Until this is called, every call is answered UNAVAILABLE.
  void Open(const ApiHandlers& handlers);
  // From now on, what writes or sends (but not what reads) is answered UNAVAILABLE. Idempotent.
  void StopAdmission();

  const RpcMetrics& metrics() const;
  void AddMetrics(MetricsPage* page) const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
