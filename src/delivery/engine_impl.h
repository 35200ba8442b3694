#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "src/delivery/attempt.h"
#include "src/delivery/engine.h"
#include "src/delivery/hold.h"
#include "src/delivery/pager.h"
#include "src/delivery/queue_memory.h"
#include "src/delivery/recorder.h"
#include "src/delivery/timer_heap.h"
#include "src/delivery/webhook_state.h"

namespace postrider {

// The rooms of the engine put together:
//
//   OnOwed ----> QueueMemory, WebhookQueue --> Run: Window, Limiter --> Transport
//   Pager  ---->    ^ the horizon                                           |
//                   |                                                       v
//                   +---- not made yet ---- Recorder <---- Judge <---- OnTransfer
//
// Whatever happens to a webhook puts it in the run list, and Step looks at each one there: it sends
// a few deliveries if it can, goes to the end of the list if it did, and otherwise arms the timers
// for the next time when it could. So a step costs what it does, whatever the number of webhooks.
class Engine::Impl final : private Pager::Host, private Recorder::Host {
 public:
  Impl(const EngineOptions& options, const Clock& clock, Random& random, Transport& transport,
       Outbox& outbox, Executor& home, EngineMetrics& metrics);
  ~Impl();

  void OnWebhook(const Webhook& webhook, bool owed);
  void OnWebhookDeleted(WebhookId id);
  void OnOwed(std::vector<OwedDelivery> deliveries);
  void OnValidated(WebhookId id, int64_t version);
  Health HealthOf(WebhookId id) const;
  std::optional<Hold> HoldOf(const PendingDelivery& pending) const;
  absl::Time Step();
  void BeginDrain() {
    draining_ = true;
    recorder_.StopLingering();
  }
  bool idle() const { return unrecorded_ == 0 && recorder_.idle(); }

 private:
  // What a webhook that is probed holds: a few to choose from.
  static constexpr size_t kProbeCapacity = 4;

  // ---- engine.cc: what is fed, and the turn

  void ReadClocks();
  WebhookState* FindWebhook(WebhookId id);
  void StartFailing(WebhookState& webhook, const Webhook& config);
  void ApplyConfig(WebhookState& webhook, const Webhook& config);
  void OnOwedOne(WebhookState& webhook, OwedDelivery& delivery);
  // Into memory if it belongs there and there is room.
  void Add(WebhookState& webhook, OwedDelivery& delivery);
  void RunTimers();
  void UnstallProbes();
  // A probe that waited can begin now.
  bool MayUnstall() const;
  absl::Time NextStep();
  void ReportGauges();
  // Ends a deleted webhook that is in no list any more.
  void Reap(WebhookState& webhook);

  // ---- engine_send.cc: what is read ahead, and one webhook's turn

  // Says how many it sent. REQUIRES: MaySend().
  int Run(WebhookState& webhook);
  // Sends one delivery if it may go now.
  bool TrySend(WebhookState& webhook);
  Item* NextToSend(WebhookState& webhook);
  // It is due, or probes its webhook before.
  bool MayGo(const WebhookState& webhook, const Item& item) const;
  bool IsEarly(const WebhookState& webhook, const Item& item) const;
  // How long until it is due by its own policy.
  absl::Duration WaitOf(const WebhookState& webhook, const Item& item) const;
  void Send(WebhookState& webhook, Item* item);
  RequestBuilder& RequestsOf(WebhookState& webhook);
  void Arm(WebhookState& webhook);

  // How many deliveries may be queued in memory.
  size_t Capacity(const WebhookState& webhook) const;
  // How long before it is due a delivery is held in memory.
  int64_t LeadMicros() const;
  bool IsFar(const QueueKey& key) const { return key.due_us > now_.steady_us + LeadMicros(); }
  bool IsDue(const QueueKey& key) const { return key.due_us <= now_.steady_us; }
  // Nothing in memory is left to try early, so what is due much later is read.
  bool WantsFar(const WebhookState& webhook) const;
  size_t FreeSlots() const { return options_.max_unrecorded - unrecorded_; }
  // Half of the slots are left to the webhooks that work.
  size_t MaxProbes() const { return std::max<size_t>(options_.max_unrecorded / 2, 1); }
  void FreeSlotOf(const Item& item);
  TenantState& TenantOf(const Webhook& webhook);

  // ---- engine_outcomes.cc: what comes back

  void OnTransfer(Item* item, TransferResult result);
  void OnNotMade(Item* item, TransferError error);
  // Some of what waits: a step takes a bounded time for it.
  void JudgeFailures();
  void EndAttempt(Item* item, TransferResult result);
  // A busy delivery becomes what a caller's retry made of it. REQUIRES: item->retried.
  void TakeRetried(Item* item);
  // Puts a busy delivery that stays pending back in its queue, or leaves it on disk.
  void Return(Item* item, const QueueKey& key);

  // ---- engine_health.cc: what an attempt says of its receiver, and what follows

  // What the attempt says of the receiver that is configured now.
  void OnSuccess(WebhookState& webhook);
  void OnFailure(WebhookState& webhook, const Item& item, const Verdict& verdict);
  // Somebody wants the delivery now: nothing waits for the next probe.
  void EndWait(WebhookState& webhook, DeliveryId wanted);

  void SaveHealth(const WebhookState& webhook);
  // An outage is over.
  void StartCatchingUp(WebhookState& webhook);
  // What is left waits by its own policy.
  void EndCatchingUp(WebhookState& webhook);
  // It was put off by an outage that is over. What has failed since is put off by its own failure.
  static bool IsPutOff(const WebhookState& webhook, const Item& item) {
    return webhook.catching_up() && item.delivery.budget_attempts > 0 &&
           item.start < webhook.recovered_at;
  }
  // Null when there is none in memory. The webhook is not ordered.
  Item* NextToProbe(const WebhookState& webhook) const;
  Item* NextToCatchUp(WebhookState& webhook);
  void StartDisabling(WebhookState& webhook, int64_t version, std::string reason);
  void AskToDisable(WebhookState& webhook);
  void OnDisableAnswer(WebhookState& webhook, int64_t version, const absl::Status& status);

  // ---- engine_hold.cc: what is told of it

  void CountProbing(WebhookState& webhook);
  Moment Now() const;
  static absl::Time WallOf(const Moment& now, absl::Duration mono);
  const WebhookState* Known(WebhookId id) const;
  std::optional<Hold> ProbeHold(const WebhookState& webhook, const Item* item,
                                const Moment& now) const;
  std::optional<Hold> OrderHold(const WebhookState& webhook, const PendingDelivery& pending,
                                const Moment& now) const;
  std::optional<Hold> ShareHold(const WebhookState& webhook, const Moment& now) const;

  bool MaySend() const {
    return !draining_ && recorder_.CanSend() && unrecorded_ < options_.max_unrecorded;
  }
  // How many more slots the tenant may take: up to an equal share of nearly all, and beyond it
  // while a part is free. So one that is alone gets nearly all, and there is something for the next
  // one.
  size_t RoomOf(const TenantState& tenant) const;
  bool MaySendFor(const TenantState& tenant) const { return RoomOf(tenant) > 0; }
  size_t ShareOfTenant() const;
  void TakeSlotOf(const Item& item);
  // How many of them the webhook may hold now.
  int SlotsFor(const WebhookState& webhook) const;

  size_t RowsWanted(const WebhookState& webhook) override;
  bool IsStarving(const WebhookState& webhook) override;
  void OnNoRoom(WebhookState& webhook) override;
  Item* AdmitRow(WebhookState& webhook, OwedDelivery& row, bool first) override;
  void OnPageRead(WebhookState& webhook, const absl::Status& status) override;
  void OnRecorded(Item* item, const AttemptOutcome& outcome) override;
  void OnHealthRefused(WebhookId id) override;

  const EngineOptions options_;
  const Clock& clock_;
  Random& random_;
  Transport& transport_;
  Outbox& outbox_;
  Executor& home_;
  EngineMetrics& metrics_;

  // How far the wall clock was from the steady one when that was told last.
  absl::Duration told_offset_;
  Moment now_;
  absl::flat_hash_map<WebhookId, std::unique_ptr<WebhookState>> webhooks_;
  WebhookState* last_found_ = nullptr;
  QueueMemory memory_;
  Pager pager_;
  Recorder recorder_;
  // By name.
  absl::flat_hash_map<std::string, std::unique_ptr<TenantState>> tenants_;
  FairRunList<&WebhookState::run, &TenantState::run> run_;
  // Probes that wait since as many as may be are under way.
  FairRunList<&WebhookState::stalled, &TenantState::stalled> stalled_;
  TimerHeap<WebhookState, &WebhookState::due_timer> due_timers_;    // microseconds since 1970
  TimerHeap<WebhookState, &WebhookState::mono_timer> mono_timers_;  // nanoseconds
  // Webhooks that have a RequestBuilder, the oldest first.
  std::deque<WebhookId> with_requests_;
  // What failed and is not judged yet, since masking what a receiver echoes takes time; and what
  // succeeded behind it, at the same webhook.
  std::deque<std::pair<Item*, TransferResult>> unjudged_;
  // Under way.
  size_t in_flight_ = 0;
  // Under way, or not recorded yet: all that are busy.
  size_t unrecorded_ = 0;
  // Those of them that are probes.
  size_t probes_ = 0;
  // Tenants that have any of them.
  size_t active_tenants_ = 0;
  bool draining_ = false;
  // What the gauges were last told.
  int64_t told_queued_ = 0;
  int64_t told_bytes_ = 0;
  int64_t told_in_flight_ = 0;
};

}  // namespace postrider
