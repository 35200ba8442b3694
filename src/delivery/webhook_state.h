#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "src/base/ids.h"
#include "src/delivery/early_credit.h"
#include "src/delivery/limiter.h"
#include "src/delivery/moment.h"
#include "src/delivery/timer_heap.h"
#include "src/delivery/webhook_queue.h"
#include "src/delivery/window.h"
#include "src/message/request.h"
#include "src/outbox/types.h"

namespace postrider {

struct TenantState;

// A webhook's place in a FairRunList.
struct ListSlot {
  bool listed = false;
  WebhookState* next = nullptr;
};

// All that the engine keeps of one webhook. With nothing owed it costs its configuration and a few
// hundred bytes. Owned by the engine; pointers to it stand in lists and in what is under way, so it
// lives until it is in none of them, even when the webhook is deleted.
struct WebhookState {
  WebhookState(const Webhook& webhook, bool owed, int failures_to_probe)
      : id(webhook.id),
        queue(!owed),
        window(std::max(webhook.max_concurrency, 1), failures_to_probe) {}

  bool ordered() const { return config->order == DeliveryOrder::kOrdered; }
  bool catching_up() const { return recovered_at != absl::InfiniteFuture(); }
  // Something may be sent to it at all.
  bool open() const { return !deleted && !disabling && config->enabled; }
  absl::Duration held_until() const {
    return std::max({backoff_until, receiver_until, resources_until});
  }
  bool failing() const { return failing_since != absl::InfiniteFuture(); }

  const WebhookId id;
  // Set with the first configuration.
  TenantState* tenant = nullptr;
  // Shared with the attempts that were made with it.
  std::shared_ptr<const Webhook> config;
  // Made when it is first needed, and given up when many others were needed since.
  std::unique_ptr<RequestBuilder> requests;
  bool requests_listed = false;

  WebhookQueue queue;
  Window window;
  Limiter limiter;
  EarlyCredit early_credit;
  // Attempts under way; queue.busy() counts those as well whose outcome is being recorded.
  int in_flight = 0;
  // Those of them that have ended and are not judged yet.
  int unjudged = 0;
  // Attempts that were answered, well or badly, since its last turn.
  int answered = 0;
  // Steady.
  absl::Time failing_since = absl::InfiniteFuture();
  // Of its last failure, while it is failing.
  std::string last_error;

  // Monotonic: nothing is sent before. Between two probes, or while an ordered webhook's head backs
  // off; what the receiver asked for with Retry-After; and after we were out of sockets.
  absl::Duration backoff_until = -absl::InfiniteDuration();
  absl::Duration receiver_until = -absl::InfiniteDuration();
  absl::Duration resources_until = -absl::InfiniteDuration();
  // An ordered webhook's head that has failed, and when it is due by its own policy (monotonic).
  DeliveryId head{};
  absl::Duration head_due = -absl::InfiniteDuration();
  // The outage is over, since when; what it has put off is tried once each before it is due, in the
  // order of the keys, up to the one that is named. InfiniteFuture: all is by its own policy.
  absl::Time recovered_at = absl::InfiniteFuture();
  // It had not caught up when the process ended: it begins with a probe, and then does.
  bool to_catch_up = false;
  QueueKey caught_up;
  // Monotonic: there was no memory to read ahead; not before this again.
  absl::Duration look_ahead_again = -absl::InfiniteDuration();
  // Monotonic: the outbox could not read, or could not disable it; not before this again.
  absl::Duration read_again = -absl::InfiniteDuration();
  absl::Duration disable_again = -absl::InfiniteDuration();

  // Why it is being disabled, and the version that the reason was found with.
  std::string disable_reason;
  int64_t disable_version = 0;
  bool disabling = false;
  bool disable_asked = false;
  bool deleted = false;
  // In EngineMetrics::probing_webhooks; since when it is, or is not.
  bool counted_probing = false;
  absl::Time state_since = absl::InfinitePast();

  // Places in the lists of the engine, Pager, QueueMemory and the two timer heaps.
  ListSlot run;
  ListSlot stalled;
  bool waits_for_page = false;
  size_t memory_bytes = 0;
  size_t holder_index = 0;
  TimerSlot due_timer;
  TimerSlot mono_timer;
};

// What stands in a FairRunList of one tenant, the next one first, and the tenant's own place in it.
struct TenantLane {
  WebhookState* first = nullptr;
  WebhookState* last = nullptr;
  bool listed = false;
  TenantState* next = nullptr;
};

// What the webhooks of one tenant take together. Lives while it has any.
struct TenantState {
  std::string name;
  size_t webhooks = 0;
  // Attempts that are under way, or not recorded yet.
  size_t used = 0;
  // Its part of the two lists of the engine.
  TenantLane run;
  TenantLane stalled;
};

// Webhooks that want to be looked at, a tenant at a time, first come, first served among those of a
// tenant: so many webhooks of one tenant cost another one a turn, not a turn each. O(1), but for
// tenants that may not go; no allocation.
template <ListSlot WebhookState::*kSlot, TenantLane TenantState::*kLane>
class FairRunList {
 public:
  // Does nothing when it is in this list already.
  void Push(WebhookState& webhook) {
    ListSlot& slot = webhook.*kSlot;
    if (slot.listed) return;
    slot.listed = true;
    slot.next = nullptr;
    TenantLane& lane = webhook.tenant->*kLane;
    (lane.first == nullptr ? lane.first : (lane.last->*kSlot).next) = &webhook;
    lane.last = &webhook;
    if (!lane.listed) Append(*webhook.tenant);
  }

  // The next one, of a tenant that `may` go now; null without one.
  template <typename May>
  WebhookState* Pop(May may) {
    for (const TenantState* const last = last_; first_ != nullptr;) {
      TenantState& tenant = *first_;
      TenantLane& lane = tenant.*kLane;
      first_ = lane.next;
      lane.listed = false;
      if (!may(tenant)) {
        Append(tenant);
        if (&tenant == last) break;
        continue;
      }
      WebhookState& webhook = *lane.first;
      lane.first = (webhook.*kSlot).next;
      (webhook.*kSlot).listed = false;
      if (lane.first != nullptr) Append(tenant);
      return &webhook;
    }
    return nullptr;
  }

  // Whether there is one of a tenant that `may` go now.
  template <typename May>
  bool Any(May may) const {
    for (const TenantState* tenant = first_; tenant != nullptr; tenant = (tenant->*kLane).next) {
      if (may(*tenant)) return true;
    }
    return false;
  }

 private:
  void Append(TenantState& tenant) {
    TenantLane& lane = tenant.*kLane;
    lane.listed = true;
    lane.next = nullptr;
    (first_ == nullptr ? first_ : (last_->*kLane).next) = &tenant;
    last_ = &tenant;
  }

  TenantState* first_ = nullptr;
  TenantState* last_ = nullptr;
};

}  // namespace postrider
