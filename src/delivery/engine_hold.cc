#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/delivery/engine_impl.h"

namespace postrider {
namespace {

constexpr char kDisabled[] =
    "the webhook is disabled: see its disabled_reason, mend the receiver, and enable it again";
constexpr char kRetryAfter[] = "the receiver asked for a pause by Retry-After";
constexpr char kOrder[] =
    "the webhook is ordered, and one that was published before comes first: see what holds that";
constexpr char kNotDue[] = "its last attempt failed, and the next one is not due yet";
constexpr char kRateLimited[] = "the webhook's rate_limit is used up for now";
constexpr char kResources[] =
    "Postrider is short of something (disk, memory, sockets or slots): see its log and metrics";

Hold MakeHold(HoldReason reason, std::string detail) {
  Hold hold;
  hold.reason = reason;
  hold.detail = std::move(detail);
  return hold;
}

}  // namespace

void Engine::Impl::CountProbing(WebhookState& webhook) {
  const bool probing = webhook.open() && webhook.window.probing() && !webhook.to_catch_up;
  if (probing == webhook.counted_probing) return;
  webhook.counted_probing = probing;
  metrics_.probing_webhooks.Add(probing ? 1 : -1);
  webhook.state_since = now_.steady;
  if (options_.listener == nullptr) return;
  if (probing) {
    options_.listener->OnHeldBack(*webhook.config, webhook.last_error);
  } else if (webhook.open()) {
    options_.listener->OnLetGo(*webhook.config);
  }
}

Moment Engine::Impl::Now() const {
  Moment now;
  now.wall = clock_.Now();
  now.mono = clock_.Monotonic();
  now.steady = clock_.Steady();
  now.steady_us = absl::ToUnixMicros(now.steady);
  return now;
}

absl::Time Engine::Impl::WallOf(const Moment& now, absl::Duration mono) {
  // As precise as times are stored, and not before it.
  return now.wall + absl::Ceil(mono - now.mono, absl::Microseconds(1));
}

const WebhookState* Engine::Impl::Known(WebhookId id) const {
  const auto found = webhooks_.find(id);
  return found == webhooks_.end() || found->second->deleted ? nullptr : found->second.get();
}

Health Engine::Impl::HealthOf(WebhookId id) const {
  const Moment now = Now();
  const WebhookState* const webhook = Known(id);
  Health health;
  if (webhook == nullptr || !webhook->open()) {
    health.state = HealthState::kDisabled;
    return health;
  }
  if (webhook->window.probing() && !webhook->to_catch_up) {
    health.state = HealthState::kProbing;
  } else if (webhook->window.growing() || webhook->window.probing() || webhook->catching_up()) {
    health.state = HealthState::kRecovering;
  }
  if (webhook->state_since != absl::InfinitePast()) health.start = now.ToWall(webhook->state_since);
  const absl::Duration held = webhook->held_until();
  if (held > now.mono) {
    health.next_attempt = WallOf(now, held);
  } else if (webhook->window.probing() && !webhook->queue.empty()) {
    health.next_attempt = now.wall;
  }
  health.last_error = webhook->last_error;
  return health;
}

std::optional<Hold> Engine::Impl::HoldOf(const PendingDelivery& pending) const {
  const WebhookState* const webhook = Known(pending.webhook);
  // What a deleted webhook is owed is about to be cancelled.
  if (webhook == nullptr) return MakeHold(HoldReason::kDisabled, kDisabled);
  const Item* const item = webhook->queue.Find(pending.delivery);
  if (item != nullptr && item->busy) return std::nullopt;
  if (!webhook->open()) return MakeHold(HoldReason::kDisabled, kDisabled);
  const Moment now = Now();
  if (webhook->receiver_until > now.mono) {
    Hold hold = MakeHold(HoldReason::kRetryAfter, kRetryAfter);
    hold.until = WallOf(now, webhook->receiver_until);
    return hold;
  }
  if (webhook->window.probing()) return ProbeHold(*webhook, item, now);
  if (webhook->ordered()) {
    if (std::optional<Hold> hold = OrderHold(*webhook, pending, now)) return hold;
  }
  const absl::Time due = item != nullptr ? item->key.due() : pending.due;
  // What is on disk only may be put off as well.
  const bool put_off = (item != nullptr ? IsPutOff(*webhook, *item) : webhook->catching_up()) &&
                       webhook->early_credit.Any(now.mono);
  if (due > now.steady && !put_off) {
    Hold hold = MakeHold(HoldReason::kNotDue, kNotDue);
    hold.until = now.ToWall(due);
    return hold;
  }
  return ShareHold(*webhook, now);
}

std::optional<Hold> Engine::Impl::ProbeHold(const WebhookState& webhook, const Item* item,
                                            const Moment& now) const {
  const bool waits = webhook.backoff_until > now.mono;
  const bool next = item != nullptr && webhook.in_flight == 0 &&
                    item == (webhook.ordered() ? webhook.queue.FindFirstPublished()
                                               : NextToProbe(webhook));
  if (next && !waits && probes_ < MaxProbes()) return ShareHold(webhook, now);
  if (next && !waits) return MakeHold(HoldReason::kResources, kResources);
  Hold hold = MakeHold(
      HoldReason::kProbing,
      absl::StrCat("the receiver fails, so one delivery at a time is tried until it works",
                   webhook.last_error.empty() ? "" : "; the last error: ", webhook.last_error));
  if (webhook.state_since != absl::InfinitePast()) hold.start = now.ToWall(webhook.state_since);
  // When it is tried itself nobody knows, but when the receiver is.
  if (waits) hold.until = WallOf(now, webhook.backoff_until);
  return hold;
}

std::optional<Hold> Engine::Impl::OrderHold(const WebhookState& webhook,
                                            const PendingDelivery& pending,
                                            const Moment& now) const {
  const WebhookQueue& queue = webhook.queue;
  const bool head = queue.busy() == 0 && queue.queued() > 0 &&
                    queue.FindFirstPublished()->delivery.id == pending.delivery;
  if (!head && !queue.empty()) return MakeHold(HoldReason::kOrder, kOrder);
  if (webhook.backoff_until <= now.mono) return std::nullopt;
  // With nothing in memory it is not known which is the head; it is what waits then.
  Hold hold = webhook.head == pending.delivery ? MakeHold(HoldReason::kNotDue, kNotDue)
                                               : MakeHold(HoldReason::kOrder, kOrder);
  if (webhook.head == pending.delivery) hold.until = WallOf(now, webhook.backoff_until);
  return hold;
}

std::optional<Hold> Engine::Impl::ShareHold(const WebhookState& webhook,
                                            const Moment& now) const {
  const absl::Duration token = webhook.limiter.NextToken();
  if (token > now.mono) {
    Hold hold = MakeHold(HoldReason::kRateLimited, kRateLimited);
    // When there is a token again, though it may be another's.
    hold.until = WallOf(now, token);
    return hold;
  }
  if (!webhook.ordered() && webhook.in_flight >= webhook.window.limit()) {
    return MakeHold(
        HoldReason::kConcurrency,
        webhook.window.growing()
            ? absl::StrCat(webhook.in_flight, " requests are under way, as many as may be to a ",
                           "receiver that has just begun to work again")
            : absl::StrCat(webhook.in_flight, " requests are under way, as many as ",
                           "max_concurrency allows"));
  }
  if (webhook.resources_until > now.mono || !MaySend() ||
      webhook.in_flight >= SlotsFor(webhook)) {
    Hold hold = MakeHold(HoldReason::kResources, kResources);
    if (webhook.resources_until > now.mono) hold.until = WallOf(now, webhook.resources_until);
    return hold;
  }
  return std::nullopt;
}

}  // namespace postrider
