#include "src/server/rpc/rpc_services.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "postrider/v1/delivery_service.grpc.pb.h"
#include "postrider/v1/notification_service.grpc.pb.h"
#include "postrider/v1/webhook_service.grpc.pb.h"
#include "src/server/api/delivery_handlers.h"
#include "src/server/api/errors.h"
#include "src/server/api/notification_handlers.h"
#include "src/server/api/status_mapping.h"
#include "src/server/api/webhook_handlers.h"
#include "src/server/observe/logging.h"
#include "src/server/observe/metrics_page.h"
#include "src/server/rpc/grpc_status.h"
#include "src/server/rpc/raw_service.h"
#include "src/server/rpc/unary_method.h"

namespace postrider {
namespace {

constexpr int kInnerErrorsLoggedPerSecond = 5;
constexpr int kRefusalsLoggedPerSecond = 1;

// What the answer of a call that reads is likely to hold: of one row, and of a page of them.
constexpr int64_t kRowBytes = int64_t{64} << 10;
constexpr int64_t kPageRowBytes = int64_t{4} << 10;
constexpr int64_t kMaxPageBytes = int64_t{2} << 20;
constexpr int kDefaultPageSize = 50;
// What the others' may hold at most: a webhook and what came of its test, and a batch's results.
constexpr int64_t kConfiguredBytes = int64_t{1} << 20;
constexpr int64_t kResultBytes = 64;
constexpr std::string_view kDefaultTenantName = "default";

struct MethodInfo {
  const char* name;
  // May be called while the server drains: it neither writes nor sends.
  bool reads;
  // Its caller can ask again for an answer that he did not get.
  CallShares::Excess excess;
};
constexpr auto kRefused = CallShares::Excess::kRefused;
constexpr auto kCounted = CallShares::Excess::kCounted;
constexpr std::array<MethodInfo, kRpcMethods> kMethods = {{
    {"ConfigureWebhook", false, kCounted},
    {"ValidateWebhook", false, kRefused},
    {"GetWebhook", true, kRefused},
    {"ListWebhooks", true, kRefused},
    {"DeleteWebhook", false, kCounted},
    {"RotateSigningSecret", false, kCounted},
    {"PublishNotification", false, kCounted},
    {"BatchPublishNotifications", false, kCounted},
    {"GetNotification", true, kRefused},
    {"ListNotifications", true, kRefused},
    {"ListDeliveries", true, kRefused},
    {"GetDelivery", true, kRefused},
    {"RetryDelivery", false, kCounted},
}};

constexpr const char* kCodes[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

absl::Status Stopping() {
  return WithReason(absl::UnavailableError("the server is stopping: try again when it is back"),
                    "STOPPING");
}

// What all services share: admission and counting.
class CallGate {
 public:
  CallGate(const Clock& clock, const CallShares::Amount& limits)
      : clock_(clock),
        shares_(limits),
        error_limiter_(clock, kInnerErrorsLoggedPerSecond),
        refusal_limiter_(clock, kRefusalsLoggedPerSecond) {}

  void Open(const ApiHandlers& handlers) {
    handlers_ = handlers;
    open_.store(true, std::memory_order_release);
  }
  void StopAdmission() { draining_.store(true, std::memory_order_relaxed); }
  const RpcMetrics& metrics() const { return metrics_; }
  const CallShares::Metrics& share_metrics() const { return shares_.metrics(); }
  const ApiHandlers& handlers() const { return handlers_; }

  // The share of a call that is admitted.
  absl::StatusOr<CallShares::Share> Admit(RpcMethod method, std::string_view tenant,
                                          const UnaryCall& call, int64_t request_bytes,
                                          int64_t answer_bytes) {
    if (!open_.load(std::memory_order_acquire)) {
      return WithReason(absl::UnavailableError("the server is starting: try again in a moment"),
                        "STARTING");
    }
    const MethodInfo& info = kMethods[static_cast<size_t>(method)];
    if (draining_.load(std::memory_order_relaxed) && !info.reads) return Stopping();
    return shares_.Take(tenant.empty() ? kDefaultTenantName : tenant, call.Peer(), request_bytes,
                        answer_bytes, info.excess);
  }

  void Begin(int64_t bytes) {
    metrics_.in_flight.Add(1);
    metrics_.in_flight_bytes.Add(bytes);
  }

  void End(RpcMethod method, int64_t bytes, absl::Duration start, const absl::Status& status) {
    metrics_.in_flight.Add(-1);
    metrics_.in_flight_bytes.Add(-bytes);
    RpcMetrics::Method& counts = metrics_.methods[static_cast<size_t>(method)];
    counts.ended[static_cast<size_t>(status.code())].Add();
    counts.latency.Observe(absl::ToDoubleSeconds(clock_.Monotonic() - start));
    if (IsInnerError(status)) {
      Tell(LogLevel::kError, "a call failed for a reason of the server's own", method, status,
           &error_limiter_);
    } else if (absl::IsResourceExhausted(status)) {
      Tell(LogLevel::kWarn, "a call was refused for want of room", method, status,
           &refusal_limiter_);
    }
  }

  const Clock& clock() const { return clock_; }

 private:
  static void Tell(LogLevel level, const char* what, RpcMethod method, const absl::Status& status,
                   LogLimiter* limiter) {
    uint64_t suppressed = 0;
    if (!limiter->Allow(&suppressed)) return;
    Log(level, what,
        {{"method", kMethods[static_cast<size_t>(method)].name},
         {"error", status.ToString()},
         {"suppressed", absl::StrCat(suppressed)}});
  }

  const Clock& clock_;
  CallShares shares_;
  LogLimiter error_limiter_;
  LogLimiter refusal_limiter_;
  RpcMetrics metrics_;
  // Written once, before open_.
  ApiHandlers handlers_{};
  std::atomic<bool> open_{false};
  std::atomic<bool> draining_{false};
};

// Ends one call, exactly once: when it is dropped uncalled, since the queue that it waited in was
// stopped, the caller hears that the server is stopping.
class Ending {
 public:
  Ending(CallGate* gate, RpcMethod method, int64_t bytes, UnaryCall* call, CallShares::Share share)
      : gate_(gate),
        method_(method),
        bytes_(bytes),
        start_(gate->clock().Monotonic()),
        call_(call),
        share_(std::move(share)) {
    gate_->Begin(bytes_);
  }
  Ending(Ending&& other) noexcept
      : gate_(other.gate_),
        method_(other.method_),
        bytes_(other.bytes_),
        start_(other.start_),
        call_(std::exchange(other.call_, nullptr)),
        share_(std::move(other.share_)) {}
  Ending& operator=(Ending&&) = delete;
  ~Ending() {
    if (call_ != nullptr) (*this)(Stopping());
  }

  void operator()(absl::Status status) {
    absl::Status fits = share_.Answered(status.ok() ? call_->ResponseBytes() : 0);
    if (status.ok()) status = std::move(fits);
    gate_->End(method_, bytes_, start_, status);
    std::exchange(call_, nullptr)->Answer(ToGrpcStatus(status), std::move(share_));
  }

 private:
  CallGate* gate_;
  RpcMethod method_;
  int64_t bytes_;
  absl::Duration start_;
  UnaryCall* call_;
  CallShares::Share share_;
};

// Whose call it is: of a batch, the one of its first request.
template <typename Request>
std::string_view TenantOf(const Request& request) {
  if constexpr (requires { request.tenant(); }) {
    return request.tenant();
  } else if constexpr (requires { request.requests(); }) {
    return request.requests_size() == 0 ? std::string_view() : request.requests(0).tenant();
  } else if constexpr (requires { request.ref(); }) {
    return request.has_ref() ? request.ref().tenant() : request.webhook().tenant();
  } else {
    return request.webhook().tenant();
  }
}

// What room its answer must find before it is begun. Those that are small find it always: they are
// bounded by the number of calls, and those who read must not lock out who publishes.
template <typename Request>
int64_t AnswerBytesOf(const Request& request, RpcMethod method) {
  if constexpr (requires { request.page_size(); }) {
    const int rows = request.page_size() > 0 ? request.page_size() : kDefaultPageSize;
    return std::min(rows * kPageRowBytes, kMaxPageBytes);
  } else if constexpr (requires { request.requests_size(); }) {
    return request.requests_size() * kResultBytes;
  } else if (method == RpcMethod::kConfigureWebhook) {
    return kConfiguredBytes;
  }
  return kMethods[static_cast<size_t>(method)].excess == kRefused ? kRowBytes : 0;
}

// Runs `handle(handlers, done)` if the call is admitted.
template <typename Request, typename Handle>
void Serve(CallGate* gate, RpcMethod method, const Request& request, UnaryCall* call,
           const Handle& handle) {
  const auto bytes = static_cast<int64_t>(request.ByteSizeLong());
  absl::StatusOr<CallShares::Share> share =
      gate->Admit(method, TenantOf(request), *call, bytes, AnswerBytesOf(request, method));
  Ending ending(gate, method, bytes, call, share.ok() ? *std::move(share) : CallShares::Share());
  if (!share.ok()) {
    ending(share.status());
  } else {
    handle(gate->handlers(), std::move(ending));
  }
}

// The class of a member of ApiHandlers.
template <auto kMember>
using HandlersOf = std::remove_pointer_t<
    std::remove_reference_t<decltype(std::declval<ApiHandlers>().*kMember)>>;

// A handler that is told of its caller, so that the call is watched; and one that is not.
template <typename Handlers, typename Request, typename Response>
using WatchedHandler = void (Handlers::*)(const Request&, Response*, const CallContext&,
                                          HandlerDone);
template <typename Handlers, typename Request, typename Response>
using PlainHandler = void (Handlers::*)(const Request&, Response*, HandlerDone);

template <typename Handlers, typename Request, typename Response>
constexpr bool IsWatched(WatchedHandler<Handlers, Request, Response>) {
  return true;
}
template <typename Handlers, typename Request, typename Response>
constexpr bool IsWatched(PlainHandler<Handlers, Request, Response>) {
  return false;
}

template <typename Handlers, typename Request, typename Response>
void Handle(Handlers& handlers, WatchedHandler<Handlers, Request, Response> method,
            const Request& request, Response* response, const UnaryCall& call, HandlerDone done) {
  (handlers.*method)(request, response, call.Context(), std::move(done));
}
template <typename Handlers, typename Request, typename Response>
void Handle(Handlers& handlers, PlainHandler<Handlers, Request, Response> method,
            const Request& request, Response* response, const UnaryCall& /*call*/,
            HandlerDone done) {
  (handlers.*method)(request, response, std::move(done));
}

}  // namespace

struct RpcServices::Impl {
  Impl(const Clock& clock, const CallShares::Amount& limits) : gate(clock, limits) {}

  CallGate gate;
  RawService<v1::WebhookService> webhooks;
  RawService<v1::NotificationService> notifications;
  RawService<v1::DeliveryService> deliveries;
  std::vector<std::unique_ptr<AnyUnaryMethod>> methods;
};

RpcServices::RpcServices(const Clock& clock, const CallShares::Amount& limits)
    : impl_(std::make_unique<Impl>(clock, limits)) {}
RpcServices::~RpcServices() = default;

std::vector<grpc::Service*> RpcServices::services() {
  return {&impl_->webhooks, &impl_->notifications, &impl_->deliveries};
}

void RpcServices::TakeCalls(CallQueue& queue) {
  CallGate* const gate = &impl_->gate;
// The method's name decides request, response and handler.
#define POSTRIDER_METHOD(method, member)                                                     \
  impl_->methods.push_back(                                                                  \
      std::make_unique<UnaryMethod<v1::method##Request, v1::method##Response>>(              \
          queue,                                                                             \
          [this, number = decltype(impl_->member)::MethodOf(#method)](auto... arguments) {   \
            impl_->member.TakeUnary(number, arguments...);                                   \
          },                                                                                 \
          [gate](const v1::method##Request& request, v1::method##Response* response,         \
                 UnaryCall* call) {                                                          \
            Serve(gate, RpcMethod::k##method, request, call,                                 \
                  [&](const ApiHandlers& handlers, HandlerDone done) {                       \
                    Handle(*handlers.member, &HandlersOf<&ApiHandlers::member>::method, request,\
                           response, *call, std::move(done));                                \
                  });                                                                        \
          },                                                                                 \
          IsWatched(&HandlersOf<&ApiHandlers::member>::method)))
  POSTRIDER_METHOD(ConfigureWebhook, webhooks);
  POSTRIDER_METHOD(ValidateWebhook, webhooks);
  POSTRIDER_METHOD(GetWebhook, webhooks);
  POSTRIDER_METHOD(ListWebhooks, webhooks);
  POSTRIDER_METHOD(DeleteWebhook, webhooks);
  POSTRIDER_METHOD(RotateSigningSecret, webhooks);
  POSTRIDER_METHOD(PublishNotification, notifications);
  POSTRIDER_METHOD(BatchPublishNotifications, notifications);
  POSTRIDER_METHOD(GetNotification, notifications);
  POSTRIDER_METHOD(ListNotifications, notifications);
  POSTRIDER_METHOD(ListDeliveries, deliveries);
  POSTRIDER_METHOD(GetDelivery, deliveries);
  POSTRIDER_METHOD(RetryDelivery, deliveries);
#undef POSTRIDER_METHOD
}

void RpcServices::Open(const ApiHandlers& handlers) { impl_->gate.Open(handlers); }
void RpcServices::StopAdmission() { impl_->gate.StopAdmission(); }
const RpcMetrics& RpcServices::metrics() const { return impl_->gate.metrics(); }

void RpcServices::AddMetrics(MetricsPage* page) const {
  const RpcMetrics& metrics = impl_->gate.metrics();
  for (size_t i = 0; i < kRpcMethods; ++i) {
    const RpcMetrics::Method& method = metrics.methods[i];
    for (size_t code = 0; code < method.ended.size(); ++code) {
      page->AddCounter("postrider_grpc_requests_total", "gRPC calls that ended.",
                       {{"method", kMethods[i].name}, {"code", kCodes[code]}}, method.ended[code],
                       /*hide_zero=*/code != 0);
    }
    page->AddHistogram("postrider_grpc_request_seconds", "From a call's arrival to its answer.",
                       {{"method", kMethods[i].name}}, method.latency);
  }
  page->AddGauge("postrider_grpc_in_flight", "gRPC calls under way.", {}, metrics.in_flight);
  page->AddGauge("postrider_grpc_in_flight_bytes", "What their requests hold.", {},
                 metrics.in_flight_bytes);
  page->AddGauge("postrider_grpc_answer_bytes",
                 "What answers hold until they are on the wire, and what those to come may hold.",
                 {}, impl_->gate.share_metrics().answer_bytes);
}

}  // namespace postrider
