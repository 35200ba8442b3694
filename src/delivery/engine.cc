#include "src/delivery/engine.h"

#include <algorithm>
#include <utility>

#include "src/delivery/engine_impl.h"

namespace postrider {
namespace {

// A step ends after about this many attempts, so that the owner's other work is not kept waiting.
constexpr int kEnoughSends = 32;
// While anything waits, that the wall clock was set is noticed after this long.
constexpr absl::Duration kMaxSleep = absl::Minutes(1);
constexpr absl::Duration kMoment = absl::Seconds(10);
// The wall clock was set, and not only slewed.
constexpr absl::Duration kClockSet = absl::Seconds(1);

// Nothing has changed but what a test request has shown.
bool IsOnlyValidated(const Webhook& before, const Webhook& after) {
  return before.validation_state != after.validation_state && before.enabled == after.enabled &&
         before.order == after.order && before.timeout == after.timeout &&
         before.max_concurrency == after.max_concurrency &&
         before.rate_limit == after.rate_limit && before.retry_policy == after.retry_policy &&
         SameReceiver(before, after);
}

}  // namespace

// ---- The handle

Engine::Engine(const EngineOptions& options, const Clock& clock, Random& random,
               Transport& transport, Outbox& outbox, Executor& home, EngineMetrics& metrics)
    : impl_(std::make_unique<Impl>(options, clock, random, transport, outbox, home, metrics)) {}
Engine::~Engine() = default;

void Engine::OnWebhook(const Webhook& webhook, bool owed) { impl_->OnWebhook(webhook, owed); }
void Engine::OnWebhookDeleted(WebhookId id) { impl_->OnWebhookDeleted(id); }
void Engine::OnOwed(std::vector<OwedDelivery> deliveries) { impl_->OnOwed(std::move(deliveries)); }
void Engine::OnValidated(WebhookId id, int64_t version) { impl_->OnValidated(id, version); }
Health Engine::HealthOf(WebhookId id) const { return impl_->HealthOf(id); }
std::optional<Hold> Engine::HoldOf(const PendingDelivery& pending) const {
  return impl_->HoldOf(pending);
}
absl::Time Engine::Step() { return impl_->Step(); }
void Engine::BeginDrain() { impl_->BeginDrain(); }
bool Engine::idle() const { return impl_->idle(); }

// ---- What is fed

Engine::Impl::Impl(const EngineOptions& options, const Clock& clock, Random& random,
                   Transport& transport, Outbox& outbox, Executor& home, EngineMetrics& metrics)
    : options_(options),
      clock_(clock),
      random_(random),
      transport_(transport),
      outbox_(outbox),
      home_(home),
      metrics_(metrics),
      memory_(options.max_queued_bytes, now_,
              [this](WebhookState& webhook) { run_.Push(webhook); }),
      pager_(outbox, home, memory_, metrics.pages_read, *this),
      recorder_(outbox, home, options.record_linger, metrics.outcome_failures, *this) {
  ReadClocks();
}

Engine::Impl::~Impl() {
  metrics_.queued_deliveries.Add(-told_queued_);
  metrics_.queued_bytes.Add(-told_bytes_);
  metrics_.in_flight.Add(-told_in_flight_);
  for (const auto& [id, webhook] : webhooks_) {
    if (webhook->counted_probing) metrics_.probing_webhooks.Add(-1);
  }
}

void Engine::Impl::ReadClocks() {
  now_.wall = clock_.Now();
  now_.mono = clock_.Monotonic();
  now_.steady = clock_.Steady();
  now_.steady_us = absl::ToUnixMicros(now_.steady);
  const absl::Duration offset = now_.wall - now_.steady;
  if (absl::AbsDuration(offset - told_offset_) < kClockSet) return;
  told_offset_ = offset;
  if (options_.listener != nullptr) options_.listener->OnClockSet(offset);
}

WebhookState* Engine::Impl::FindWebhook(WebhookId id) {
  // Deliveries of one webhook often come together.
  if (last_found_ != nullptr && last_found_->id == id) return last_found_;
  const auto it = webhooks_.find(id);
  if (it == webhooks_.end() || it->second->deleted) return nullptr;
  return last_found_ = it->second.get();
}

TenantState& Engine::Impl::TenantOf(const Webhook& webhook) {
  std::unique_ptr<TenantState>& tenant = tenants_[webhook.tenant];
  if (tenant == nullptr) {
    tenant = std::make_unique<TenantState>();
    tenant->name = webhook.tenant;
  }
  return *tenant;
}

void Engine::Impl::OnWebhook(const Webhook& webhook, bool owed) {
  ReadClocks();
  auto& slot = webhooks_[webhook.id];
  if (slot == nullptr) {
    slot = std::make_unique<WebhookState>(webhook, owed, options_.failures_to_probe);
    slot->tenant = &TenantOf(webhook);
    ++slot->tenant->webhooks;
    if (webhook.failing_since != absl::InfiniteFuture()) StartFailing(*slot, webhook);
  } else if (slot->deleted) {
    return;
  } else if (owed) {
    // What is read comes in order: nothing that is queued must go before it.
    if (slot->config != nullptr && slot->ordered()) memory_.EvictTo(*slot, 0);
    slot->queue.LeaveAllOnDisk();
  }
  // What was read at the start may come after what changed since.
  if (slot->config == nullptr || webhook.version >= slot->config->version) {
    ApplyConfig(*slot, webhook);
  }
  run_.Push(*slot);
}

// It was failing when the process ended, or had not caught up since.
void Engine::Impl::StartFailing(WebhookState& webhook, const Webhook& config) {
  webhook.window.StartProbing();
  // kRecovering: it was good a moment ago, and is probed at once. So is one that failed under a clock
  // that was ahead: since when is not known.
  webhook.to_catch_up = config.failing_since > now_.steady;
  if (webhook.to_catch_up) return;
  webhook.failing_since = config.failing_since;
  // Those that died together are not all probed when the process begins; one that has failed for a
  // moment only does not wait.
  const absl::Duration spread = std::clamp(now_.steady - webhook.failing_since - kMoment,
                                           absl::ZeroDuration(),
                                           config.retry_policy.max_probe_interval);
  webhook.backoff_until = now_.mono + spread * random_.Uniform();
}

void Engine::Impl::ApplyConfig(WebhookState& webhook, const Webhook& config) {
  const bool first = webhook.config == nullptr;
  const bool was_enabled = !first && webhook.config->enabled;
  // Another receiver is not blamed for what the one before did.
  const bool redirected = !first && !SameReceiver(*webhook.config, config);
  if (!first && config.version != webhook.config->version) {
    webhook.disabling = false;
    if (!IsOnlyValidated(*webhook.config, config)) {
      // Its owner has done something about it: it is tried at once.
      EndWait(webhook, webhook.head);
      webhook.receiver_until = -absl::InfiniteDuration();
    }
  }
  // What only the outbox and the API need is not kept a hundred thousand times.
  auto kept = std::make_shared<Webhook>(config);
  kept->notification_types = {};
  kept->disabled_reason = {};
  webhook.config = std::move(kept);
  webhook.requests.reset();
  webhook.window.SetMax(std::max(config.max_concurrency, 1));
  webhook.limiter.Configure(config.rate_limit, now_.mono);
  if (webhook.ordered() && webhook.catching_up()) EndCatchingUp(webhook);
  if (!config.enabled) {
    webhook.disabling = false;
    memory_.EvictTo(webhook, 0);
    webhook.queue.LeaveAllOnDisk();
  } else if (!first && (!was_enabled || redirected)) {
    // Somebody has seen to it: what was before does not count against it.
    webhook.window = Window(std::max(config.max_concurrency, 1), options_.failures_to_probe);
    webhook.last_error = {};
    webhook.early_credit = {};
    if (webhook.failing() || webhook.catching_up() || webhook.to_catch_up) {
      StartCatchingUp(webhook);
      webhook.to_catch_up = false;
      webhook.failing_since = absl::InfiniteFuture();
      SaveHealth(webhook);
    }
  }
  CountProbing(webhook);
}

void Engine::Impl::OnWebhookDeleted(WebhookId id) {
  WebhookState* const webhook = FindWebhook(id);
  if (webhook == nullptr) return;
  webhook->deleted = true;
  if (last_found_ == webhook) last_found_ = nullptr;
  memory_.EvictTo(*webhook, 0);
  webhook->queue.LeaveAllOnDisk();
  webhook->requests.reset();
  due_timers_.Set(webhook, TimerSlot::kNever);
  mono_timers_.Set(webhook, TimerSlot::kNever);
  CountProbing(*webhook);
  run_.Push(*webhook);
}

void Engine::Impl::Reap(WebhookState& webhook) {
  if (!webhook.queue.empty() || webhook.queue.reading() || webhook.waits_for_page ||
      webhook.disable_asked || webhook.run.listed || webhook.stalled.listed) {
    return;  // whatever ends next puts it in the run list again
  }
  TenantState& tenant = *webhook.tenant;
  webhooks_.erase(webhook.id);
  if (--tenant.webhooks == 0) tenants_.erase(tenant.name);
}

void Engine::Impl::OnOwed(std::vector<OwedDelivery> deliveries) {
  ReadClocks();
  for (OwedDelivery& delivery : deliveries) {
    WebhookState* const webhook = FindWebhook(delivery.webhook);
    if (webhook == nullptr) continue;
    OnOwedOne(*webhook, delivery);
    run_.Push(*webhook);
  }
}

void Engine::Impl::OnOwedOne(WebhookState& webhook, OwedDelivery& delivery) {
  Item* const item = webhook.queue.Find(delivery.id);
  if (item != nullptr && item->busy) {
    // A retry that was committed after this attempt's outcome: it counts when the engine hears of
    // the outcome. One that was committed before is overtaken by the attempt, if that is made.
    if (!item->recording || delivery.attempts > item->delivery.attempts) {
      item->retried = std::make_unique<OwedDelivery>(std::move(delivery));
    }
    return;
  }
  if (item != nullptr || delivery.attempts > 0 || delivery.retried) EndWait(webhook, delivery.id);
  if (item != nullptr) {
    webhook.queue.Remove(item);
    memory_.Release(item);
  }
  Add(webhook, delivery);
}

void Engine::Impl::OnValidated(WebhookId id, int64_t version) {
  WebhookState* const webhook = FindWebhook(id);
  // Whoever has changed it since has ended the wait, too.
  if (webhook == nullptr || webhook->config->version != version || !webhook->failing()) return;
  ReadClocks();
  // Then what has backed off is tried, too.
  if (webhook->in_flight == 0 && !webhook->window.probing()) webhook->window.StartProbing();
  EndWait(*webhook, DeliveryId{});
  CountProbing(*webhook);
  run_.Push(*webhook);
}

void Engine::Impl::Add(WebhookState& webhook, OwedDelivery& delivery) {
  const QueueKey key = QueueKey::Of(delivery);
  if (webhook.open() && webhook.queue.Covers(key) && !IsFar(key)) {
    if (Item* const item =
            memory_.Admit(webhook, delivery, Capacity(webhook), QueueMemory::Room::kShare)) {
      webhook.queue.Push(item);
      return;
    }
  }
  webhook.queue.LeaveOnDisk(key);
}

// ---- The turn

absl::Time Engine::Impl::Step() {
  ReadClocks();
  JudgeFailures();
  recorder_.Flush(now_.mono);
  RunTimers();
  UnstallProbes();
  const auto may = [this](const TenantState& tenant) { return MaySendFor(tenant); };
  for (int left = kEnoughSends; left > 0 && MaySend();) {
    WebhookState* const webhook = run_.Pop(may);
    if (webhook == nullptr) break;
    left -= std::max(Run(*webhook), 1);
  }
  if (!draining_ && !recorder_.stopped()) pager_.Serve();
  ReportGauges();
  return NextStep();
}

void Engine::Impl::RunTimers() {
  while (due_timers_.next() <= now_.steady_us) {
    WebhookState* const webhook = due_timers_.top();
    due_timers_.Set(webhook, TimerSlot::kNever);
    run_.Push(*webhook);
  }
  const int64_t mono_ns = absl::ToInt64Nanoseconds(now_.mono);
  while (mono_timers_.next() <= mono_ns) {
    WebhookState* const webhook = mono_timers_.top();
    mono_timers_.Set(webhook, TimerSlot::kNever);
    run_.Push(*webhook);
  }
}

bool Engine::Impl::MayUnstall() const {
  return probes_ < MaxProbes() &&
         stalled_.Any([this](const TenantState& tenant) { return MaySendFor(tenant); });
}

void Engine::Impl::UnstallProbes() {
  const auto may = [this](const TenantState& tenant) { return MaySendFor(tenant); };
  for (size_t probes = probes_; probes < MaxProbes(); ++probes) {
    WebhookState* const webhook = stalled_.Pop(may);
    if (webhook == nullptr) return;
    run_.Push(*webhook);
  }
}

absl::Time Engine::Impl::NextStep() {
  const auto may = [this](const TenantState& tenant) { return MaySendFor(tenant); };
  // One that was let go may want its slot no more: then the next one can have it.
  if (!unjudged_.empty() || (MaySend() && (run_.Any(may) || MayUnstall()))) return now_.steady;
  absl::Time next = absl::InfiniteFuture();
  if (due_timers_.next() != TimerSlot::kNever) {
    next = std::min(absl::FromUnixMicros(due_timers_.next()), now_.steady + kMaxSleep);
  }
  absl::Duration mono = recorder_.next_flush();
  if (mono_timers_.next() != TimerSlot::kNever) {
    mono = std::min(mono, absl::Nanoseconds(mono_timers_.next()));
  }
  if (mono != absl::InfiniteDuration()) {
    // Rounded up: a step before the time would do nothing.
    const absl::Duration wait = std::max(mono - now_.mono, absl::ZeroDuration());
    next = std::min(next, now_.steady + absl::Ceil(wait, absl::Microseconds(1)));
  }
  return next;
}

void Engine::Impl::ReportGauges() {
  const auto tell = [](Gauge& gauge, int64_t& told, size_t value) {
    const auto is = static_cast<int64_t>(value);
    if (is == told) return;
    // The engines of several threads share the gauges.
    gauge.Add(is - told);
    told = is;
  };
  tell(metrics_.queued_deliveries, told_queued_, memory_.items() - unrecorded_);
  tell(metrics_.queued_bytes, told_bytes_, memory_.used());
  tell(metrics_.in_flight, told_in_flight_, in_flight_);
}

}  // namespace postrider
