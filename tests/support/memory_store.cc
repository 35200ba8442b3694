#include "tests/support/memory_store.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

constexpr size_t kMaxPageBytes = size_t{2} << 20;

bool Wants(const Webhook& webhook, const std::string& type) {
  const auto& types = webhook.notification_types;
  return types.empty() || std::find(types.begin(), types.end(), type) != types.end();
}

// Walks `rows` from the newest down and collects what `matches`, until the page is full.
template <typename Id, typename Map, typename Matches, typename Take>
std::optional<Id> ReadPage(const Map& rows, std::optional<Id> before, int limit, Matches matches,
                           Take take) {
  auto it = before ? rows.lower_bound(*before) : rows.end();
  int taken = 0;
  std::optional<Id> last;
  while (it != rows.begin()) {
    --it;
    if (!matches(it->second)) continue;
    if (taken == limit) return last;
    take(it->second);
    last = it->first;
    ++taken;
  }
  return std::nullopt;
}

}  // namespace

// ---- Writes

std::vector<absl::StatusOr<Published>> MemoryStore::Publish(
    const std::vector<NewNotification>& notifications, absl::Time now, absl::Time due,
    OutboxListener* listener) {
  std::vector<absl::StatusOr<Published>> results;
  std::vector<OwedDelivery> owed;
  for (const NewNotification& n : notifications) results.push_back(PublishOne(n, now, due, &owed));
  if (listener != nullptr && !owed.empty()) listener->OnOwed(std::move(owed));
  return results;
}

absl::StatusOr<Published> MemoryStore::PublishOne(const NewNotification& notification,
                                                  absl::Time now, absl::Time due,
                                                  std::vector<OwedDelivery>* owed) {
  if (auto status = CheckTenant(notification.tenant); !status.ok()) return status;
  const std::pair key(notification.tenant, notification.idempotency_key);
  if (!notification.idempotency_key.empty()) {
    if (const auto it = keys_.find(key); it != keys_.end()) {
      const NotificationRow& first = notifications_.at(it->second);
      if (first.notification.type != notification.type || *first.body != *notification.body) {
        return absl::AlreadyExistsError(
            absl::StrCat("idempotency key '", key.second, "' was used for another notification"));
      }
      return Published{it->second, true, first.notification.delivery_count};
    }
  }
  const auto wanting = static_cast<size_t>(
      std::count_if(webhooks_.begin(), webhooks_.end(), [&](const auto& entry) {
        const Webhook& webhook = entry.second;
        return webhook.tenant == notification.tenant && webhook.enabled &&
               Wants(webhook, notification.type);
      }));
  if (wanting > max_per_notification_) {
    return absl::FailedPreconditionError(absl::StrCat(wanting, " webhooks want this"));
  }
  Published result;
  result.id = NotificationId{notification_ids_.Next(now)};
  for (const auto& [id, webhook] : webhooks_) {
    if (webhook.tenant != notification.tenant || !webhook.enabled) continue;
    if (!Wants(webhook, notification.type)) continue;
    DeliveryRow row;
    row.delivery.id = DeliveryId{delivery_ids_.Next(now)};
    row.delivery.notification = result.id;
    row.delivery.webhook = id;
    row.delivery.tenant = notification.tenant;
    row.delivery.webhook_name = webhook.name;
    row.delivery.notification_type = notification.type;
    row.delivery.create_time = now;
    row.delivery.due = due;
    owed_[id].insert({due, row.delivery.id});
    ++result.delivery_count;
    deliveries_.emplace(row.delivery.id, std::move(row));
  }
  NotificationRow stored;
  stored.notification = {
      result.id, notification.tenant,  notification.type, "", notification.idempotency_key,
      now,       result.delivery_count};
  stored.body = notification.body;
  notifications_.emplace(result.id, std::move(stored));
  if (!key.second.empty()) keys_.emplace(key, result.id);
  auto it = deliveries_.end();
  for (int i = 0; i < result.delivery_count; ++i) --it;
  for (; it != deliveries_.end(); ++it) owed->push_back(Owed(it->second));
  return result;
}

absl::StatusOr<Webhook> MemoryStore::ModifyWebhook(const std::string& tenant,
                                                   const std::string& name, Outbox::Modify& modify,
                                                   absl::Time now, OutboxListener* listener) {
  Webhook* const old = FindWebhook(tenant, name);
  auto wanted = modify(old != nullptr ? std::optional(*old) : std::nullopt);
  if (!wanted.ok()) return wanted.status();
  if (!wanted->has_value()) {
    if (old == nullptr) {
      return absl::NotFoundError(absl::StrCat("tenant '", tenant, "' has no webhook '", name, "'"));
    }
    Webhook gone = std::move(*old);
    webhooks_.erase(gone.id);
    disabled_since_.erase(gone.id);
    if (listener != nullptr) listener->OnWebhookDeleted(gone.id);
    return gone;
  }
  Webhook webhook = **std::move(wanted);
  webhook.id = old != nullptr ? old->id : WebhookId{webhook_ids_.Next(now)};
  webhook.tenant = tenant;
  webhook.name = name;
  webhook.create_time = old != nullptr ? old->create_time : now;
  webhook.update_time = now;
  webhook.version = ++last_version_;
  tenants_.insert(tenant);
  if (webhook.enabled) {
    if (old != nullptr && !old->enabled) EndSpent(webhook, now);
    disabled_since_.erase(webhook.id);
  } else {
    disabled_since_.emplace(webhook.id, now);
  }
  webhooks_[webhook.id] = webhook;
  if (listener != nullptr) listener->OnWebhookChanged(webhook);
  return webhook;
}

void MemoryStore::DisableWebhook(WebhookId id, int64_t version, const std::string& reason,
                                 absl::Time now, OutboxListener* listener) {
  const auto it = webhooks_.find(id);
  if (it == webhooks_.end() || it->second.version != version) return;
  it->second.enabled = false;
  disabled_since_.emplace(id, now);
  it->second.disabled_reason = reason;
  it->second.version = ++last_version_;
  if (listener != nullptr) listener->OnWebhookChanged(it->second);
}

void MemoryStore::RecordOutcomes(const OutcomeBatch& batch, absl::Time now) {
  for (const AttemptOutcome& outcome : batch.outcomes) RecordOutcome(outcome, now);
  for (const WebhookHealth& health : batch.health) {
    const auto it = webhooks_.find(health.webhook);
    if (it != webhooks_.end()) it->second.failing_since = health.failing_since;
  }
}

void MemoryStore::RecordOutcome(const AttemptOutcome& outcome, absl::Time now) {
  const auto it = deliveries_.find(outcome.delivery);
  if (it == deliveries_.end()) return;
  DeliveryRow& row = it->second;
  row.attempts[outcome.number] = {outcome.number,      outcome.start, outcome.latency,
                                  outcome.http_status, outcome.error, outcome.response_body};
  row.delivery.attempts = std::max(row.delivery.attempts, outcome.number);
  row.delivery.last_http_status = outcome.http_status;
  row.delivery.last_error = outcome.error;
  if (row.delivery.state == DeliveryState::kPending) {
    row.budget_attempts = outcome.budget_attempts;
    row.budget_start = outcome.budget_start;
    SetState(row, outcome.next_state, outcome.next_due, now, outcome.end_reason);
  } else if (outcome.next_state == DeliveryState::kDelivered) {
    SetState(row, DeliveryState::kDelivered, {}, now);
  }
}

absl::StatusOr<Delivery> MemoryStore::RetryDelivery(const std::string& tenant, DeliveryId id,
                                                    absl::Time now, OutboxListener* listener) {
  const auto it = deliveries_.find(id);
  if (it == deliveries_.end() || it->second.delivery.tenant != tenant) {
    return absl::NotFoundError("the tenant has no delivery of this id");
  }
  DeliveryRow& row = it->second;
  if (row.delivery.state == DeliveryState::kDelivered) {
    return absl::FailedPreconditionError("the delivery was made: there is nothing to retry");
  }
  if (webhooks_.count(row.delivery.webhook) == 0) {
    return absl::FailedPreconditionError("the delivery's webhook is deleted");
  }
  absl::Time due = now;
  if (row.delivery.state == DeliveryState::kPending) {
    due = std::min(due, row.delivery.due);
  } else {
    row.budget_attempts = 0;
    row.budget_start = absl::InfiniteFuture();
  }
  SetState(row, DeliveryState::kPending, due, now);
  if (listener != nullptr) {
    OwedDelivery owed = Owed(row);
    owed.retried = true;
    listener->OnOwed({std::move(owed)});
  }
  return row.delivery;
}

void MemoryStore::EndSpent(const Webhook& webhook, absl::Time now) {
  const auto owed = owed_.find(webhook.id);
  const auto disabled = disabled_since_.find(webhook.id);
  if (owed == owed_.end() || disabled == disabled_since_.end()) return;
  std::vector<DeliveryId> spent;
  for (const OwedKey& key : owed->second) {
    const DeliveryRow& row = deliveries_.at(key.id);
    const absl::Time start = row.budget_start == absl::InfiniteFuture()
                                 ? std::max(disabled->second, row.delivery.due)
                                 : row.budget_start;
    if (now > start + webhook.retry_policy.max_age) spent.push_back(key.id);
  }
  for (const DeliveryId id : spent) {
    SetState(deliveries_.at(id), DeliveryState::kDead, {}, now, EndReason::kAgeSpent);
  }
}

void MemoryStore::Rebase(absl::Duration offset) {
  for (auto& [id, row] : deliveries_) {
    if (row.delivery.state != DeliveryState::kPending) continue;
    row.budget_start += offset;
    SetState(row, DeliveryState::kPending, row.delivery.due + offset, {});
  }
  for (auto& [id, since] : disabled_since_) since += offset;
  for (auto& [id, webhook] : webhooks_) webhook.failing_since += offset;
}

void MemoryStore::SweepOwed(absl::Time now) {
  for (const auto& [id, webhook] : webhooks_) {
    if (!webhook.enabled) EndSpent(webhook, now);
  }
  std::vector<DeliveryId> orphans;
  for (const auto& [webhook, keys] : owed_) {
    if (webhooks_.count(webhook) != 0) continue;
    for (const OwedKey& key : keys) orphans.push_back(key.id);
  }
  for (const DeliveryId id : orphans) {
    SetState(deliveries_.at(id), DeliveryState::kCancelled, {}, now, EndReason::kChannelDeleted);
  }
}

void MemoryStore::SetState(DeliveryRow& row, DeliveryState state, absl::Time due, absl::Time now,
                           EndReason reason) {
  Delivery& d = row.delivery;
  if (d.state == DeliveryState::kPending) {
    const auto it = owed_.find(d.webhook);
    it->second.erase({d.due, d.id});
    if (it->second.empty()) owed_.erase(it);
  }
  d.state = state;
  d.end_reason = state == DeliveryState::kDelivered ? EndReason::kNone : reason;
  d.end_time = state == DeliveryState::kPending ? absl::InfiniteFuture() : now;
  if (state == DeliveryState::kPending) {
    d.due = due;
    owed_[d.webhook].insert({d.due, d.id});
  }
}

// ---- Reads

OwedPage MemoryStore::ReadOwed(WebhookId webhook, OwedKey after, int limit,
                               size_t max_bytes) const {
  OwedPage page;
  const auto owed = owed_.find(webhook);
  if (owed == owed_.end() || webhooks_.count(webhook) == 0) return page;
  size_t bytes = 0;
  for (auto it = owed->second.upper_bound(after); it != owed->second.end(); ++it) {
    OwedDelivery row = Owed(deliveries_.at(it->id));
    bytes += row.body->size();
    const bool full = page.rows.size() >= static_cast<size_t>(limit) || bytes > max_bytes;
    if (full && !page.rows.empty()) {
      page.complete = false;
      break;
    }
    page.rows.push_back(std::move(row));
  }
  return page;
}

std::vector<StartingWebhook> MemoryStore::LoadWebhooks() const {
  std::vector<StartingWebhook> all;
  for (const auto& [id, webhook] : webhooks_) all.push_back({webhook, owed_.count(id) != 0});
  return all;
}

absl::StatusOr<Webhook> MemoryStore::GetWebhook(const std::string& tenant,
                                                const std::string& name) const {
  if (const Webhook* webhook = FindWebhook(tenant, name)) return *webhook;
  return absl::NotFoundError(absl::StrCat("tenant '", tenant, "' has no webhook '", name, "'"));
}

absl::StatusOr<WebhookPage> MemoryStore::ListWebhooks(const std::string& tenant,
                                                      const std::string& after, int limit) const {
  if (auto status = CheckTenant(tenant); !status.ok()) return status;
  std::map<std::string, const Webhook*> by_name;
  for (const auto& [id, webhook] : webhooks_) {
    if (webhook.tenant == tenant && webhook.name > after) by_name[webhook.name] = &webhook;
  }
  WebhookPage page;
  size_t bytes = 0;
  for (const auto& [name, webhook] : by_name) {
    for (const Header& header : webhook->headers) bytes += header.value.size();
    if (page.rows.size() == static_cast<size_t>(limit) ||
        (bytes > kMaxPageBytes && !page.rows.empty())) {
      page.next_after = page.rows.back().name;
      break;
    }
    page.rows.push_back(*webhook);
  }
  return page;
}

absl::StatusOr<Notification> MemoryStore::GetNotification(const std::string& tenant,
                                                          NotificationId id) const {
  const auto it = notifications_.find(id);
  if (it == notifications_.end() || it->second.notification.tenant != tenant) {
    return absl::NotFoundError("the tenant has no notification of this id");
  }
  Notification notification = it->second.notification;
  notification.body = *it->second.body;
  return notification;
}

absl::StatusOr<NotificationPage> MemoryStore::ListNotifications(
    const NotificationFilter& filter) const {
  if (auto status = CheckTenant(filter.tenant); !status.ok()) return status;
  NotificationPage page;
  page.next_before = ReadPage<NotificationId>(
      notifications_, filter.before, filter.limit,
      [&](const NotificationRow& row) {
        const Notification& n = row.notification;
        return n.tenant == filter.tenant && (filter.type.empty() || n.type == filter.type) &&
               n.create_time >= filter.start && n.create_time < filter.end;
      },
      [&](const NotificationRow& row) {
        page.rows.push_back(row.notification);
        page.rows.back().body = *row.body;
      });
  return page;
}

absl::StatusOr<DeliveryWithAttempts> MemoryStore::GetDelivery(const std::string& tenant,
                                                              DeliveryId id) const {
  const auto it = deliveries_.find(id);
  if (it == deliveries_.end() || it->second.delivery.tenant != tenant) {
    return absl::NotFoundError("the tenant has no delivery of this id");
  }
  DeliveryWithAttempts result{it->second.delivery, {}};
  for (const auto& [number, attempt] : it->second.attempts) result.attempts.push_back(attempt);
  return result;
}

absl::StatusOr<DeliveryPage> MemoryStore::ListDeliveries(const DeliveryFilter& filter) const {
  if (auto status = CheckTenant(filter.tenant); !status.ok()) return status;
  const auto is_of = [&filter](const Delivery& d) {
    return d.tenant == filter.tenant &&
           (filter.webhook_name.empty() || d.webhook_name == filter.webhook_name);
  };
  // One that was deleted is known by its deliveries.
  if (!filter.webhook_name.empty() &&
      std::none_of(deliveries_.begin(), deliveries_.end(),
                   [&](const auto& row) { return is_of(row.second.delivery); })) {
    const auto found = GetWebhook(filter.tenant, filter.webhook_name);
    if (!found.ok()) return found.status();
  }
  if (filter.notification) {
    const auto found = GetNotification(filter.tenant, *filter.notification);
    if (!found.ok()) return found.status();
  }
  DeliveryPage page;
  page.next_before = ReadPage<DeliveryId>(
      deliveries_, filter.before, filter.limit,
      [&](const DeliveryRow& row) {
        const Delivery& d = row.delivery;
        return is_of(d) && (!filter.notification || d.notification == *filter.notification) &&
               (!filter.state || d.state == *filter.state) && d.create_time >= filter.start &&
               d.create_time < filter.end;
      },
      [&](const DeliveryRow& row) { page.rows.push_back(row.delivery); });
  return page;
}

// ---- Helpers

OwedDelivery MemoryStore::Owed(const DeliveryRow& row) const {
  const Delivery& d = row.delivery;
  OwedDelivery owed;
  owed.id = d.id;
  owed.webhook = d.webhook;
  owed.notification = d.notification;
  owed.due = d.due;
  owed.attempts = d.attempts;
  owed.budget_attempts = row.budget_attempts;
  owed.budget_start = row.budget_start;
  owed.body = notifications_.at(d.notification).body;
  return owed;
}

const Webhook* MemoryStore::FindWebhook(const std::string& tenant, const std::string& name) const {
  for (const auto& [id, webhook] : webhooks_) {
    if (webhook.tenant == tenant && webhook.name == name) return &webhook;
  }
  return nullptr;
}

Webhook* MemoryStore::FindWebhook(const std::string& tenant, const std::string& name) {
  return const_cast<Webhook*>(std::as_const(*this).FindWebhook(tenant, name));
}

absl::Status MemoryStore::CheckTenant(const std::string& tenant) const {
  if (tenants_.count(tenant) != 0) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("tenant '", tenant, "' is unknown: no webhook was ever configured for it"));
}

}  // namespace postrider
