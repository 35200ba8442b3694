#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/clock.h"
#include "src/base/random.h"
#include "src/delivery/engine.h"
#include "src/http/address_policy.h"
#include "src/http/curl_transport.h"
#include "src/http/event_loop.h"
#include "src/http/resolver.h"
#include "src/http/shared_transport.h"
#include "src/outbox/outbox.h"

namespace postrider {

// What a pump counts with.
struct PumpMetrics {
  EngineMetrics engine;
  ResolverMetrics resolver;
  TransportMetrics transport;
  // Requests that another pump was given to send.
  Counter handed_over;
};

// One delivering thread: an event loop, and on it a resolver, a transport and an engine. All of
// them belong to its thread; the rest of the process, other pumps with requests of theirs included,
// posts closures to it.
//
// Create and Start come first, Join last, all on the owner's thread; the methods between are
// thread-safe. Clock, policy and outbox must outlive it; what the outbox still answers after Join
// is dropped, so the pump itself must outlive the outbox's last answer.
class Pump {
 public:
  // An error is a sentence: the process has no file descriptors left, or DNS cannot be set up.
  static absl::StatusOr<std::unique_ptr<Pump>> Create(const EngineOptions& options,
                                                      const Clock& clock,
                                                      const AddressPolicy& policy, Outbox& outbox,
                                                      uint64_t seed,
                                                      const CurlTransportOptions& transport = {});
  // Joins.
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // Lets each pump send for the others. REQUIRES: called once, before Start; all drain before one
  // is joined, and none is destroyed before all have been joined.
  static void Connect(const std::vector<std::unique_ptr<Pump>>& pumps);

  // Begins to turn. `on_idle` is called on the pump's thread when it drains and has become idle.
  void Start(std::function<void()> on_idle);

  Executor& executor() { return *loop_; }
  // REQUIRES: used on the pump's thread only.
  Transport& transport() { return *transport_; }
  Engine& engine() { return *engine_; }

  // Reads resolv.conf and the hosts file again, now: for SIGHUP. Changes are noticed by themselves
  // as well, within a second of the next lookup.
  void ReloadResolver();

  // Sends nothing new; what is under way ends.
  void BeginDrain();
  // Breaks off what is under way.
  void Abandon();
  // It drains, nothing is under way, and every outcome is recorded.
  bool idle() const { return idle_.load(std::memory_order_acquire); }

  // Breaks off what is under way and ends the thread. Idempotent.
  void Join();

  const PumpMetrics& metrics() const { return metrics_; }

 private:
  // Lets the engine step at the end of each turn of the loop.
  class Stepper final : public EventLoop::Timed {
   public:
    explicit Stepper(Pump& pump) : pump_(pump) {}
    void OnTurn() override;
    absl::Duration Deadline() const override;

   private:
    Pump& pump_;
    absl::Time next_ = absl::InfiniteFuture();
  };

  Pump(const Clock& clock, uint64_t seed) : clock_(clock), random_(seed), stepper_(*this) {}

  const Clock& clock_;
  PumpMetrics metrics_;

  // Owned by the pump's thread once it runs. The loop goes last: the others unregister from it.
  SeededRandom random_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<SharedTransport> shared_transport_;
  std::unique_ptr<Engine> engine_;
  Stepper stepper_;
  bool draining_ = false;
  std::function<void()> on_idle_;

  std::atomic<bool> idle_{false};
  std::thread thread_;
};

}  // namespace postrider
