#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "postrider/v1/webhook_service.pb.h"
#include "src/base/clock.h"
#include "src/base/executor.h"
#include "src/http/transport.h"
#include "src/outbox/types.h"

namespace postrider {

// Sends the test request that decides whether a webhook is valid, and puts into words what came of
// it. The requests go over the pumps' own transports, so that they meet the same resolver, address
// policy and TLS as deliveries do.
//
// Thread-safe.
class WebhookTester {
 public:
  // A transport, and the executor of the thread that owns it.
  struct Lane {
    Executor* executor;
    Transport* transport;
  };

  // The test requests that may be under way at once.
  static constexpr int kMaxConcurrent = 64;

  // Lanes and clock must outlive it, and every closure that it has posted.
  // `version`: what stands behind `postrider/` in User-Agent.
  WebhookTester(std::vector<Lane> lanes, const Clock& clock, std::string version);

  using Done = absl::AnyInvocable<void(absl::StatusOr<v1::ValidationResult>) &&>;

  // Sends the webhook's test request, signed with its secrets. `done` is called once: with
  // RESOURCE_EXHAUSTED within the call when too many are under way; otherwise on a lane's thread,
  // RESOURCE_EXHAUSTED when there was no socket or no lookup for it, UNAVAILABLE when the lane was
  // stopped first.
  void Test(const Webhook& webhook, Done done);

  // From now on nothing is sent: every call is answered UNAVAILABLE, also those whose turn on their
  // lane has not come. What is under way ends when its transport is stopped. Idempotent.
  void Stop() { stopping_.store(true, std::memory_order_relaxed); }

 private:
  const std::vector<Lane> lanes_;
  const Clock& clock_;
  const std::string version_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> under_way_{0};
  std::atomic<unsigned> next_lane_{0};
};

// The result as the API gives it: what was sent, with the values of the webhook's sensitive headers
// masked, what came back, and when it is not exactly 200, a sentence that says what to do.
v1::ValidationResult DescribeTest(const Webhook& webhook, const TransferRequest& request,
                                  const TransferResult& result);

}  // namespace postrider
