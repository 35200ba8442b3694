#include "src/server/api/call_gate.h"

#include "src/server/api/errors.h"
#include "src/server/api/status_mapping.h"

namespace postrider {
namespace {

constexpr std::string_view kDefaultTenantName = "default";

absl::Status Stopping() {
  return WithReason(absl::UnavailableError("the server is stopping: try again when it is back"),
                    "STOPPING");
}

}  // namespace

void CallGate::Open(const ApiHandlers& handlers) {
  handlers_ = handlers;
  open_.store(true, std::memory_order_release);
}

absl::StatusOr<CallShares::Share> CallGate::Admit(Access access, CallShares::Excess excess,
                                                  std::string_view tenant, std::string_view peer,
                                                  int64_t request_bytes, int64_t answer_bytes) {
  if (!open_.load(std::memory_order_acquire)) {
    return WithReason(absl::UnavailableError("the server is starting: try again in a moment"),
                      "STARTING");
  }
  if (draining_.load(std::memory_order_relaxed) && access != Access::kReads) return Stopping();
  return shares_.Take(tenant.empty() ? kDefaultTenantName : tenant, peer, request_bytes,
                      answer_bytes, excess);
}

void CallGate::End(const char* method, size_t number, int64_t bytes, absl::Duration start,
                   const absl::Status& status) {
  metrics_.in_flight.Add(-1);
  metrics_.in_flight_bytes.Add(-bytes);
  CallMetrics::OfMethod& counts = metrics_.methods[number];
  counts.ended[static_cast<size_t>(status.code())].Add();
  counts.latency.Observe(absl::ToDoubleSeconds(clock_.Monotonic() - start));
  if (listener_ != nullptr && (IsInnerError(status) || absl::IsResourceExhausted(status))) {
    listener_->OnFailed(method, status);
  }
}

CallGate::Ending::Ending(CallGate& gate, const char* method, size_t number, int64_t bytes,
                         const google::protobuf::Message& response, Answer answer,
                         CallShares::Share share)
    : gate_(&gate),
      method_(method),
      number_(number),
      bytes_(bytes),
      start_(gate.clock_.Monotonic()),
      response_(&response),
      answer_(std::move(answer)),
      share_(std::move(share)) {
  gate.metrics_.in_flight.Add(1);
  gate.metrics_.in_flight_bytes.Add(bytes);
}

CallGate::Ending::Ending(Ending&& other) noexcept
    : gate_(other.gate_),
      method_(other.method_),
      number_(other.number_),
      bytes_(other.bytes_),
      start_(other.start_),
      response_(other.response_),
      answer_(std::exchange(other.answer_, nullptr)),
      share_(std::move(other.share_)) {}

CallGate::Ending::~Ending() {
  if (answer_ != nullptr) std::move(*this)(Stopping());
}

void CallGate::Ending::operator()(absl::Status status) && {
  absl::Status fits =
      share_.Answered(status.ok() ? static_cast<int64_t>(response_->ByteSizeLong()) : 0);
  if (status.ok()) status = std::move(fits);
  gate_->End(method_, number_, bytes_, start_, status);
  std::exchange(answer_, nullptr)(std::move(status), std::move(share_));
}

}  // namespace postrider
