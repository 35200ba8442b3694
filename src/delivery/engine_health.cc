#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/delivery/engine_impl.h"
#include "src/delivery/retry.h"

// What an attempt says of its receiver, and what follows from it: probes, what is tried early after
// an outage, and disabling.

namespace postrider {
namespace {

constexpr absl::Duration kDisableAgain = absl::Seconds(1);

}  // namespace

void Engine::Impl::OnSuccess(WebhookState& webhook) {
  const bool probed = webhook.window.probing();
  if (probed) StartCatchingUp(webhook);
  webhook.window.OnSuccess();
  webhook.backoff_until = -absl::InfiniteDuration();
  if (!webhook.failing() && !probed) return;
  webhook.to_catch_up = false;
  webhook.last_error = {};
  webhook.failing_since = absl::InfiniteFuture();
  SaveHealth(webhook);
}

void Engine::Impl::OnFailure(WebhookState& webhook, const Item& item, const Verdict& verdict) {
  if (webhook.failing_since == absl::InfiniteFuture()) {
    webhook.failing_since = now_.steady;
    webhook.to_catch_up = false;
    SaveHealth(webhook);
  }
  webhook.last_error = verdict.outcome.error;
  const absl::Duration asked = verdict.retry_after.value_or(absl::ZeroDuration());
  const bool for_long = now_.steady - webhook.failing_since >= options_.probe_after;
  const bool probed = webhook.window.OnFailure(item.probe, for_long);
  if (probed) {
    webhook.recovered_at = absl::InfiniteFuture();
    webhook.backoff_until = now_.mono + ProbeDelay(webhook.config->retry_policy,
                                                   webhook.window.failed_probes(),
                                                   random_.Uniform());
  }
  const bool is_head =
      webhook.ordered() && verdict.outcome.next_state == DeliveryState::kPending;
  if (is_head) {
    webhook.head = item.delivery.id;
    webhook.head_due = now_.mono + verdict.delay;
    if (!webhook.window.probing()) {
      webhook.backoff_until = std::max(webhook.backoff_until, webhook.head_due);
    }
  }
  // Where one at a time is tried, what it is asked holds for all.
  if (verdict.overloaded || probed || is_head) {
    webhook.receiver_until = std::max(webhook.receiver_until, now_.mono + asked);
  }
  const std::string& error = verdict.outcome.error;
  if (verdict.gone) {
    StartDisabling(webhook, item.sent->version,
                   absl::StrCat(error, "; enable the webhook again when it does"));
  } else if (webhook.window.probing() &&
             now_.steady - webhook.failing_since >= options_.disable_after) {
    StartDisabling(
        webhook, item.sent->version,
        absl::StrCat("nothing but failures since ",
                     absl::FormatTime(absl::RFC3339_sec, now_.ToWall(webhook.failing_since),
                                      absl::UTCTimeZone()),
                     "; the last error: ", error,
                     "; enable the webhook again when its receiver works"));
  }
  memory_.EvictTo(webhook, Capacity(webhook));
}

void Engine::Impl::EndWait(WebhookState& webhook, DeliveryId wanted) {
  webhook.backoff_until = -absl::InfiniteDuration();
  if (wanted == webhook.head) webhook.head_due = -absl::InfiniteDuration();
}

void Engine::Impl::OnHealthRefused(WebhookId id) {
  if (const WebhookState* const webhook = FindWebhook(id)) SaveHealth(*webhook);
}

void Engine::Impl::SaveHealth(const WebhookState& webhook) {
  const bool recovers = !webhook.failing() && (webhook.catching_up() || webhook.to_catch_up);
  recorder_.AddHealth(
      {webhook.id, recovers ? WebhookHealth::kRecovering : webhook.failing_since});
}

// ---- After an outage

void Engine::Impl::StartCatchingUp(WebhookState& webhook) {
  // What an ordered webhook holds behind its head was never put off.
  if (webhook.ordered()) return;
  ReadClocks();
  webhook.recovered_at = now_.steady;
  webhook.caught_up = {now_.steady_us, std::numeric_limits<int64_t>::max()};
}

void Engine::Impl::EndCatchingUp(WebhookState& webhook) {
  webhook.recovered_at = absl::InfiniteFuture();
  SaveHealth(webhook);
}

Item* Engine::Impl::NextToProbe(const WebhookState& webhook) const {
  // One after the other: one that is always refused says nothing of the receiver.
  const WebhookQueue& queue = webhook.queue;
  const size_t count = std::min(queue.queued(), kProbeCapacity);
  if (count > 0 && IsDue(queue.front()->key)) return queue.front();
  for (size_t i = 0; i < count; ++i) {
    Item* const item =
        queue.at((static_cast<size_t>(webhook.window.failed_probes()) + i) % count);
    if (MayGo(webhook, *item)) return item;
  }
  return nullptr;
}

Item* Engine::Impl::NextToCatchUp(WebhookState& webhook) {
  const WebhookQueue& queue = webhook.queue;
  while (Item* const item = queue.FirstAfter(webhook.caught_up)) {
    if (IsPutOff(webhook, *item)) {
      return webhook.early_credit.Any(now_.mono) ? item : nullptr;
    }
    webhook.caught_up = item->key;
  }
  // Where the queue is full of what has failed again there is no room to look for more.
  const bool full = IsFar(queue.horizon()) && queue.queued() >= Capacity(webhook);
  if (queue.complete() || full) EndCatchingUp(webhook);
  return nullptr;
}

// ---- Disabling

void Engine::Impl::StartDisabling(WebhookState& webhook, int64_t version, std::string reason) {
  if (!webhook.open()) return;
  webhook.disabling = true;
  webhook.disable_reason = std::move(reason);
  webhook.disable_version = version;
}

void Engine::Impl::AskToDisable(WebhookState& webhook) {
  if (webhook.disable_asked || webhook.disable_again > now_.mono) return;
  webhook.disable_asked = true;
  // Of the attempt: who has changed the webhook since, though it is not heard of yet, has decided.
  outbox_.DisableWebhook(webhook.id, webhook.disable_version, webhook.disable_reason,
                         [this, &home = home_, &webhook,
                          version = webhook.disable_version](absl::Status status) {
                           home.Post([this, &webhook, version, status = std::move(status)] {
                             OnDisableAnswer(webhook, version, status);
                           });
                         });
}

void Engine::Impl::OnDisableAnswer(WebhookState& webhook, int64_t version,
                                   const absl::Status& status) {
  webhook.disable_asked = false;
  run_.Push(webhook);
  if (webhook.deleted) return;
  if (status.ok()) {
    // The change itself has been heard of before. Nothing has changed when its owner was faster.
    if (webhook.disable_version == version) webhook.disabling = false;
    if (!webhook.config->enabled) metrics_.webhooks_disabled.Add();
    return;
  }
  ReadClocks();
  webhook.disable_again = now_.mono + kDisableAgain;
  if (absl::IsUnavailable(status) || absl::IsUnknown(status)) recorder_.Stop();
}

}  // namespace postrider
