#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "src/base/clock.h"
#include "src/base/metrics.h"
#include "src/server/api/call_context.h"
#include "src/server/api/call_shares.h"
#include "src/server/api/methods.h"

namespace postrider {

struct CallMetrics {
  struct OfMethod {
    // By absl::StatusCode, whose numbers are those of gRPC.
    std::array<Counter, 17> ended;
    DurationHistogram latency;
  };
  // As in kMethods.
  std::array<OfMethod, kMethodCount> methods;
  Gauge in_flight;
  Gauge in_flight_bytes;
};

// What every call passes, whichever door it came through: admission, fair shares, draining and
// counting.
//
// Thread-safe. Must outlive every call.
class CallGate {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    // A call failed for a reason of the server's own, or for want of room. Thread-safe.
    virtual void OnFailed(const char* method, const absl::Status& status) = 0;
  };

  // How a door sends the answer: the response it gave, if the status is OK. Exactly once, on any
  // thread, perhaps before Serve returns. The share is to be held until the answer is on its way.
  using Answer = absl::AnyInvocable<void(absl::Status, CallShares::Share) &&>;

  // `limits`: what the calls under way may hold in all. The listener may be null.
  CallGate(const Clock& clock, const CallShares::Amount& limits, Listener* listener)
      : clock_(clock), shares_(limits), listener_(listener) {}
  CallGate(const CallGate&) = delete;
  CallGate& operator=(const CallGate&) = delete;

  // Until this is called, every call is answered UNAVAILABLE. Once.
  void Open(const ApiHandlers& handlers);
  // From now on, what writes or sends (but not what reads) is answered UNAVAILABLE. Idempotent.
  void StopAdmission() { draining_.store(true, std::memory_order_relaxed); }

  // One call of the `number`th of kMethods. Request and response must live until it is answered.
  template <typename OneMethod>
  void Serve(const OneMethod& method, size_t number, const typename OneMethod::Request& request,
             typename OneMethod::Response* response, const CallContext& context, Answer answer) {
    const auto bytes = static_cast<int64_t>(request.ByteSizeLong());
    absl::StatusOr<CallShares::Share> share =
        Admit(method.access, method.excess, TenantOf(request), context.peer, bytes,
              AnswerBytesOf(request, method.excess));
    const absl::Status admitted = share.status();
    Ending ending(*this, method.name, number, bytes, *response, std::move(answer),
                  share.ok() ? *std::move(share) : CallShares::Share());
    if (!admitted.ok()) return std::move(ending)(admitted);
    (handlers_.*method.handlers->*method.handle)(request, response, context, std::move(ending));
  }

  const CallMetrics& metrics() const { return metrics_; }
  const CallShares::Metrics& share_metrics() const { return shares_.metrics(); }

 private:
  // Ends one call, exactly once: when it is dropped uncalled, since the queue that it waited in was
  // stopped, the caller hears that the server is stopping.
  class Ending {
   public:
    Ending(CallGate& gate, const char* method, size_t number, int64_t bytes,
           const google::protobuf::Message& response, Answer answer, CallShares::Share share);
    Ending(Ending&& other) noexcept;
    Ending& operator=(Ending&&) = delete;
    ~Ending();

    void operator()(absl::Status status) &&;

   private:
    CallGate* gate_;
    const char* method_;
    size_t number_;
    int64_t bytes_;
    absl::Duration start_;
    const google::protobuf::Message* response_;
    // Null once it has been called, or moved away.
    Answer answer_;
    CallShares::Share share_;
  };

  // What the answer of a call that reads is likely to hold: of one row, and of a page of them.
  static constexpr int64_t kRowBytes = int64_t{64} << 10;
  static constexpr int64_t kPageRowBytes = int64_t{4} << 10;
  static constexpr int64_t kMaxPageBytes = int64_t{2} << 20;
  static constexpr int kDefaultPageSize = 50;
  // What the others' may hold at most: a webhook and what came of its test, and a batch's results.
  static constexpr int64_t kConfiguredBytes = int64_t{1} << 20;
  static constexpr int64_t kResultBytes = 64;

  // Whose call it is: of a batch, the one of its first request.
  template <typename Request>
  static std::string_view TenantOf(const Request& request) {
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

  // What room its answer must find before it is begun. Those that are small find it always: they
  // are bounded by the number of calls, and those who read must not lock out who publishes.
  template <typename Request>
  static int64_t AnswerBytesOf(const Request& request, CallShares::Excess excess) {
    if constexpr (requires { request.page_size(); }) {
      const int rows = request.page_size() > 0 ? request.page_size() : kDefaultPageSize;
      return std::min(rows * kPageRowBytes, kMaxPageBytes);
    } else if constexpr (requires { request.requests_size(); }) {
      return request.requests_size() * kResultBytes;
    } else if constexpr (requires { request.has_update_mask(); }) {
      return kConfiguredBytes;
    }
    return excess == CallShares::Excess::kRefused ? kRowBytes : 0;
  }

  absl::StatusOr<CallShares::Share> Admit(Access access, CallShares::Excess excess,
                                          std::string_view tenant, std::string_view peer,
                                          int64_t request_bytes, int64_t answer_bytes);
  void End(const char* method, size_t number, int64_t bytes, absl::Duration start,
           const absl::Status& status);

  const Clock& clock_;
  CallShares shares_;
  Listener* const listener_;
  CallMetrics metrics_;
  // Written once, before open_.
  ApiHandlers handlers_;
  std::atomic<bool> open_{false};
  std::atomic<bool> draining_{false};
};

}  // namespace postrider
