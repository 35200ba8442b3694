#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "src/base/random.h"
#include "src/delivery/engine.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_transport.h"
#include "tests/support/manual_executor.h"
#include "tests/support/memory_outbox.h"

namespace postrider {

// An answer with this status.
TransferResult Status(int status, std::string retry_after = "");
// 5 s, 15 s, 45 s, ... with its jitter.
void ExpectAbout(absl::Duration is, double seconds);

// An engine in a world of fakes, which can die and come back over the same store.
class EngineHarness final : public OutboxListener, public EngineListener {
 public:
  explicit EngineHarness(EngineOptions engine_options = {}, uint64_t seed = 1);
  ~EngineHarness();

  // The process dies where it stands, and starts again: what was not committed is gone.
  void Crash();

  // ---- Commands to the outbox, done at once unless `queued`

  Webhook Configure(const std::string& name, std::function<void(Webhook&)> change = {});
  void Delete(const std::string& name);
  // Tells the notifications, oldest first.
  std::vector<NotificationId> Publish(int count = 1, size_t body_bytes = 10);
  void Retry(DeliveryId id);

  // ---- Turns

  // Lets everything happen that can happen without time going by or an answer coming.
  void Settle();
  // One turn of the engine; remembers when it wants the next.
  void Step();
  // Time goes by in the engine's own steps, settling each time, without answers.
  void Advance(absl::Duration by);

  // ---- What is to be seen

  const Webhook& heard(WebhookId id) const { return heard_.at(id); }
  Webhook Stored(const std::string& name) const { return *store.GetWebhook("default", name); }
  // Of the i-th request: whom it went to, and which delivery it is.
  WebhookId WebhookOf(size_t i) const;
  NotificationId NotificationOf(size_t i) const;
  DeliveryWithAttempts DeliveryOf(size_t i) const;
  std::vector<OwedDelivery> Pending(WebhookId id) const;
  size_t in_flight(WebhookId id) const;

  // ---- OutboxListener

  void OnOwed(std::vector<OwedDelivery> deliveries) override;
  void OnWebhookChanged(const Webhook& webhook) override;
  void OnWebhookDeleted(WebhookId id) override;

  // ---- EngineListener

  void OnHeldBack(const Webhook& webhook, const std::string& error) override;
  void OnLetGo(const Webhook& webhook) override;
  void OnClockSet(absl::Duration offset) override;
  std::vector<std::string> held_log;
  std::vector<absl::Duration> clock_offsets;

  // Says of some commits that their deliveries are not handed to the engine, which is told to look
  // on disk: what the dispatcher does when too much is on the way.
  std::function<bool()> leave_on_disk;

  // Whose the webhooks and notifications of the commands are.
  std::string tenant = "default";

  FakeClock clock;
  MemoryStore store;
  EngineOptions options;
  EngineMetrics metrics;
  std::unique_ptr<ManualExecutor> home;
  std::unique_ptr<MemoryOutbox> outbox;
  std::unique_ptr<FakeTransport> transport;
  std::unique_ptr<Engine> engine;
  absl::Time next_step;

 private:
  void Start();
  void Stop();

  void Hear(const Webhook& webhook, bool owed);

  SeededRandom random_;
  // As the engine knows them, the deleted ones too.
  absl::flat_hash_map<WebhookId, Webhook> heard_;
};

}  // namespace postrider
