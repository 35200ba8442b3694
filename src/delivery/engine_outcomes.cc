#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "src/base/require.h"
#include "src/delivery/engine_impl.h"

// What becomes of a delivery when its attempt has ended.

namespace postrider {
namespace {

// What a step does for attempts that failed, so that those that did not are not kept waiting.
constexpr int kFailuresPerStep = 32;
constexpr absl::Duration kTimeForFailures = absl::Milliseconds(1);
// After the process was out of sockets.
constexpr absl::Duration kSendAgain = absl::Seconds(1);

bool AnsweredWell(const TransferResult& result) {
  return result.error == TransferError::kNone && result.http_status >= 200 &&
         result.http_status < 300;
}

}  // namespace

void Engine::Impl::OnTransfer(Item* item, TransferResult result) {
  if (result.error == TransferError::kCancelled || result.error == TransferError::kNoResources) {
    OnNotMade(item, result.error);
    return;
  }
  // What came to a webhook one after the other is judged so.
  if (AnsweredWell(result) && item->webhook->unjudged == 0) {
    EndAttempt(item, std::move(result));
  } else {
    ++item->webhook->unjudged;
    unjudged_.emplace_back(item, std::move(result));
  }
}

void Engine::Impl::OnNotMade(Item* item, TransferError error) {
  // Not an attempt: it is owed as before, and nobody is blamed.
  WebhookState& webhook = *item->webhook;
  --webhook.in_flight;
  --in_flight_;
  FreeSlotOf(*item);
  run_.Push(webhook);
  item->start = absl::InfinitePast();
  if (error == TransferError::kNoResources) {
    metrics_.attempts_postponed.Add();
    ReadClocks();
    webhook.resources_until = now_.mono + kSendAgain;
  }
  if (item->catch_up) {
    webhook.early_credit.GiveBack();
    webhook.caught_up = std::min(webhook.caught_up, item->key.Below());
  }
  // On disk it is due by that retry, and not when it was due before.
  if (item->retried != nullptr) return TakeRetried(item);
  Return(item, item->key);
}

void Engine::Impl::JudgeFailures() {
  const absl::Duration until = now_.mono + kTimeForFailures;
  for (int left = kFailuresPerStep; left > 0 && !unjudged_.empty() && now_.mono < until; --left) {
    auto [item, result] = std::move(unjudged_.front());
    unjudged_.pop_front();
    --item->webhook->unjudged;
    EndAttempt(item, std::move(result));
    ReadClocks();
  }
}

void Engine::Impl::EndAttempt(Item* item, TransferResult result) {
  WebhookState& webhook = *item->webhook;
  const bool answered_well = AnsweredWell(result);
  --webhook.in_flight;
  // A time-out is no sign that there is room for more.
  if (result.http_status != 0) ++webhook.answered;
  --in_flight_;
  run_.Push(webhook);
  metrics_.attempt_latency.Observe(absl::ToDoubleSeconds(result.latency));
  const MadeAttempt made = {item->delivery, *item->sent, item->start, item->early,
                            WaitOf(webhook, *item)};
  Verdict verdict = Judge(*webhook.config, made, now_, std::move(result),
                          answered_well ? 0 : random_.Uniform());
  item->recording = true;
  item->retried.reset();
  if (verdict.success) {
    metrics_.attempts_succeeded.Add();
    if (item->catch_up && verdict.speaks) webhook.early_credit.Succeeded();
    if (verdict.speaks && !webhook.deleted) OnSuccess(webhook);
  } else {
    metrics_.attempts_failed.Add();
    if (verdict.outcome.next_state == DeliveryState::kDead) metrics_.deliveries_dead.Add();
    if (verdict.speaks && !webhook.deleted) OnFailure(webhook, *item, verdict);
  }
  CountProbing(webhook);
  recorder_.Add(item, std::move(verdict.outcome), webhook.ordered());
}

void Engine::Impl::OnRecorded(Item* item, const AttemptOutcome& outcome) {
  WebhookState& webhook = *item->webhook;
  FreeSlotOf(*item);
  run_.Push(webhook);
  item->recording = false;
  if (item->retried != nullptr) return TakeRetried(item);
  if (outcome.next_state != DeliveryState::kPending || webhook.deleted) {
    webhook.queue.Drop(item, outcome.number);
    memory_.Release(item);
    return;
  }
  ReadClocks();
  OwedDelivery& delivery = item->delivery;
  delivery.attempts = outcome.number;
  delivery.budget_attempts = outcome.budget_attempts;
  delivery.budget_start = outcome.budget_start;
  delivery.due = outcome.next_due;
  Return(item, QueueKey::Of(delivery));
}

void Engine::Impl::TakeRetried(Item* item) {
  REQUIRE(item->retried != nullptr);
  ReadClocks();
  WebhookState& webhook = *item->webhook;
  OwedDelivery retried = std::move(*item->retried);
  webhook.queue.Drop(item, retried.attempts);
  memory_.Release(item);
  EndWait(webhook, retried.id);
  Add(webhook, retried);
}

void Engine::Impl::Return(Item* item, const QueueKey& key) {
  WebhookState& webhook = *item->webhook;
  WebhookQueue& queue = webhook.queue;
  const size_t capacity = Capacity(webhook);
  // While it catches up it would be read again at once.
  if (queue.Covers(key) && (!IsFar(key) || webhook.catching_up()) && capacity > 0) {
    if (queue.queued() >= capacity && key < queue.back()->key) {
      memory_.EvictTo(webhook, capacity - 1);
    }
    // Making room may have lowered the horizon below it.
    if (queue.queued() < capacity && queue.Covers(key)) {
      queue.PutBack(item, key);
      return;
    }
  }
  queue.Drop(item, item->delivery.attempts);
  queue.LeaveOnDisk(key);
  memory_.Release(item);
}

}  // namespace postrider
