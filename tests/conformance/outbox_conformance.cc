#include "tests/conformance/outbox_conformance.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace postrider {
namespace {

// Far beyond what a loaded machine needs: only a failing test waits for it.
constexpr std::chrono::seconds kDeadline{30};

// Set while a call of the outbox is under way on this thread.
thread_local bool inside_call = false;

}  // namespace

// ---- RecordingListener

void RecordingListener::Add(Event event) {
  EXPECT_EQ(inside_.fetch_add(1), 0) << "the listener was called by two threads at once";
  {
    MutexLock lock(&mutex_);
    events_.push_back(std::move(event));
  }
  inside_.fetch_sub(1);
}

void RecordingListener::OnOwed(std::vector<OwedDelivery> deliveries) {
  Event event;
  event.owed = std::move(deliveries);
  Add(std::move(event));
}

void RecordingListener::OnWebhookChanged(const Webhook& webhook) {
  Event event;
  event.changed = webhook;
  Add(std::move(event));
}

void RecordingListener::OnWebhookDeleted(WebhookId id) {
  Event event;
  event.deleted = id;
  Add(std::move(event));
}

std::vector<RecordingListener::Event> RecordingListener::Take() {
  MutexLock lock(&mutex_);
  return std::exchange(events_, {});
}

std::vector<OwedDelivery> RecordingListener::TakeOwed() {
  std::vector<OwedDelivery> owed;
  for (Event& event : Take()) {
    for (OwedDelivery& delivery : event.owed) owed.push_back(std::move(delivery));
  }
  return owed;
}

// ---- Waiting

OutboxConformanceTest::OutboxConformanceTest() : harness_(GetParam().open(clock_, listener_)) {}

OutboxConformanceTest::~OutboxConformanceTest() {
  harness_.reset();
  for (const auto& answer : answers_) {
    MutexLock lock(&answer->mutex);
    EXPECT_EQ(answer->count, 1) << "`done` was called more than once";
    EXPECT_FALSE(answer->inside) << "`done` was called inside the call";
  }
}

void OutboxConformanceTest::Await(std::function<void(std::function<void()>)> call) {
  const auto answer = std::make_shared<Answer>();
  answers_.push_back(answer);
  inside_call = true;
  call([answer] {
    MutexLock lock(&answer->mutex);
    ++answer->count;
    answer->inside = inside_call;
    answer->cond.SignalAll();
  });
  inside_call = false;
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  for (;;) {
    harness_->Pump();
    MutexLock lock(&answer->mutex);
    if (answer->count > 0) return;
    if (std::chrono::steady_clock::now() > deadline) {
      // What `call` refers to dies with the test, and the answer may still come.
      std::fprintf(stderr, "no answer from the outbox after 30 s\n");
      std::abort();
    }
    answer->cond.WaitFor(&answer->mutex, absl::Milliseconds(50));
  }
}

absl::Status OutboxConformanceTest::WaitStatus(std::function<void(Outbox::StatusDone)> call) {
  absl::Status result;
  Await([&](std::function<void()> answered) {
    call([&result, answered = std::move(answered)](absl::Status status) {
      result = std::move(status);
      answered();
    });
  });
  return result;
}

bool OutboxConformanceTest::Eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    harness_->Pump();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// ---- The calls

std::vector<absl::StatusOr<Published>> OutboxConformanceTest::Publish(
    std::vector<NewNotification> notifications) {
  const size_t count = notifications.size();
  auto results = Wait<std::vector<absl::StatusOr<Published>>>(
      [&](auto done) { outbox().Publish(std::move(notifications), std::move(done)); });
  EXPECT_TRUE(results.ok()) << results.status();
  if (!results.ok()) return std::vector<absl::StatusOr<Published>>(count, results.status());
  EXPECT_EQ(results->size(), count);
  return *std::move(results);
}

Published OutboxConformanceTest::PublishOne(std::string tenant, std::string type, std::string body,
                                            std::string key) {
  auto results = Publish({{std::move(tenant), std::move(type),
                           std::make_shared<std::string>(std::move(body)), std::move(key)}});
  EXPECT_TRUE(results.at(0).ok()) << results.at(0).status();
  return results[0].ok() ? *results[0] : Published{};
}

absl::StatusOr<Webhook> OutboxConformanceTest::Modify(const std::string& tenant,
                                                      const std::string& name,
                                                      Outbox::Modify modify) {
  return Wait<Webhook>(
      [&](auto done) { outbox().ModifyWebhook(tenant, name, std::move(modify), std::move(done)); });
}

Webhook OutboxConformanceTest::Put(const std::string& tenant, const std::string& name,
                                   std::function<void(Webhook&)> change) {
  auto webhook = Modify(tenant, name, [&](std::optional<Webhook> old) {
    Webhook wanted = old.value_or(Webhook{});
    wanted.url = "http://receiver.test/" + name;
    wanted.enabled = true;
    if (change) change(wanted);
    return std::optional(wanted);
  });
  EXPECT_TRUE(webhook.ok()) << webhook.status();
  return webhook.ok() ? *webhook : Webhook{};
}

absl::StatusOr<Webhook> OutboxConformanceTest::Delete(const std::string& tenant,
                                                      const std::string& name) {
  return Modify(tenant, name, [](std::optional<Webhook>) { return std::nullopt; });
}

absl::Status OutboxConformanceTest::Record(OutcomeBatch batch) {
  return WaitStatus([&](auto done) { outbox().RecordOutcomes(std::move(batch), std::move(done)); });
}

absl::StatusOr<Delivery> OutboxConformanceTest::Retry(const std::string& tenant, DeliveryId id) {
  return Wait<Delivery>([&](auto done) { outbox().RetryDelivery(tenant, id, std::move(done)); });
}

OwedPage OutboxConformanceTest::Owed(WebhookId webhook, OwedKey after, int limit,
                                     size_t max_bytes) {
  auto page = Wait<OwedPage>(
      [&](auto done) { outbox().ReadOwed(webhook, after, limit, max_bytes, std::move(done)); });
  EXPECT_TRUE(page.ok()) << page.status();
  return page.ok() ? *std::move(page) : OwedPage{};
}

std::vector<StartingWebhook> OutboxConformanceTest::Load() {
  auto all = Wait<std::vector<StartingWebhook>>(
      [&](auto done) { outbox().LoadWebhooks(std::move(done)); });
  EXPECT_TRUE(all.ok()) << all.status();
  return all.ok() ? *std::move(all) : std::vector<StartingWebhook>{};
}

absl::StatusOr<Webhook> OutboxConformanceTest::GetWebhook(const std::string& tenant,
                                                          const std::string& name) {
  return Wait<Webhook>([&](auto done) { outbox().GetWebhook(tenant, name, std::move(done)); });
}

absl::StatusOr<WebhookPage> OutboxConformanceTest::ListWebhooks(const std::string& tenant,
                                                                const std::string& after,
                                                                int limit) {
  return Wait<WebhookPage>(
      [&](auto done) { outbox().ListWebhooks(tenant, after, limit, std::move(done)); });
}

absl::StatusOr<Notification> OutboxConformanceTest::GetNotification(const std::string& tenant,
                                                                    NotificationId id) {
  return Wait<Notification>(
      [&](auto done) { outbox().GetNotification(tenant, id, std::move(done)); });
}

absl::StatusOr<DeliveryWithAttempts> OutboxConformanceTest::GetDelivery(const std::string& tenant,
                                                                        DeliveryId id) {
  return Wait<DeliveryWithAttempts>(
      [&](auto done) { outbox().GetDelivery(tenant, id, std::move(done)); });
}

absl::StatusOr<std::vector<Notification>> OutboxConformanceTest::ListNotifications(
    NotificationFilter filter) {
  std::vector<Notification> all;
  for (;;) {
    auto page = Wait<NotificationPage>(
        [&](auto done) { outbox().ListNotifications(filter, std::move(done)); });
    if (!page.ok()) return page.status();
    EXPECT_LE(page->rows.size(), static_cast<size_t>(filter.limit));
    for (auto& row : page->rows) all.push_back(std::move(row));
    if (!page->next_before) return all;
    filter.before = page->next_before;
  }
}

absl::StatusOr<std::vector<Delivery>> OutboxConformanceTest::ListDeliveries(DeliveryFilter filter) {
  std::vector<Delivery> all;
  for (;;) {
    auto page =
        Wait<DeliveryPage>([&](auto done) { outbox().ListDeliveries(filter, std::move(done)); });
    if (!page.ok()) return page.status();
    EXPECT_LE(page->rows.size(), static_cast<size_t>(filter.limit));
    for (auto& row : page->rows) all.push_back(std::move(row));
    if (!page->next_before) return all;
    filter.before = page->next_before;
  }
}

AttemptOutcome OutboxConformanceTest::Outcome(const OwedDelivery& owed, DeliveryState next_state,
                                              absl::Time next_due) {
  AttemptOutcome outcome;
  outcome.delivery = owed.id;
  outcome.webhook = owed.webhook;
  outcome.number = owed.attempts + 1;
  outcome.budget_attempts = owed.budget_attempts + 1;
  outcome.budget_start = std::min(owed.budget_start, clock_.Now());
  outcome.start = clock_.Now();
  outcome.latency = absl::Milliseconds(20);
  outcome.next_state = next_state;
  outcome.next_due = next_due;
  outcome.http_status = next_state == DeliveryState::kDelivered ? 204 : 503;
  if (next_state != DeliveryState::kDelivered) {
    outcome.error = "the receiver answered 503";
    outcome.response_body = "busy";
  }
  return outcome;
}

OwedDelivery OutboxConformanceTest::OweOne(const std::string& webhook_name) {
  const Webhook webhook = Put("default", webhook_name);
  PublishOne();
  OwedPage page = Owed(webhook.id);
  EXPECT_EQ(page.rows.size(), 1u);
  return page.rows.empty() ? OwedDelivery{} : page.rows[0];
}

}  // namespace postrider
