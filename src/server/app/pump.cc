#include "src/server/app/pump.h"

#include <pthread.h>

#include <utility>

namespace postrider {

absl::StatusOr<std::unique_ptr<Pump>> Pump::Create(const EngineOptions& options, const Clock& clock,
                                                   const AddressPolicy& policy, Outbox& outbox,
                                                   uint64_t seed,
                                                   const CurlTransportOptions& transport) {
  std::unique_ptr<Pump> pump(new Pump(clock, seed));
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  pump->loop_ = *std::move(loop);
  absl::StatusOr<std::unique_ptr<Resolver>> resolver =
      MakeAresResolver({}, clock, *pump->loop_, pump->metrics_.resolver);
  if (!resolver.ok()) return resolver.status();
  pump->resolver_ = *std::move(resolver);
  pump->transport_ = MakeCurlTransport(transport, clock, *pump->loop_, *pump->resolver_, policy,
                                       pump->metrics_.transport);
  pump->shared_transport_ = std::make_unique<SharedTransport>(
      *pump->loop_, [loop = pump->loop_.get()] { return loop->busy(); }, *pump->transport_,
      pump->metrics_.handed_over);
  pump->engine_ = std::make_unique<Engine>(options, clock, pump->random_, *pump->shared_transport_,
                                           outbox, *pump->loop_, pump->metrics_.engine);
  // After the transport's: an answer of this turn is seen in this turn, and what is sent then goes
  // to the other pumps in this turn.
  pump->loop_->AddTimed(&pump->stepper_);
  pump->loop_->AddTimed(pump->shared_transport_.get());
  return pump;
}

Pump::~Pump() { Join(); }

void Pump::Connect(const std::vector<std::unique_ptr<Pump>>& pumps) {
  std::vector<SharedTransport*> transports;
  transports.reserve(pumps.size());
  for (const auto& pump : pumps) transports.push_back(pump->shared_transport_.get());
  SharedTransport::Connect(transports);
}

void Pump::Start(std::function<void()> on_idle) {
  on_idle_ = std::move(on_idle);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "pump");
    loop_->Run();
  });
}

void Pump::ReloadResolver() {
  loop_->Post([this] { resolver_->Reload(); });
}

void Pump::BeginDrain() {
  loop_->Post([this] {
    draining_ = true;
    engine_->BeginDrain();
  });
}

void Pump::Abandon() {
  loop_->Post([this] { shared_transport_->CancelAll(); });
}

void Pump::Join() {
  if (!thread_.joinable()) return;
  loop_->Post([this] {
    engine_->BeginDrain();
    shared_transport_->Stop();
    loop_->Stop();
  });
  thread_.join();
}

void Pump::Stepper::OnTurn() {
  next_ = pump_.engine_->Step();
  if (!pump_.draining_ || !pump_.engine_->idle() || pump_.idle()) return;
  pump_.idle_.store(true, std::memory_order_release);
  if (pump_.on_idle_) pump_.on_idle_();
}

absl::Duration Pump::Stepper::Deadline() const {
  if (next_ == absl::InfiniteFuture()) return absl::InfiniteDuration();
  return pump_.clock_.Monotonic() + (next_ - pump_.clock_.Steady());
}

}  // namespace postrider
