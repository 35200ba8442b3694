#include "src/delivery/dispatcher.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <utility>

#include "src/base/require.h"

namespace postrider {
namespace {

// Beside its body.
constexpr size_t kBytesPerDelivery = 128;

size_t BytesOf(const std::vector<OwedDelivery>& deliveries) {
  size_t bytes = 0;
  for (const OwedDelivery& delivery : deliveries)
    bytes += kBytesPerDelivery + delivery.body->size();
  return bytes;
}

}  // namespace

struct Dispatcher::Target {
  Executor* executor;
  Engine* engine;
  std::atomic<size_t> bytes_on_the_way{0};
  // Webhooks whose deliveries the engine must look for on disk; guarded by the dispatcher's mutex.
  // A closure that takes them is on its way while there are any.
  std::set<WebhookId> to_look_for;
};

Dispatcher::Dispatcher(size_t max_bytes_on_the_way, OnDisabled on_disabled)
    : max_bytes_(max_bytes_on_the_way), on_disabled_(std::move(on_disabled)) {}
Dispatcher::~Dispatcher() = default;

void Dispatcher::SetLanes(const std::vector<Lane>& lanes) {
  REQUIRE(targets_.empty());
  for (const Lane& lane : lanes) {
    auto target = std::make_unique<Target>();
    target->executor = lane.executor;
    target->engine = lane.engine;
    targets_.push_back(std::move(target));
  }
}

size_t Dispatcher::IndexOf(WebhookId id) const {
  // Mixed, so that numbers that differ by a fixed step spread, too (the multiplier is 2^64 over the
  // golden ratio).
  const uint64_t mixed = static_cast<uint64_t>(id) * 0x9e3779b97f4a7c15;
  return static_cast<size_t>(mixed >> 32) % targets_.size();
}

Dispatcher::Lane Dispatcher::LaneOf(WebhookId id) const {
  REQUIRE(!targets_.empty());
  const Target& target = *targets_[IndexOf(id)];
  return {target.executor, target.engine};
}

void Dispatcher::Start(const std::vector<StartingWebhook>& webhooks) {
  MutexLock lock(&mutex_);
  for (const StartingWebhook& starting : webhooks) {
    const Webhook& webhook = starting.webhook;
    webhooks_.try_emplace(webhook.id, webhook);
    Target& target = *targets_[IndexOf(webhook.id)];
    target.executor->Post(
        [engine = target.engine, starting] { engine->OnWebhook(starting.webhook, starting.owed); });
  }
}

void Dispatcher::OnOwed(std::vector<OwedDelivery> deliveries) {
  std::vector<std::vector<OwedDelivery>> parts(targets_.size());
  if (parts.size() == 1) {
    parts[0] = std::move(deliveries);
  } else {
    for (OwedDelivery& delivery : deliveries) {
      parts[IndexOf(delivery.webhook)].push_back(std::move(delivery));
    }
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) continue;
    Target& target = *targets_[i];
    const size_t bytes = BytesOf(parts[i]);
    const size_t before = target.bytes_on_the_way.fetch_add(bytes, std::memory_order_relaxed);
    if (before > 0 && before + bytes > max_bytes_) {
      target.bytes_on_the_way.fetch_sub(bytes, std::memory_order_relaxed);
      LeaveOnDisk(target, parts[i]);
      // That a caller wants one now is not on disk.
      std::erase_if(parts[i], [](const OwedDelivery& delivery) { return !delivery.retried; });
      if (!parts[i].empty()) {
        target.executor->Post([engine = target.engine, part = std::move(parts[i])]() mutable {
          engine->OnOwed(std::move(part));
        });
      }
      continue;
    }
    target.executor->Post([&target, bytes, part = std::move(parts[i])]() mutable {
      target.engine->OnOwed(std::move(part));
      target.bytes_on_the_way.fetch_sub(bytes, std::memory_order_relaxed);
    });
  }
}

void Dispatcher::LeaveOnDisk(Target& target, const std::vector<OwedDelivery>& deliveries) {
  left_on_disk_.Add(deliveries.size());
  MutexLock lock(&mutex_);
  const bool is_told = !target.to_look_for.empty();
  for (const OwedDelivery& delivery : deliveries) target.to_look_for.insert(delivery.webhook);
  if (is_told) return;
  target.executor->Post([this, &target] {
    for (const Webhook& webhook : TakeToLookFor(target)) {
      target.engine->OnWebhook(webhook, /*owed=*/true);
    }
  });
}

std::vector<Webhook> Dispatcher::TakeToLookFor(Target& target) {
  std::vector<Webhook> webhooks;
  MutexLock lock(&mutex_);
  for (const WebhookId id : target.to_look_for) {
    const auto found = webhooks_.find(id);
    if (found != webhooks_.end())
      webhooks.push_back(found->second);  // else deleted: nothing is owed
  }
  target.to_look_for.clear();
  return webhooks;
}

void Dispatcher::OnWebhookChanged(const Webhook& webhook) {
  bool was_enabled = false;
  {
    MutexLock lock(&mutex_);
    const auto found = webhooks_.find(webhook.id);
    was_enabled = found != webhooks_.end() && found->second.enabled;
    webhooks_[webhook.id] = webhook;
  }
  if (was_enabled && !webhook.enabled && !webhook.disabled_reason.empty() && on_disabled_) {
    on_disabled_(webhook);
  }
  Target& target = *targets_[IndexOf(webhook.id)];
  target.executor->Post(
      [engine = target.engine, webhook] { engine->OnWebhook(webhook, /*owed=*/false); });
}

void Dispatcher::OnValidated(WebhookId id, int64_t version) {
  Target& target = *targets_[IndexOf(id)];
  target.executor->Post(
      [engine = target.engine, id, version] { engine->OnValidated(id, version); });
}

void Dispatcher::OnWebhookDeleted(WebhookId id) {
  {
    MutexLock lock(&mutex_);
    webhooks_.erase(id);
  }
  Target& target = *targets_[IndexOf(id)];
  target.executor->Post([engine = target.engine, id] { engine->OnWebhookDeleted(id); });
}

}  // namespace postrider
