#include "src/outbox/sqlite/webhook_rows.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/row_codec.h"

namespace postrider {
namespace {

constexpr char kSelect[] =
    "SELECT w.id, t.name, w.name, w.url, w.enabled, w.initial_backoff_us, w.backoff_multiplier,"
    " w.max_backoff_us, w.max_age_us, w.max_attempts, w.timeout_us, w.max_concurrency,"
    " w.rate_per_second, w.rate_burst, w.delivery_order, w.validation_state, w.disabled_reason,"
    " w.failing_since_us, w.create_us, w.update_us, w.version, w.max_probe_interval_us"
    " FROM webhook w CROSS JOIN tenant t ON t.id = w.tenant_id";

// In the order of kSelect.
Webhook ReadColumns(const Statement& row) {
  Webhook webhook;
  int i = 0;
  webhook.id = WebhookId{row.Int(i++)};
  webhook.tenant = row.Bytes(i++);
  webhook.name = row.Bytes(i++);
  webhook.url = row.Bytes(i++);
  webhook.enabled = row.Int(i++) != 0;
  webhook.retry_policy.initial_backoff = DurationFromMicros(row.Int(i++));
  webhook.retry_policy.multiplier = row.Real(i++);
  webhook.retry_policy.max_backoff = DurationFromMicros(row.Int(i++));
  webhook.retry_policy.max_age = DurationFromMicros(row.Int(i++));
  webhook.retry_policy.max_attempts = static_cast<int>(row.Int(i++));
  webhook.timeout = DurationFromMicros(row.Int(i++));
  webhook.max_concurrency = static_cast<int>(row.Int(i++));
  webhook.rate_limit.per_second = row.Real(i++);
  webhook.rate_limit.burst = static_cast<int>(row.Int(i++));
  webhook.order = static_cast<DeliveryOrder>(row.Int(i++));
  webhook.validation_state = static_cast<ValidationState>(row.Int(i++));
  webhook.disabled_reason = row.Bytes(i++);
  webhook.failing_since = NullableTime(row, i++);
  webhook.create_time = TimeFromMicros(row.Int(i++));
  webhook.update_time = TimeFromMicros(row.Int(i++));
  webhook.version = row.Int(i++);
  webhook.retry_policy.max_probe_interval = DurationFromMicros(row.Int(i++));
  return webhook;
}

// What varies from one to another.
size_t BytesOf(const Webhook& webhook) {
  size_t bytes = webhook.name.size() + webhook.url.size() + webhook.disabled_reason.size();
  for (const Header& header : webhook.headers) bytes += header.name.size() + header.value.size();
  for (const std::string& type : webhook.notification_types) bytes += type.size();
  return bytes;
}

}  // namespace

// ---- WebhookReader

absl::StatusOr<WebhookReader> WebhookReader::Create(Database& db) {
  WebhookReader r;
  const std::string by_name = absl::StrCat(kSelect,
                                           " WHERE w.deleted_us IS NULL AND w.tenant_id ="
                                           " (SELECT id FROM tenant WHERE name = ?1)");
  const std::string by_id = absl::StrCat(kSelect, " WHERE w.deleted_us IS NULL");
  ASSIGN_OR_RETURN(r.by_name_, db.Prepare(absl::StrCat(by_name, " AND w.name = ?2")));
  ASSIGN_OR_RETURN(r.by_id_, db.Prepare(absl::StrCat(by_id, " AND w.id = ?1")));
  ASSIGN_OR_RETURN(r.list_by_name_,
                   db.Prepare(absl::StrCat(by_name, " AND w.name > ?2 ORDER BY w.name LIMIT ?3")));
  ASSIGN_OR_RETURN(r.list_by_id_,
                   db.Prepare(absl::StrCat(by_id, " AND w.id > ?1 ORDER BY w.id LIMIT ?2")));
  ASSIGN_OR_RETURN(
      r.ids_of_name_,
      db.Prepare("SELECT id FROM webhook WHERE deleted_us IS NULL AND tenant_id = ?1 AND name = ?2"
                 " UNION ALL SELECT id FROM webhook"
                 " WHERE deleted_us IS NOT NULL AND tenant_id = ?1 AND name = ?2"
                 " ORDER BY 1 DESC LIMIT 64"));
  ASSIGN_OR_RETURN(r.headers_, db.Prepare("SELECT name, value, sensitive FROM webhook_header"
                                          " WHERE webhook_id = ?1 ORDER BY position"));
  ASSIGN_OR_RETURN(r.types_, db.Prepare("SELECT type FROM webhook_type"
                                        " WHERE webhook_id = ?1 ORDER BY position"));
  ASSIGN_OR_RETURN(r.secrets_, db.Prepare("SELECT key, expires_us FROM webhook_secret"
                                          " WHERE webhook_id = ?1 ORDER BY position"));
  return r;
}

absl::StatusOr<std::optional<Webhook>> WebhookReader::Find(const std::string& tenant,
                                                           const std::string& name) {
  by_name_.Bind(tenant, name);
  return ReadOne(by_name_);
}

absl::StatusOr<std::optional<Webhook>> WebhookReader::Find(WebhookId id) {
  by_id_.Bind(id);
  return ReadOne(by_id_);
}

absl::StatusOr<std::vector<Webhook>> WebhookReader::List(const std::string& tenant,
                                                         const std::string& after, int limit,
                                                         size_t max_bytes, bool* more) {
  list_by_name_.Bind(tenant, after, limit + 1);
  const ResetOnExit reset(list_by_name_);
  std::vector<Webhook> webhooks;
  size_t bytes = 0;
  while (true) {
    ASSIGN_OR_RETURN(*more, list_by_name_.Next());
    if (!*more || webhooks.size() == static_cast<size_t>(limit)) return webhooks;
    Webhook webhook = ReadColumns(list_by_name_);
    RETURN_IF_ERROR(ReadParts(&webhook));
    bytes += BytesOf(webhook);
    if (bytes > max_bytes && !webhooks.empty()) return webhooks;
    webhooks.push_back(std::move(webhook));
  }
}

absl::StatusOr<std::vector<WebhookId>> WebhookReader::IdsOf(int64_t tenant_id,
                                                            const std::string& name) {
  const ResetOnExit reset(ids_of_name_);
  ids_of_name_.Bind(tenant_id, name);
  std::vector<WebhookId> ids;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, ids_of_name_.Next());
    if (!row) return ids;
    ids.push_back(WebhookId{ids_of_name_.Int(0)});
  }
}

absl::StatusOr<std::vector<Webhook>> WebhookReader::ListById(WebhookId after, int limit) {
  list_by_id_.Bind(after, limit);
  return ReadAll(list_by_id_);
}

absl::StatusOr<std::optional<Webhook>> WebhookReader::ReadOne(Statement& statement) {
  const ResetOnExit reset(statement);
  ASSIGN_OR_RETURN(const bool row, statement.Next());
  if (!row) return std::optional<Webhook>();
  std::optional<Webhook> webhook = ReadColumns(statement);
  RETURN_IF_ERROR(ReadParts(&*webhook));
  return webhook;
}

absl::StatusOr<std::vector<Webhook>> WebhookReader::ReadAll(Statement& statement) {
  const ResetOnExit reset(statement);
  std::vector<Webhook> webhooks;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, statement.Next());
    if (!row) return webhooks;
    webhooks.push_back(ReadColumns(statement));
    RETURN_IF_ERROR(ReadParts(&webhooks.back()));
  }
}

absl::Status WebhookReader::ReadParts(Webhook* webhook) {
  const ResetOnExit reset_headers(headers_), reset_types(types_), reset_secrets(secrets_);
  headers_.Bind(webhook->id);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, headers_.Next());
    if (!row) break;
    webhook->headers.push_back(
        {std::string(headers_.Bytes(0)), std::string(headers_.Bytes(1)), headers_.Int(2) != 0});
  }
  types_.Bind(webhook->id);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, types_.Next());
    if (!row) break;
    webhook->notification_types.emplace_back(types_.Bytes(0));
  }
  secrets_.Bind(webhook->id);
  while (true) {
    ASSIGN_OR_RETURN(const bool row, secrets_.Next());
    if (!row) break;
    webhook->secrets.push_back({std::string(secrets_.Bytes(0)), NullableTime(secrets_, 1)});
  }
  return absl::OkStatus();
}

// ---- WebhookTable

absl::StatusOr<WebhookTable> WebhookTable::Create(Database& db) {
  WebhookTable t;
  t.db_ = &db;
  ASSIGN_OR_RETURN(
      t.insert_,
      db.Prepare("INSERT INTO webhook (tenant_id, name, create_us, url, enabled,"
                 " initial_backoff_us, backoff_multiplier, max_backoff_us, max_age_us,"
                 " max_attempts, timeout_us, max_concurrency, rate_per_second, rate_burst,"
                 " delivery_order, validation_state, disabled_reason, failing_since_us, update_us,"
                 " version, disabled_us, max_probe_interval_us)"
                 " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  ASSIGN_OR_RETURN(
      t.update_,
      db.Prepare("UPDATE webhook SET url = ?2, enabled = ?3, initial_backoff_us = ?4,"
                 " backoff_multiplier = ?5, max_backoff_us = ?6, max_age_us = ?7,"
                 " max_attempts = ?8, timeout_us = ?9, max_concurrency = ?10,"
                 " rate_per_second = ?11, rate_burst = ?12, delivery_order = ?13,"
                 " validation_state = ?14, disabled_reason = ?15, failing_since_us = ?16,"
                 " update_us = ?17, version = ?18, disabled_us = CASE WHEN ?3 THEN NULL"
                 " ELSE ifnull(disabled_us, ?19) END, max_probe_interval_us = ?20 WHERE id = ?1"));
  ASSIGN_OR_RETURN(t.bury_, db.Prepare("UPDATE webhook SET deleted_us = ?2, enabled = 0, url = '',"
                                       " disabled_reason = '', last_delivery_id = ?3"
                                       " WHERE id = ?1"));
  ASSIGN_OR_RETURN(t.failing_since_, db.Prepare("UPDATE webhook SET failing_since_us = ?2"
                                                " WHERE id = ?1"));
  ASSIGN_OR_RETURN(t.insert_header_,
                   db.Prepare("INSERT INTO webhook_header VALUES (?, ?, ?, ?, ?)"));
  ASSIGN_OR_RETURN(t.insert_type_, db.Prepare("INSERT INTO webhook_type VALUES (?, ?, ?)"));
  ASSIGN_OR_RETURN(t.insert_secret_, db.Prepare("INSERT INTO webhook_secret VALUES (?, ?, ?, ?)"));
  ASSIGN_OR_RETURN(t.erase_headers_, db.Prepare("DELETE FROM webhook_header WHERE webhook_id = ?"));
  ASSIGN_OR_RETURN(t.erase_types_, db.Prepare("DELETE FROM webhook_type WHERE webhook_id = ?"));
  ASSIGN_OR_RETURN(t.erase_secrets_, db.Prepare("DELETE FROM webhook_secret WHERE webhook_id = ?"));
  return t;
}

absl::Status WebhookTable::Insert(int64_t tenant_id, absl::Time now, Webhook* w) {
  std::optional<int64_t> disabled_us;
  if (!w->enabled) disabled_us = ToMicros(now);
  const RetryPolicy& retry = w->retry_policy;
  insert_.Bind(tenant_id, w->name, ToMicros(w->create_time), w->url, w->enabled,
               ToMicros(retry.initial_backoff), retry.multiplier, ToMicros(retry.max_backoff),
               ToMicros(retry.max_age), retry.max_attempts, ToMicros(w->timeout),
               w->max_concurrency, w->rate_limit.per_second, w->rate_limit.burst, w->order,
               w->validation_state, w->disabled_reason, ToNullableMicros(w->failing_since),
               ToMicros(w->update_time), w->version, disabled_us,
               ToMicros(retry.max_probe_interval));
  RETURN_IF_ERROR(insert_.Run());
  w->id = WebhookId{db_->LastInsertId()};
  return WriteParts(*w);
}

absl::Status WebhookTable::Update(const Webhook& w, absl::Time now) {
  const RetryPolicy& retry = w.retry_policy;
  update_.Bind(w.id, w.url, w.enabled, ToMicros(retry.initial_backoff), retry.multiplier,
               ToMicros(retry.max_backoff), ToMicros(retry.max_age), retry.max_attempts,
               ToMicros(w.timeout), w.max_concurrency, w.rate_limit.per_second, w.rate_limit.burst,
               w.order, w.validation_state, w.disabled_reason, ToNullableMicros(w.failing_since),
               ToMicros(w.update_time), w.version, ToMicros(now),
               ToMicros(retry.max_probe_interval));
  RETURN_IF_ERROR(update_.Run());
  RETURN_IF_ERROR(EraseParts(w.id));
  return WriteParts(w);
}

absl::Status WebhookTable::Bury(WebhookId id, int64_t last_delivery_id, absl::Time now) {
  bury_.Bind(id, ToMicros(now), last_delivery_id);
  RETURN_IF_ERROR(bury_.Run());
  return EraseParts(id);
}

absl::Status WebhookTable::SetFailingSince(WebhookId id, absl::Time failing_since) {
  failing_since_.Bind(id, ToNullableMicros(failing_since));
  return failing_since_.Run();
}

absl::Status WebhookTable::WriteParts(const Webhook& webhook) {
  int position = 0;
  for (const Header& header : webhook.headers) {
    insert_header_.Bind(webhook.id, position++, header.name, header.value, header.sensitive);
    RETURN_IF_ERROR(insert_header_.Run());
  }
  position = 0;
  for (const std::string& type : webhook.notification_types) {
    insert_type_.Bind(webhook.id, position++, type);
    RETURN_IF_ERROR(insert_type_.Run());
  }
  position = 0;
  for (const SigningSecret& secret : webhook.secrets) {
    insert_secret_.Bind(webhook.id, position++, BlobView{secret.key},
                        ToNullableMicros(secret.expires));
    RETURN_IF_ERROR(insert_secret_.Run());
  }
  return absl::OkStatus();
}

absl::Status WebhookTable::EraseParts(WebhookId id) {
  for (Statement* statement : {&erase_headers_, &erase_types_, &erase_secrets_}) {
    statement->Bind(id);
    RETURN_IF_ERROR(statement->Run());
  }
  return absl::OkStatus();
}

}  // namespace postrider
