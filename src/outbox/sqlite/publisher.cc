#include "src/outbox/sqlite/publisher.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/row_codec.h"

namespace postrider {
namespace {

const std::vector<WebhookId>& WantingType(const Routing::Tenant& tenant, const std::string& type) {
  static const std::vector<WebhookId> none;
  if (tenant.by_type.empty()) return none;
  const auto it = tenant.by_type.find(type);
  return it == tenant.by_type.end() ? none : it->second;
}

size_t CountWanting(const Routing::Tenant& tenant, const std::string& type) {
  return tenant.all_types.size() + WantingType(tenant, type).size();
}

}  // namespace

absl::StatusOr<Publisher> Publisher::Create(Database& db, const Routing& routing,
                                            const SqliteOutboxOptions& options) {
  Publisher p;
  p.max_per_notification_ = options.max_deliveries_per_notification;
  p.max_per_call_ = options.max_deliveries_per_call;
  p.db_ = &db;
  p.routing_ = &routing;
  ASSIGN_OR_RETURN(p.last_notification_id_,
                   db.Int("SELECT max(last_notification_id,"
                          " (SELECT ifnull(max(id), 0) FROM notification)) FROM meta"));
  ASSIGN_OR_RETURN(p.last_delivery_id_, db.Int("SELECT max(last_delivery_id,"
                                               " (SELECT ifnull(max(id), 0) FROM delivery))"
                                               " FROM meta"));
  p.notification_ids_ = IdSequence(p.last_notification_id_);
  p.delivery_ids_ = IdSequence(p.last_delivery_id_);
  ASSIGN_OR_RETURN(Statement epochs, IdEpochs::PrepareLoad(db));
  ASSIGN_OR_RETURN(p.epochs_, IdEpochs::Load(epochs));
  p.committed_epochs_ = p.epochs_.size();
  ASSIGN_OR_RETURN(p.insert_epoch_,
                   db.Prepare("INSERT INTO id_epoch (first_id, ahead_ms) VALUES (?, ?)"));
  ASSIGN_OR_RETURN(
      p.insert_notification_,
      db.Prepare("INSERT INTO notification (id, tenant_id, create_us, first_delivery_id,"
                 " delivery_count, type, idempotency_key, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                 " ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL"
                 " DO NOTHING"));
  ASSIGN_OR_RETURN(
      p.insert_delivery_,
      db.Prepare("INSERT INTO delivery (id, webhook_id, notification_id, state, due_us, attempts,"
                 " budget_attempts, last_http_status) VALUES (?, ?, ?, 0, ?, 0, 0, 0)"));
  ASSIGN_OR_RETURN(p.find_key_, db.Prepare("SELECT id, delivery_count, type, body FROM notification"
                                           " WHERE tenant_id = ? AND idempotency_key = ?"));
  ASSIGN_OR_RETURN(p.key_known_, db.Prepare("SELECT 1 FROM notification"
                                            " WHERE tenant_id = ? AND idempotency_key = ?"));
  return p;
}

absl::Status Publisher::CheckFanOut(const std::vector<NewNotification>& notifications,
                                    absl::Status* refusal) {
  // Spares nearly all calls the rest.
  if (notifications.size() * routing_->webhooks() <= max_per_call_) return absl::OkStatus();
  size_t owed = 0;
  for (const NewNotification& notification : notifications) {
    const Routing::Tenant* const tenant = routing_->Find(notification.tenant);
    if (tenant == nullptr) continue;
    const size_t count = CountWanting(*tenant, notification.type);
    if (count == 0 || count > max_per_notification_) continue;
    if (!notification.idempotency_key.empty()) {
      ASSIGN_OR_RETURN(const bool known, IsKnown(tenant->id, notification.idempotency_key));
      if (known) continue;
    }
    owed += count;
  }
  if (owed > max_per_call_) {
    *refusal = absl::FailedPreconditionError(
        absl::StrCat("this call would owe ", owed, " deliveries, and at most ", max_per_call_,
                     " are allowed in one: publish fewer notifications in a call"));
  }
  return absl::OkStatus();
}

absl::Status Publisher::Publish(const NewNotification& notification, absl::Time now,
                                absl::Time due, Effects* effects,
                                absl::StatusOr<Published>* result) {
  const Routing::Tenant* const tenant = routing_->Find(notification.tenant);
  if (tenant == nullptr) {
    *result = absl::NotFoundError(absl::StrCat("tenant '", notification.tenant,
                                               "' is unknown: configure a webhook for it first"));
    return absl::OkStatus();
  }
  const size_t count = CountWanting(*tenant, notification.type);
  if (count > max_per_notification_) return AnswerTooMany(*tenant, notification, count, result);
  const int64_t last_id = std::max(last_notification_id_, last_delivery_id_);
  if (const std::optional<IdEpoch> epoch = epochs_.Adjust(now, last_id)) {
    insert_epoch_.Bind(epoch->first_id, absl::ToInt64Milliseconds(epoch->ahead));
    RETURN_IF_ERROR(insert_epoch_.Run());
  }
  const absl::Time id_time = now + epochs_.ahead();
  const int64_t id = notification_ids_.Next(id_time);
  last_notification_id_ = id;
  // The numbers of the deliveries are taken at once and stand in a row, so that the notification's
  // row says which they are.
  std::optional<int64_t> first_delivery_id;
  if (count > 0) {
    first_delivery_id = delivery_ids_.Next(id_time);
    last_delivery_id_ = *first_delivery_id;
    for (size_t i = 1; i < count; ++i) last_delivery_id_ = delivery_ids_.Next(id_time);
  }
  std::optional<std::string_view> key;
  if (!notification.idempotency_key.empty()) key = notification.idempotency_key;
  insert_notification_.Bind(id, tenant->id, ToMicros(now), first_delivery_id,
                            static_cast<int64_t>(count), notification.type, key,
                            BlobView{*notification.body});
  RETURN_IF_ERROR(insert_notification_.Run());
  if (key && db_->Changes() == 0) {
    ++effects->counts().duplicates;
    return AnswerDuplicate(tenant->id, notification, result);
  }
  ++effects->counts().notifications;
  effects->counts().deliveries += count;
  if (count > 0) {
    RETURN_IF_ERROR(
        FanOut(*tenant, notification, NotificationId{id}, due, *first_delivery_id, effects));
  }
  *result = Published{NotificationId{id}, false, static_cast<int>(count)};
  return absl::OkStatus();
}

absl::Status Publisher::FanOut(const Routing::Tenant& tenant, const NewNotification& notification,
                               NotificationId id, absl::Time due, int64_t first_delivery_id,
                               Effects* effects) {
  std::vector<OwedDelivery>& owed = effects->owed();
  const int64_t due_us = ToMicros(due);
  int64_t delivery_id = first_delivery_id;
  const auto add = [&](WebhookId webhook) {
    OwedDelivery& delivery = owed.emplace_back();
    delivery.id = DeliveryId{delivery_id++};
    delivery.webhook = webhook;
    delivery.notification = id;
    delivery.due = due;
    delivery.body = notification.body;
    insert_delivery_.Bind(delivery.id, webhook, id, due_us);
    return insert_delivery_.Run();
  };
  for (const WebhookId webhook : tenant.all_types) RETURN_IF_ERROR(add(webhook));
  for (const WebhookId webhook : WantingType(tenant, notification.type)) {
    RETURN_IF_ERROR(add(webhook));
  }
  return absl::OkStatus();
}

absl::Status Publisher::AnswerTooMany(const Routing::Tenant& tenant,
                                      const NewNotification& notification, size_t count,
                                      absl::StatusOr<Published>* result) {
  if (!notification.idempotency_key.empty()) {
    ASSIGN_OR_RETURN(const bool known, IsKnown(tenant.id, notification.idempotency_key));
    if (known) return AnswerDuplicate(tenant.id, notification, result);
  }
  *result = absl::FailedPreconditionError(absl::StrCat(
      "tenant '", notification.tenant, "' has ", count, " webhooks that want this notification, ",
      "and it may be owed to at most ", max_per_notification_,
      ": let webhooks take certain types only, or divide them among tenants"));
  return absl::OkStatus();
}

absl::StatusOr<bool> Publisher::IsKnown(int64_t tenant_id, const std::string& key) {
  const ResetOnExit reset(key_known_);
  key_known_.Bind(tenant_id, key);
  return key_known_.Next();
}

absl::Status Publisher::AnswerDuplicate(int64_t tenant_id, const NewNotification& notification,
                                        absl::StatusOr<Published>* result) {
  const ResetOnExit reset(find_key_);
  find_key_.Bind(tenant_id, notification.idempotency_key);
  ASSIGN_OR_RETURN(const bool row, find_key_.Next());
  if (!row) return absl::UnknownError("the index of idempotency keys contradicts its table");
  if (find_key_.Bytes(2) != notification.type || find_key_.Bytes(3) != *notification.body) {
    *result = absl::AlreadyExistsError(
        absl::StrCat("the idempotency key '", notification.idempotency_key,
                     "' was used for a notification of another type or body: use a new key"));
  } else {
    *result = Published{NotificationId{find_key_.Int(0)}, true, static_cast<int>(find_key_.Int(1))};
  }
  return absl::OkStatus();
}

}  // namespace postrider
