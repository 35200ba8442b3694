#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "src/base/executor.h"
#include "src/base/metrics.h"
#include "src/base/mutex.h"
#include "src/delivery/engine.h"
#include "src/outbox/outbox.h"

namespace postrider {

// Hands what was committed to the engines: each webhook belongs to one of them, by its number. One
// closure a commit and engine, so that an engine is woken once, however much a commit holds.
//
// What is on the way to an engine is bounded by the bytes of its bodies. Beyond the bound the
// deliveries are not handed over: the engine is told to look on disk, where they are.
//
// The listener's methods are called by the outbox, one at a time; Start and metrics by anyone.
class Dispatcher final : public OutboxListener {
 public:
  // An engine, and the executor of its thread.
  struct Lane {
    Executor* executor;
    Engine* engine;
  };

  // Called with each webhook that the outbox's writer has disabled, on the outbox's thread.
  using OnDisabled = std::function<void(const Webhook&)>;

  Dispatcher(size_t max_bytes_on_the_way, OnDisabled on_disabled);
  ~Dispatcher() override;

  // REQUIRES: called once, before the outbox commits anything; the lanes must outlive the outbox.
  void SetLanes(const std::vector<Lane>& lanes);
  // Hands over the webhooks as they are at the start. May run beside the listener's methods.
  void Start(const std::vector<StartingWebhook>& webhooks);

  // A test request of this version of the webhook was answered as it should be: see the engine's
  // method of that name. On any thread, once the lanes are set.
  void OnValidated(WebhookId id, int64_t version);

  void OnOwed(std::vector<OwedDelivery> deliveries) override;
  void OnWebhookChanged(const Webhook& webhook) override;
  void OnWebhookDeleted(WebhookId id) override;

  // Whose the webhook is. REQUIRES: SetLanes was called.
  Lane LaneOf(WebhookId id) const;

  // Deliveries that were left on disk because too much was on the way.
  const Counter& left_on_disk() const { return left_on_disk_; }

 private:
  struct Target;

  size_t IndexOf(WebhookId id) const;
  void LeaveOnDisk(Target& target, const std::vector<OwedDelivery>& deliveries);
  std::vector<Webhook> TakeToLookFor(Target& target);

  const size_t max_bytes_;
  const OnDisabled on_disabled_;
  Counter left_on_disk_;
  std::vector<std::unique_ptr<Target>> targets_;

  Mutex mutex_;
  // As they were told last. Compared by version, since Start runs beside the rest.
  std::map<WebhookId, Webhook> webhooks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
