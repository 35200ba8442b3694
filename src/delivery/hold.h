#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "src/base/ids.h"

namespace postrider {

// Why a pending delivery is not being sent. The numbers are those of postrider.v1.HoldReason, and
// the first that applies is told.
enum class HoldReason {
  kDisabled = 1,
  kPaused = 2,
  kScheduled = 3,
  kRetryAfter = 4,
  kProbing = 5,
  kOrder = 6,
  kNotDue = 7,
  kRateLimited = 8,
  kConcurrency = 9,
  kResources = 10,
};

// What holds a pending delivery back. Times are those of the wall clock.
struct Hold {
  HoldReason reason = HoldReason::kNotDue;
  // InfinitePast: not known.
  absl::Time start = absl::InfinitePast();
  // Until when at the latest. InfiniteFuture: nobody knows.
  absl::Time until = absl::InfiniteFuture();
  // A sentence for a person, with what to do about it.
  std::string detail;
};

// The numbers are those of postrider.v1.HealthState.
enum class HealthState {
  kHealthy = 1,
  kProbing = 2,
  kRecovering = 3,
  kPaused = 4,
  kDisabled = 5,
};

// How a webhook's receiver does.
struct Health {
  HealthState state = HealthState::kHealthy;
  // InfinitePast: not known.
  absl::Time start = absl::InfinitePast();
  // InfiniteFuture: nothing waits for a time.
  absl::Time next_attempt = absl::InfiniteFuture();
  // Empty while it is healthy.
  std::string last_error;
};

// A pending delivery as it was read from the outbox.
struct PendingDelivery {
  WebhookId webhook{};
  DeliveryId delivery{};
  absl::Time due;
};

// Tells what the engines make of webhooks and of what is owed to them. Thread-safe. `done` is
// called once, later, on a thread of its own, and must be quick; it is dropped uncalled when the
// server stops before.
class StatusSource {
 public:
  virtual ~StatusSource() = default;

  // One for each, in their order; nothing for what is being sent, or is about to be.
  using Holds = std::vector<std::optional<Hold>>;
  virtual void AskHolds(std::vector<PendingDelivery> deliveries,
                        absl::AnyInvocable<void(Holds) &&> done) = 0;

  // One for each, in their order. A webhook that no engine knows is told as disabled.
  virtual void AskHealth(std::vector<WebhookId> webhooks,
                         absl::AnyInvocable<void(std::vector<Health>) &&> done) = 0;
};

}  // namespace postrider
