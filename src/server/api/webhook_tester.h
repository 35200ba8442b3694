#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "postrider/v1/webhook_service.pb.h"
#include "src/base/clock.h"
#include "src/base/executor.h"
#include "src/base/mutex.h"
#include "src/http/transport.h"
#include "src/outbox/types.h"
#include "src/server/api/call_context.h"

namespace postrider {

// Who may have how many test requests under way. A tenant that is alone may have nearly all; where
// others have some, nobody takes more than an equal share; and a tenant that has none finds a place
// that is kept for such. Thread-safe.
class TestShares {
 public:
  // Of test requests under way: in all, and of those the places for tenants that have none.
  static constexpr int kMax = 64;
  static constexpr int kForNewcomers = 8;

  // OK when one more may begin, which Leave ends; else RESOURCE_EXHAUSTED.
  absl::Status Enter(const std::string& tenant);
  void Leave(const std::string& tenant);

 private:
  Mutex mutex_;
  int all_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of each tenant that has any.
  absl::flat_hash_map<std::string, int> by_tenant_ ABSL_GUARDED_BY(mutex_);
};

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

  // Lanes and clock must outlive it, and every closure that it has posted.
  // `version`: what stands behind `postrider/` in User-Agent.
  WebhookTester(std::vector<Lane> lanes, const Clock& clock, std::string version);

  using Done = absl::AnyInvocable<void(absl::StatusOr<v1::ValidationResult>) &&>;

  // Sends the webhook's test request, signed with its secrets. It ends when its caller waits no
  // more. `done` is called once: with RESOURCE_EXHAUSTED within the call when too many are under
  // way; otherwise on a lane's thread. It hears UNAVAILABLE when the lane was stopped first,
  // DEADLINE_EXCEEDED or CANCELLED when the caller's time was over, and RESOURCE_EXHAUSTED when
  // this process had nothing to send it with: none of them says anything about the receiver.
  void Test(const Webhook& webhook, const CallContext& context, Done done);

  // From now on nothing is sent: every call is answered UNAVAILABLE, also those whose turn on their
  // lane has not come. What is under way ends when its transport is stopped. Idempotent.
  void Stop() { stopping_.store(true, std::memory_order_relaxed); }

 private:
  const std::vector<Lane> lanes_;
  const Clock& clock_;
  const std::string version_;
  std::atomic<bool> stopping_{false};
  TestShares shares_;
  std::atomic<unsigned> next_lane_{0};
};

// The result as the API gives it: what was sent, with the values of the webhook's sensitive headers
// masked, what came back, and when it is not exactly 200, a sentence that says what to do.
v1::ValidationResult DescribeTest(const Webhook& webhook, const TransferRequest& request,
                                  const TransferResult& result);

}  // namespace postrider
