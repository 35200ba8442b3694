#include "src/server/rpc/rpc_services.h"

#include <cstddef>
#include <type_traits>
#include <utility>

#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "src/server/api/methods.h"
#include "src/server/observe/metrics_page.h"
#include "src/server/rpc/grpc_status.h"
#include "src/server/rpc/raw_service.h"
#include "src/server/rpc/unary_method.h"

namespace postrider {
namespace {

constexpr const char* kCodes[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

}  // namespace

struct RpcServices::Impl {
  explicit Impl(CallGate& used) : gate(used) {}

  template <typename Handlers>
  auto& ServiceOf() {
    if constexpr (std::is_same_v<Handlers, WebhookHandlers>) {
      return webhooks;
    } else if constexpr (std::is_same_v<Handlers, NotificationHandlers>) {
      return notifications;
    } else {
      static_assert(std::is_same_v<Handlers, DeliveryHandlers>, "it has a service of its own");
      return deliveries;
    }
  }

  CallGate& gate;
  RawService<v1::WebhookService> webhooks;
  RawService<v1::NotificationService> notifications;
  RawService<v1::DeliveryService> deliveries;
  std::vector<std::unique_ptr<AnyUnaryMethod>> methods;
};

RpcServices::RpcServices(CallGate& gate) : impl_(std::make_unique<Impl>(gate)) {}
RpcServices::~RpcServices() = default;

std::vector<grpc::Service*> RpcServices::services() {
  return {&impl_->webhooks, &impl_->notifications, &impl_->deliveries};
}

void RpcServices::TakeCalls(CallQueue& queue) {
  CallGate& gate = impl_->gate;
  ForEachMethod([&](const auto& method, size_t number) {
    using OneMethod = std::decay_t<decltype(method)>;
    using Request = typename OneMethod::Request;
    using Response = typename OneMethod::Response;
    auto& service = impl_->ServiceOf<typename OneMethod::Handlers>();
    const int place = service.MethodOf(method.name);
    impl_->methods.push_back(std::make_unique<UnaryMethod<Request, Response>>(
        queue, [&service, place](auto... arguments) { service.TakeUnary(place, arguments...); },
        [&gate, method, number](const Request& request, Response* response, UnaryCall* call) {
          gate.Serve(method, number, request, response, call->Context(),
                     [call](const absl::Status& status, CallShares::Share share) {
                       call->Answer(ToGrpcStatus(status), std::move(share));
                     });
        },
        method.watched == Watched::kYes));
  });
}

void RpcServices::AddMetrics(MetricsPage* page) const {
  const CallMetrics& metrics = impl_->gate.metrics();
  ForEachMethod([&](const auto& method, size_t number) {
    const CallMetrics::OfMethod& counts = metrics.methods[number];
    for (size_t code = 0; code < counts.ended.size(); ++code) {
      page->AddCounter("postrider_grpc_requests_total", "gRPC calls that ended.",
                       {{"method", method.name}, {"code", kCodes[code]}}, counts.ended[code],
                       /*hide_zero=*/code != 0);
    }
    page->AddHistogram("postrider_grpc_request_seconds", "From a call's arrival to its answer.",
                       {{"method", method.name}}, counts.latency);
  });
  page->AddGauge("postrider_grpc_in_flight", "gRPC calls under way.", {}, metrics.in_flight);
  page->AddGauge("postrider_grpc_in_flight_bytes", "What their requests hold.", {},
                 metrics.in_flight_bytes);
  page->AddGauge("postrider_grpc_answer_bytes",
                 "What answers hold until they are on the wire, and what those to come may hold.",
                 {}, impl_->gate.share_metrics().answer_bytes);
}

}  // namespace postrider
