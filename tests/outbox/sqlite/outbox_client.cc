#include "tests/outbox/sqlite/outbox_client.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "gtest/gtest.h"

namespace postrider {
namespace {

constexpr std::chrono::seconds kDeadline{30};

}  // namespace

void Event::Set() {
  MutexLock lock(&mutex_);
  happened_ = true;
  cond_.SignalAll();
}

void Event::Wait() {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  MutexLock lock(&mutex_);
  while (!happened_) {
    cond_.WaitFor(&mutex_, absl::Milliseconds(100));
    if (!happened_ && std::chrono::steady_clock::now() > deadline) {
      std::fprintf(stderr, "nothing happened within 30 s\n");
      std::abort();
    }
  }
}

bool Event::happened() {
  MutexLock lock(&mutex_);
  return happened_;
}

bool Eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

absl::StatusOr<std::vector<absl::StatusOr<Published>>> PublishAll(
    Outbox& outbox, std::vector<NewNotification> notifications) {
  return Await<std::vector<absl::StatusOr<Published>>>(
      [&](auto done) { outbox.Publish(std::move(notifications), std::move(done)); });
}

absl::StatusOr<Published> PublishOne(Outbox& outbox, const std::string& type,
                                     const std::string& body, const std::string& key,
                                     const std::string& tenant) {
  auto results =
      PublishAll(outbox, {{tenant, type, std::make_shared<const std::string>(body), key}});
  if (!results.ok()) return results.status();
  return results->at(0);
}

absl::StatusOr<Webhook> PutWebhook(Outbox& outbox, const std::string& name,
                                   std::vector<std::string> types, const std::string& tenant) {
  return Await<Webhook>([&](auto done) {
    outbox.ModifyWebhook(
        tenant, name,
        [name, types](const std::optional<Webhook>& old) {
          Webhook webhook = old.value_or(Webhook{});
          webhook.url = "http://receiver.test/" + name;
          webhook.enabled = true;
          webhook.notification_types = types;
          return std::optional(webhook);
        },
        std::move(done));
  });
}

absl::StatusOr<Webhook> DeleteWebhook(Outbox& outbox, const std::string& name) {
  return Await<Webhook>([&](auto done) {
    outbox.ModifyWebhook(
        "default", name, [](const std::optional<Webhook>&) { return std::nullopt; },
        std::move(done));
  });
}

absl::Status RecordAll(Outbox& outbox, OutcomeBatch batch) {
  absl::Status result;
  Event answered;
  outbox.RecordOutcomes(std::move(batch), [&](absl::Status status) {
    result = std::move(status);
    answered.Set();
  });
  answered.Wait();
  return result;
}

absl::StatusOr<OwedPage> ReadOwed(Outbox& outbox, WebhookId webhook, int limit) {
  return Await<OwedPage>(
      [&](auto done) { outbox.ReadOwed(webhook, {}, limit, size_t{1} << 30, std::move(done)); });
}

absl::StatusOr<Notification> GetNotification(Outbox& outbox, NotificationId id) {
  return Await<Notification>(
      [&](auto done) { outbox.GetNotification("default", id, std::move(done)); });
}

absl::StatusOr<DeliveryWithAttempts> GetDelivery(Outbox& outbox, DeliveryId id) {
  return Await<DeliveryWithAttempts>(
      [&](auto done) { outbox.GetDelivery("default", id, std::move(done)); });
}

absl::StatusOr<DeliveryPage> ListDeliveries(Outbox& outbox, const std::string& webhook,
                                            std::optional<DeliveryId> before) {
  DeliveryFilter filter;
  filter.tenant = "default";
  filter.webhook_name = webhook;
  filter.before = before;
  filter.limit = 1000;
  return Await<DeliveryPage>([&](auto done) { outbox.ListDeliveries(filter, std::move(done)); });
}

absl::StatusOr<int> CountDeliveries(Outbox& outbox, const std::string& webhook) {
  int count = 0;
  std::optional<DeliveryId> before;
  do {
    const absl::StatusOr<DeliveryPage> page = ListDeliveries(outbox, webhook, before);
    if (!page.ok()) return page.status();
    count += static_cast<int>(page->rows.size());
    before = page->next_before;
  } while (before);
  return count;
}

AttemptOutcome OutcomeOf(const OwedDelivery& owed, DeliveryState next_state, absl::Time now) {
  AttemptOutcome outcome;
  outcome.delivery = owed.id;
  outcome.webhook = owed.webhook;
  outcome.number = owed.attempts + 1;
  outcome.budget_attempts = owed.budget_attempts + 1;
  outcome.budget_start = std::min(owed.budget_start, now);
  outcome.start = now;
  outcome.latency = absl::Milliseconds(20);
  outcome.next_state = next_state;
  outcome.http_status = next_state == DeliveryState::kDelivered ? 200 : 503;
  if (next_state != DeliveryState::kDelivered) outcome.error = "the receiver answered 503";
  return outcome;
}

SqliteOutboxOptions TestOptions(const std::string& directory) {
  SqliteOutboxOptions options;
  options.data_directory = directory;
  options.min_free_bytes = 0;
  options.idle_interval = absl::Milliseconds(5);
  return options;
}

std::unique_ptr<SqliteOutbox> OpenOutbox(const SqliteOutboxOptions& options, const Clock& clock,
                                         OutboxListener* listener) {
  auto outbox = SqliteOutbox::Open(options, clock, listener, [](const absl::Status& status) {
    ADD_FAILURE() << "the disk failed: " << status;
  });
  if (!outbox.ok()) {
    std::fprintf(stderr, "%s\n", outbox.status().ToString().c_str());
    std::abort();
  }
  return *std::move(outbox);
}

}  // namespace postrider
