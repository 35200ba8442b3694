#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "src/base/require.h"
#include "src/delivery/engine_impl.h"

// What is read ahead of a webhook's deliveries, and which of them is sent when.

namespace postrider {
namespace {

// Deliveries due later than this stay on disk, and are read this long before they are due.
constexpr absl::Duration kLead = absl::Seconds(30);
// The same while memory is tight.
constexpr absl::Duration kShortLead = absl::Seconds(1);
// A webhook to which nothing is sent for longer than this holds no memory.
constexpr absl::Duration kLongHold = absl::Seconds(2);
// At most so many are sent to a webhook before it is the next one's turn: what is recorded together
// then lies together in the outbox, and costs it a fifth of the pages.
constexpr int kMaxSendsPerRun = 8;
// RequestBuilders that are kept. Making one costs about as much as sending one request.
constexpr size_t kMaxRequestBuilders = 4096;
constexpr absl::Duration kReadAgain = absl::Seconds(1);

}  // namespace

// ---- How much

size_t Engine::Impl::Capacity(const WebhookState& webhook) const {
  if (!webhook.open() || webhook.held_until() > now_.mono + kLongHold) return 0;
  const size_t full = options_.max_queued_per_webhook;
  return webhook.window.probing() ? std::min(kProbeCapacity, full) : full;
}

int64_t Engine::Impl::LeadMicros() const {
  return absl::ToInt64Microseconds(memory_.tight() ? kShortLead : kLead);
}

size_t Engine::Impl::RowsWanted(const WebhookState& webhook) {
  const WebhookQueue& queue = webhook.queue;
  if (draining_ || recorder_.stopped() || !webhook.open()) return 0;
  if (queue.complete() || queue.reading()) return 0;
  const bool far = IsFar(queue.horizon());
  if (far && !WantsFar(webhook)) return 0;
  if (webhook.held_until() > now_.mono || webhook.read_again > now_.mono) return 0;
  if (webhook.look_ahead_again > now_.mono && !IsStarving(webhook)) return 0;
  const size_t capacity = Capacity(webhook);
  // Enough for the time that a read takes.
  const auto window = static_cast<size_t>(webhook.window.limit());
  const size_t low = std::max<size_t>({capacity / 4, std::min(window, capacity / 2), 1});
  // What is far makes room for what is near. Where that is read, all in memory was tried.
  const size_t ready = far ? 0 : queue.covered();
  const size_t kept = far ? queue.queued() : ready;
  return ready < low ? capacity - std::min(capacity, kept) : 0;
}

bool Engine::Impl::WantsFar(const WebhookState& webhook) const {
  const WebhookQueue& queue = webhook.queue;
  if (webhook.window.probing()) return queue.empty();
  return webhook.catching_up() && webhook.early_credit.Any(now_.mono) &&
         queue.FirstAfter(webhook.caught_up) == nullptr;
}

bool Engine::Impl::IsStarving(const WebhookState& webhook) {
  const WebhookQueue& queue = webhook.queue;
  if (queue.covered() > 0) return false;
  // A probe must not wait for ever while others fill the memory.
  return IsDue(queue.horizon()) || (webhook.window.probing() && WantsFar(webhook));
}

void Engine::Impl::OnNoRoom(WebhookState& webhook) {
  webhook.look_ahead_again = now_.mono + kReadAgain;
  run_.Push(webhook);
}

Item* Engine::Impl::AdmitRow(WebhookState& webhook, OwedDelivery& row, bool first) {
  if (first) ReadClocks();
  const bool wants_far = webhook.catching_up() || webhook.window.probing();
  if (IsFar(QueueKey::Of(row)) && !wants_far) return nullptr;
  return memory_.Admit(webhook, row, Capacity(webhook),
                       first ? QueueMemory::Room::kAlways : QueueMemory::Room::kFree);
}

void Engine::Impl::OnPageRead(WebhookState& webhook, const absl::Status& status) {
  if (!status.ok()) {
    metrics_.page_failures.Add();
    ReadClocks();
    webhook.read_again = now_.mono + kReadAgain;
    if (absl::IsUnavailable(status)) recorder_.Stop();
  }
  run_.Push(webhook);
}

// ---- One webhook's turn

int Engine::Impl::Run(WebhookState& webhook) {
  REQUIRE(MaySend());
  if (webhook.deleted) {
    Reap(webhook);
    return 0;
  }
  if (webhook.disabling) AskToDisable(webhook);
  // Soon more for a receiver that answers; one at a time for one that does not, since the slots are
  // for those that do.
  const int limit = std::min(kMaxSendsPerRun, 2 * std::exchange(webhook.answered, 0) + 1);
  int sent = 0;
  bool more = true;
  while (more && sent < limit && MaySend() && MaySendFor(*webhook.tenant)) {
    more = webhook.open() && TrySend(webhook);
    if (more) ++sent;
  }
  if (RowsWanted(webhook) > 0) pager_.Want(webhook);
  if (more) {
    run_.Push(webhook);
  } else {
    Arm(webhook);
  }
  return sent;
}

bool Engine::Impl::TrySend(WebhookState& webhook) {
  Item* const item = NextToSend(webhook);
  if (item == nullptr) return false;
  if (webhook.window.probing() && probes_ >= MaxProbes()) {
    stalled_.Push(webhook);
    return false;
  }
  if (!webhook.limiter.TryTake(now_.mono)) return false;
  Send(webhook, item);
  return true;
}

Item* Engine::Impl::NextToSend(WebhookState& webhook) {
  const WebhookQueue& queue = webhook.queue;
  if (queue.queued() == 0) {
    if (queue.complete() && webhook.catching_up()) EndCatchingUp(webhook);
    return nullptr;
  }
  if (webhook.held_until() > now_.mono) return nullptr;
  if (webhook.ordered()) {
    // Not before the one before it is recorded: or it would be sent again, after this one, if the
    // process ended here.
    if (queue.busy() > 0) return nullptr;
    Item* const head = queue.FindFirstPublished();
    return MayGo(webhook, *head) ? head : nullptr;
  }
  if (webhook.in_flight >= std::min(webhook.window.limit(), SlotsFor(webhook))) return nullptr;
  Item* const first = queue.front();
  if (IsDue(first->key)) return first;
  if (webhook.window.probing()) return NextToProbe(webhook);
  return webhook.catching_up() ? NextToCatchUp(webhook) : nullptr;
}

bool Engine::Impl::MayGo(const WebhookState& webhook, const Item& item) const {
  // What was never attempted has no backoff that could be cut short.
  return IsDue(item.key) || (webhook.window.probing() && item.delivery.budget_attempts > 0);
}

bool Engine::Impl::IsEarly(const WebhookState& webhook, const Item& item) const {
  if (!IsDue(item.key)) return true;
  return webhook.ordered() && item.delivery.id == webhook.head && webhook.head_due > now_.mono;
}

absl::Duration Engine::Impl::WaitOf(const WebhookState& webhook, const Item& item) const {
  absl::Duration wait = item.key.due() - now_.steady;
  if (webhook.ordered() && item.delivery.id == webhook.head) {
    wait = std::max(wait, webhook.head_due - now_.mono);
  }
  return std::max(wait, absl::ZeroDuration());
}

void Engine::Impl::Send(WebhookState& webhook, Item* item) {
  webhook.queue.Take(item);
  item->start = now_.steady;
  item->sent = webhook.config;
  item->probe = webhook.window.probing();
  item->early = IsEarly(webhook, *item);
  item->catch_up = item->early && !item->probe && webhook.catching_up();
  if (item->catch_up) {
    webhook.caught_up = item->key;
    webhook.early_credit.Take(now_.mono);
  }
  ++webhook.in_flight;
  ++in_flight_;
  TakeSlotOf(*item);
  const OwedDelivery& delivery = item->delivery;
  transport_.Send(RequestsOf(webhook).Build(outbox_.ids().Format(delivery.notification), now_.wall,
                                            delivery.body),
                  [this, item](TransferResult result) { OnTransfer(item, std::move(result)); });
}

RequestBuilder& Engine::Impl::RequestsOf(WebhookState& webhook) {
  if (webhook.requests != nullptr) return *webhook.requests;
  webhook.requests = std::make_unique<RequestBuilder>(*webhook.config, options_.version);
  if (!webhook.requests_listed) {
    webhook.requests_listed = true;
    with_requests_.push_back(webhook.id);
  }
  if (with_requests_.size() > kMaxRequestBuilders) {
    const auto oldest = webhooks_.find(with_requests_.front());
    with_requests_.pop_front();
    if (oldest == webhooks_.end()) return *webhook.requests;
    WebhookState& other = *oldest->second;
    if (other.queue.empty()) {
      other.requests.reset();
      other.requests_listed = false;
    } else {
      with_requests_.push_back(other.id);
    }
  }
  return *webhook.requests;
}

void Engine::Impl::Arm(WebhookState& webhook) {
  int64_t due = TimerSlot::kNever;
  absl::Duration mono = absl::InfiniteDuration();
  const auto not_before = [&](absl::Duration time) {
    if (time > now_.mono) mono = std::min(mono, time);
  };
  const WebhookQueue& queue = webhook.queue;
  if (webhook.disabling) {
    not_before(webhook.disable_again);
  } else if (webhook.open()) {
    if (queue.queued() > 0 || !queue.complete()) not_before(webhook.held_until());
    if (queue.queued() > 0) {
      const Item* const next = webhook.ordered() ? queue.FindFirstPublished() : queue.front();
      if (!IsDue(next->key)) due = next->key.due_us;
      not_before(webhook.limiter.NextToken());
    }
    if (webhook.catching_up() && !webhook.early_credit.Any(now_.mono)) {
      not_before(webhook.early_credit.next());
    }
    if (!queue.complete()) {
      if (IsFar(queue.horizon())) due = std::min(due, queue.horizon().due_us - LeadMicros());
      not_before(webhook.read_again);
      not_before(webhook.look_ahead_again);
    }
  }
  due_timers_.Set(&webhook, due);
  // Rounded up: a Duration counts quarters of a nanosecond, and a timer that fires before its time
  // would be armed for that time again.
  mono_timers_.Set(&webhook, mono == absl::InfiniteDuration() ? TimerSlot::kNever
                                                              : absl::ToInt64Nanoseconds(absl::Ceil(
                                                                    mono, absl::Nanoseconds(1))));
}

}  // namespace postrider
