#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "src/delivery/hold.h"

namespace postrider {

// Answers at once with what the test has put there; not thread-safe.
class FakeStatusSource final : public StatusSource {
 public:
  void AskHolds(std::vector<PendingDelivery> deliveries,
                absl::AnyInvocable<void(Holds) &&> done) override {
    Holds answers;
    for (const PendingDelivery& delivery : deliveries) {
      const auto found = holds.find(delivery.delivery);
      answers.push_back(found == holds.end() ? std::nullopt : std::optional(found->second));
    }
    std::move(done)(std::move(answers));
  }

  void AskHealth(std::vector<WebhookId> webhooks,
                 absl::AnyInvocable<void(std::vector<Health>) &&> done) override {
    std::vector<Health> answers;
    answers.reserve(webhooks.size());
    for (const WebhookId id : webhooks) answers.push_back(health[id]);
    std::move(done)(std::move(answers));
  }

  std::map<DeliveryId, Hold> holds;
  std::map<WebhookId, Health> health;
};

}  // namespace postrider
