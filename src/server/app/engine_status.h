#pragma once

#include <vector>

#include "src/delivery/dispatcher.h"
#include "src/delivery/hold.h"

namespace postrider {

// Asks the engines, each on its own thread: one closure an engine and question. The dispatcher must
// outlive it. `done` is called on a pump's thread, or inside the call when nothing was asked.
class EngineStatus final : public StatusSource {
 public:
  explicit EngineStatus(const Dispatcher& dispatcher) : dispatcher_(dispatcher) {}

  void AskHolds(std::vector<PendingDelivery> deliveries,
                absl::AnyInvocable<void(Holds) &&> done) override;
  void AskHealth(std::vector<WebhookId> webhooks,
                 absl::AnyInvocable<void(std::vector<Health>) &&> done) override;

 private:
  const Dispatcher& dispatcher_;
};

}  // namespace postrider
