#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/executor.h"
#include "src/base/metrics.h"
#include "src/base/random.h"
#include "src/delivery/hold.h"
#include "src/http/transport.h"
#include "src/outbox/outbox.h"

namespace postrider {

// Hears of what an operator wants to read in the log. Called on the engine's thread; must be quick
// and must not call the engine.
class EngineListener {
 public:
  virtual ~EngineListener() = default;

  // The webhook's receiver fails: from now on one delivery at a time is tried. `error`: what came
  // of the last one, empty when it was failing before the process began.
  virtual void OnHeldBack(const Webhook& webhook, const std::string& error) = 0;
  // It works again, or was configured anew.
  virtual void OnLetGo(const Webhook& webhook) = 0;
  // The wall clock was set while the process runs: it is `offset` ahead of where it would be if
  // nobody had ever set it. Each engine tells of it.
  virtual void OnClockSet(absl::Duration offset) = 0;
};

struct EngineOptions {
  // What stands behind `postrider/` in User-Agent.
  std::string version;
  // What the engine holds in memory of what is owed: bytes of bodies, and deliveries of one
  // webhook. The rest stays on disk and is paged in when the queue runs low.
  size_t max_queued_bytes = size_t{64} << 20;
  size_t max_queued_per_webhook = 1024;
  // Attempts whose outcomes are not on disk yet. Beyond it nothing new is sent.
  size_t max_unrecorded = 8192;
  // How long an outcome waits for others before it is recorded, unless an ordered webhook waits for
  // it.
  absl::Duration record_linger;
  // Failures in a row after which a webhook is probed by one delivery at a time.
  int failures_to_probe = 10;
  // Nothing but failures for this long, and a few of them, do the same.
  absl::Duration probe_after = absl::Minutes(5);
  // Nothing but failures for this long, and as many in a row as make it probed, disables the
  // webhook.
  absl::Duration disable_after = absl::Hours(5 * 24);
  // Hears what an operator should; may be null. Must outlive the engine.
  EngineListener* listener = nullptr;
};

struct EngineMetrics {
  Counter attempts_succeeded;
  Counter attempts_failed;
  // Could not be made for want of sockets; made again a second later, and charged to nobody.
  Counter attempts_postponed;
  Counter deliveries_dead;
  Counter webhooks_disabled;
  Counter pages_read;
  // Reads of owed deliveries that failed, and are made again a second later.
  Counter page_failures;
  Counter outcome_failures;
  Gauge queued_deliveries;
  Gauge queued_bytes;
  Gauge in_flight;
  Gauge probing_webhooks;
  DurationHistogram attempt_latency;
};

// Decides what is sent to whom and when, for its share of the webhooks. A state machine of one
// thread: it has no thread, no timer and no socket of its own. Its owner feeds it, and calls Step
// whenever something was fed to it or the time that Step asked for has come.
//
// Clock, random, transport, outbox and executor come from outside and must outlive it. Everything
// is called on the thread that `home` runs its closures on; what the outbox answers is posted
// there. The transport must be stopped (CancelAll) before the engine is destroyed, and closures
// that `home` has not run yet must not be run after.
class Engine {
 public:
  Engine(const EngineOptions& options, const Clock& clock, Random& random, Transport& transport,
         Outbox& outbox, Executor& home, EngineMetrics& metrics);
  ~Engine();

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // The webhook is there, or has changed. `owed`: something may be owed to it on disk that OnOwed
  // has not told of, as at the start.
  void OnWebhook(const Webhook& webhook, bool owed);
  void OnWebhookDeleted(WebhookId id);
  // Deliveries became pending, or due now that were due later. Of webhooks that the engine knows.
  void OnOwed(std::vector<OwedDelivery> deliveries);
  // A test request was answered as it should be; it was made with this version of the webhook. If
  // the webhook is failing, a delivery is tried at once.
  void OnValidated(WebhookId id, int64_t version);

  // How the webhook's receiver does; DISABLED for one that is not known.
  Health HealthOf(WebhookId id) const;
  // Why the delivery is not being sent; nothing when it is, or is about to be. Cheap: it looks at
  // what is in memory of its webhook.
  std::optional<Hold> HoldOf(const PendingDelivery& pending) const;

  // Starts what is due and can start, and hands the outcomes of what has ended to the outbox.
  // Returns when it wants to be called again, by the steady clock (base/clock.h); InfiniteFuture
  // when only an event can change anything.
  absl::Time Step();

  // From now on nothing new is sent; what is under way ends, and its outcome is recorded.
  void BeginDrain();

  // Nothing is under way and every outcome is recorded.
  bool idle() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
