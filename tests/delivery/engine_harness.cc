#include "tests/delivery/engine_harness.h"

#include <cstdlib>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postrider {

TransferResult Status(int status, std::string retry_after) {
  TransferResult result;
  result.http_status = status;
  result.retry_after = std::move(retry_after);
  return result;
}

void ExpectAbout(absl::Duration is, double seconds) {
  EXPECT_GE(absl::ToDoubleSeconds(is), 0.79 * seconds);
  EXPECT_LE(absl::ToDoubleSeconds(is), 1.21 * seconds);
}

EngineHarness::EngineHarness(EngineOptions engine_options, uint64_t seed)
    : options(std::move(engine_options)), random_(seed) {
  options.version = "test";
  Start();
}

EngineHarness::~EngineHarness() { Stop(); }

void EngineHarness::Start() {
  home = std::make_unique<ManualExecutor>();
  outbox = std::make_unique<MemoryOutbox>(clock, store, this);
  transport = std::make_unique<FakeTransport>();
  options.listener = this;
  engine = std::make_unique<Engine>(options, clock, random_, *transport, *outbox, *home, metrics);
  heard_.clear();
  for (const StartingWebhook& starting : store.LoadWebhooks()) {
    Hear(starting.webhook, starting.owed);
  }
  next_step = clock.Steady();
}

void EngineHarness::Stop() {
  transport->CancelAll();
  home->Stop();
  engine.reset();
  outbox.reset();
}

void EngineHarness::Crash() {
  Stop();
  store.Rebase(clock.Now() - clock.Steady());
  clock.Restart();
  Start();
}

void EngineHarness::Hear(const Webhook& webhook, bool owed) {
  heard_[webhook.id] = webhook;
  engine->OnWebhook(webhook, owed);
}

void EngineHarness::OnOwed(std::vector<OwedDelivery> deliveries) {
  if (leave_on_disk && leave_on_disk()) {
    std::set<WebhookId> webhooks;
    for (const OwedDelivery& delivery : deliveries) webhooks.insert(delivery.webhook);
    home->Post([this, webhooks] {
      for (const WebhookId id : webhooks) {
        const std::vector<StartingWebhook> all = store.LoadWebhooks();
        for (const StartingWebhook& known : all) {
          if (known.webhook.id == id) Hear(known.webhook, true);
        }
      }
    });
    return;
  }
  home->Post([this, deliveries = std::move(deliveries)]() mutable {
    engine->OnOwed(std::move(deliveries));
  });
}

void EngineHarness::OnWebhookChanged(const Webhook& webhook) {
  home->Post([this, webhook] { Hear(webhook, false); });
}

void EngineHarness::OnHeldBack(const Webhook& webhook, const std::string& error) {
  held_log.push_back(absl::StrCat(webhook.name, " held back: ", error));
}

void EngineHarness::OnLetGo(const Webhook& webhook) {
  held_log.push_back(absl::StrCat(webhook.name, " let go"));
}

void EngineHarness::OnClockSet(absl::Duration offset) { clock_offsets.push_back(offset); }

void EngineHarness::OnWebhookDeleted(WebhookId id) {
  home->Post([this, id] { engine->OnWebhookDeleted(id); });
}

Webhook EngineHarness::Configure(const std::string& name, std::function<void(Webhook&)> change) {
  Outbox::Modify modify =
      [&](std::optional<Webhook> old) -> absl::StatusOr<std::optional<Webhook>> {
    Webhook webhook;
    if (old.has_value()) {
      webhook = *std::move(old);
    } else {
      webhook.enabled = true;
      webhook.secrets = {{std::string(32, 'k'), absl::InfiniteFuture()}};
    }
    if (change) change(webhook);
    return webhook;
  };
  Webhook stored = *store.ModifyWebhook(tenant, name, modify, clock.Now(), nullptr);
  if (stored.url.empty()) {
    // The number of the webhook, by which a request is recognised.
    Outbox::Modify set_url =
        [](std::optional<Webhook> old) -> absl::StatusOr<std::optional<Webhook>> {
      old->url = absl::StrCat("http://receiver/", static_cast<int64_t>(old->id));
      return old;
    };
    stored = *store.ModifyWebhook(tenant, name, set_url, clock.Now(), nullptr);
  }
  OnWebhookChanged(stored);
  return stored;
}

void EngineHarness::Delete(const std::string& name) {
  Outbox::Modify modify = [](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
    return std::nullopt;
  };
  ASSERT_TRUE(store.ModifyWebhook(tenant, name, modify, clock.Now(), this).ok());
  store.SweepOwed(clock.Steady());
}

std::vector<NotificationId> EngineHarness::Publish(int count, size_t body_bytes) {
  std::vector<NewNotification> notifications(count);
  for (NewNotification& n : notifications) {
    n.tenant = tenant;
    n.type = "T";
    n.body = std::make_shared<const std::string>(body_bytes, 'x');
  }
  std::vector<NotificationId> ids;
  for (const auto& published :
       store.Publish(notifications, clock.Now(), clock.Steady(), this)) {
    ids.push_back(published->id);
  }
  return ids;
}

void EngineHarness::Retry(DeliveryId id) {
  ASSERT_TRUE(store.RetryDelivery("default", id, clock.Steady(), this).ok());
}

void EngineHarness::Step() { next_step = engine->Step(); }

void EngineHarness::Settle() {
  for (int i = 0; i < 100000; ++i) {
    home->RunAll();
    Step();
    // Nothing when commits are held.
    const size_t answered = outbox->RunPending();
    if (answered == 0 && home->empty() && next_step > clock.Steady()) return;
  }
  FAIL() << "the engine does not come to rest: " << metrics.pages_read.value() << " pages read, "
         << metrics.outcome_failures.value() << " batches refused, next step in "
         << next_step - clock.Steady();
}

void EngineHarness::Advance(absl::Duration by) {
  const absl::Time end = clock.Steady() + by;
  Settle();
  while (next_step <= end) {
    clock.AdvanceTo(next_step);
    Settle();
    if (testing::Test::HasFatalFailure()) return;
  }
  clock.AdvanceTo(end);
  Settle();
}

WebhookId EngineHarness::WebhookOf(size_t i) const {
  const std::string& url = transport->request(i).target->url;
  int64_t id = 0;
  if (!absl::SimpleAtoi(url.substr(url.rfind('/') + 1), &id)) std::abort();
  return WebhookId{id};
}

NotificationId EngineHarness::NotificationOf(size_t i) const {
  return store.ids().ParseNotificationId(transport->header(i, "webhook-id")).value();
}

DeliveryWithAttempts EngineHarness::DeliveryOf(size_t i) const {
  DeliveryFilter filter;
  filter.tenant = "default";
  filter.notification = NotificationOf(i);
  const DeliveryPage page = *store.ListDeliveries(filter);
  for (const Delivery& delivery : page.rows) {
    if (delivery.webhook == WebhookOf(i)) return *store.GetDelivery("default", delivery.id);
  }
  ADD_FAILURE() << "request " << i << " is of no delivery";
  return {};
}

std::vector<OwedDelivery> EngineHarness::Pending(WebhookId id) const {
  return store.ReadOwed(id, OwedKey(), 1 << 30, SIZE_MAX).rows;
}

size_t EngineHarness::in_flight(WebhookId id) const {
  size_t count = 0;
  for (const size_t i : transport->Pending()) count += WebhookOf(i) == id;
  return count;
}

}  // namespace postrider
