#include "src/outbox/sqlite/write_session.h"

#include <sqlite3.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"

namespace postrider {
namespace {

// The log is truncated to this when it begins anew.
constexpr int64_t kWalBytesKept = int64_t{32} << 20;
// What one transaction looks at before a webhook is enabled again.
constexpr int kEndSpentRows = 2048;

// Deliveries whose times one statement puts right: SQLite keeps some 100 bytes of each in memory
// until the statement ends.
constexpr int kTimesSlice = 10000;

// The wall clock was set, and not only slewed.
constexpr absl::Duration kClockSet = absl::Seconds(1);

int OnWal(void* wal_pages, sqlite3*, const char*, int pages) {
  *static_cast<int*>(wal_pages) = pages;
  return SQLITE_OK;
}

void Route(const Webhook& webhook, Routing* routing) {
  if (webhook.enabled) {
    routing->Set(webhook.tenant, webhook.id, webhook.notification_types);
  } else {
    routing->Remove(webhook.id);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<WriteSession>> WriteSession::Create(
    Database db, const SqliteOutboxOptions& options) {
  std::unique_ptr<WriteSession> session(new WriteSession(std::move(db)));
  RETURN_IF_ERROR(session->SetUp(options));
  return session;
}

absl::Status WriteSession::SetUp(const SqliteOutboxOptions& options) {
  ASSIGN_OR_RETURN(const std::string mode, db_.Text("PRAGMA journal_mode = WAL"));
  if (mode != "wal") {
    return absl::UnknownError(absl::StrCat("SQLite gave journal mode ", mode, " instead of wal"));
  }
  RETURN_IF_ERROR(
      db_.Exec(absl::StrCat("PRAGMA synchronous = FULL;"
                            "PRAGMA foreign_keys = ON;"
                            "PRAGMA secure_delete = OFF;"
                            "PRAGMA cache_size = -65536;"
                            "PRAGMA temp_store = MEMORY;"
                            "PRAGMA mmap_size = 0;"
                            "PRAGMA wal_autocheckpoint = 0;"
                            "PRAGMA journal_size_limit = ",
                            kWalBytesKept)));
  sqlite3_wal_hook(db_.handle(), OnWal, &wal_pages_);
  // Before anything is served: what a failed sync left in the kernel's cache is written again.
  // A full disk leaves it as it is, and what is owed can be read all the same.
  const absl::Status emptied =
      Checkpoint(Database::Checkpoint::kTruncate, [] { return false; }).status();
  if (!emptied.ok() && !absl::IsResourceExhausted(emptied)) return emptied;
  const absl::Status marked = SetInUse(true);
  if (!marked.ok() && !absl::IsResourceExhausted(marked)) return marked;

  ASSIGN_OR_RETURN(page_bytes_, db_.Int("PRAGMA page_size"));
  ASSIGN_OR_RETURN(webhook_reader_, WebhookReader::Create(db_));
  ASSIGN_OR_RETURN(webhooks_, WebhookTable::Create(db_));
  ASSIGN_OR_RETURN(publisher_, Publisher::Create(db_, routing_, options));
  ASSIGN_OR_RETURN(attempts_, AttemptTable::Create(db_, options));
  ASSIGN_OR_RETURN(deliveries_, DeliveryTable::Create(db_, &attempts_));
  ASSIGN_OR_RETURN(janitor_, Janitor::Create(db_, options.retention, &attempts_));
  ASSIGN_OR_RETURN(backlog_, Backlog::Create(db_));
  ASSIGN_OR_RETURN(const int64_t last_version,
                   db_.Int("SELECT ifnull(max(version), 0) FROM webhook"));
  versions_ = IdSequence(last_version);
  ASSIGN_OR_RETURN(begin_, db_.Prepare("BEGIN IMMEDIATE"));
  ASSIGN_OR_RETURN(commit_, db_.Prepare("COMMIT"));
  ASSIGN_OR_RETURN(insert_tenant_, db_.Prepare("INSERT INTO tenant (name) VALUES (?)"));
  ASSIGN_OR_RETURN(pages_, db_.Prepare("PRAGMA page_count"));
  ASSIGN_OR_RETURN(free_pages_, db_.Prepare("PRAGMA freelist_count"));
  return LoadRoutes();
}

absl::Status WriteSession::LoadRoutes() {
  ASSIGN_OR_RETURN(Statement tenants, db_.Prepare("SELECT name, id FROM tenant"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, tenants.Next());
    if (!row) break;
    routing_.AddTenant(std::string(tenants.Bytes(0)), tenants.Int(1));
  }
  ASSIGN_OR_RETURN(
      Statement routes,
      db_.Prepare("SELECT w.id, t.name, y.type FROM webhook w JOIN tenant t ON t.id = w.tenant_id"
                  " LEFT JOIN webhook_type y ON y.webhook_id = w.id"
                  " WHERE w.enabled AND w.deleted_us IS NULL ORDER BY w.id, y.position"));
  Webhook webhook;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, routes.Next());
    const WebhookId id = row ? WebhookId{routes.Int(0)} : WebhookId{};
    if (webhook.enabled && id != webhook.id) {
      Route(webhook, &routing_);
      webhook.notification_types.clear();
    }
    if (!row) break;
    webhook.id = id;
    webhook.enabled = true;
    webhook.tenant = routes.Bytes(1);
    if (!routes.IsNull(2)) webhook.notification_types.emplace_back(routes.Bytes(2));
  }
  routing_.Commit();
  return absl::OkStatus();
}

absl::Status WriteSession::Begin() { return begin_.Run(); }

absl::Status WriteSession::Commit(bool may_grow) {
  RETURN_IF_ERROR(attempts_.Finish(may_grow));
  RETURN_IF_ERROR(commit_.Run());
  stored_offset_ = offset_;
  routing_.Commit();
  publisher_.Commit();
  attempts_.Commit();
  janitor_.Commit();
  backlog_.Commit();
  return absl::OkStatus();
}

absl::Status WriteSession::Rollback() {
  offset_ = stored_offset_;
  janitor_.owed_sweep().SetClockOffset(offset_);
  routing_.Rollback();
  publisher_.Rollback();
  janitor_.Rollback();
  backlog_.Rollback();
  RETURN_IF_ERROR(db_.Rollback());
  return attempts_.Rollback();
}

absl::Status WriteSession::ModifyWebhook(const std::string& tenant, const std::string& name,
                                         Outbox::Modify& modify, absl::Time now, Effects* effects,
                                         std::optional<OwedSweep::Walk>* walk, bool* more,
                                         absl::StatusOr<Webhook>* result) {
  ASSIGN_OR_RETURN(std::optional<Webhook> old, webhook_reader_.Find(tenant, name));
  absl::StatusOr<std::optional<Webhook>> wanted = modify(old);
  if (!wanted.ok()) {
    *result = wanted.status();
    return absl::OkStatus();
  }
  if (!wanted->has_value()) {
    if (!old) {
      *result =
          absl::NotFoundError(absl::StrCat("tenant '", tenant, "' has no webhook '", name, "'"));
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(webhooks_.Bury(old->id, publisher_.last_delivery_id(), now));
    routing_.Remove(old->id);
    janitor_.CancelOwed(old->id);
    effects->Deleted(old->id);
    *result = *std::move(old);
    return absl::OkStatus();
  }
  Webhook webhook = **std::move(wanted);
  webhook.tenant = tenant;
  webhook.name = name;
  webhook.update_time = now;
  webhook.version = versions_.Next(now);
  if (old) {
    webhook.id = old->id;
    webhook.create_time = old->create_time;
    if (webhook.enabled && !old->enabled) {
      RETURN_IF_ERROR(EndSpent(webhook, now, effects, walk));
      *more = *walk && !(*walk)->done;
      if (*more) return absl::OkStatus();
    }
    RETURN_IF_ERROR(webhooks_.Update(webhook, now - offset_));
  } else {
    webhook.create_time = now;
    ASSIGN_OR_RETURN(const int64_t tenant_id, TenantId(tenant));
    RETURN_IF_ERROR(webhooks_.Insert(tenant_id, now - offset_, &webhook));
  }
  Route(webhook, &routing_);
  effects->Changed(webhook);
  *result = std::move(webhook);
  return absl::OkStatus();
}

absl::Status WriteSession::EndSpent(const Webhook& webhook, absl::Time now, Effects* effects,
                                    std::optional<OwedSweep::Walk>* walk) {
  if (!*walk || (*walk)->webhook != webhook.id) {
    ASSIGN_OR_RETURN(*walk, janitor_.owed_sweep().Begin(webhook.id));
    if (!*walk) return absl::OkStatus();
  }
  // What is configured now, not what was.
  (*walk)->max_age = webhook.retry_policy.max_age;
  ASSIGN_OR_RETURN(const int64_t ended,
                   janitor_.owed_sweep().EndSpent(&**walk, kEndSpentRows, now));
  effects->counts().aged += ended;
  backlog_.Add(webhook.id, -ended);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> WriteSession::TenantId(const std::string& tenant) {
  if (const Routing::Tenant* known = routing_.Find(tenant)) return known->id;
  insert_tenant_.Bind(tenant);
  RETURN_IF_ERROR(insert_tenant_.Run());
  const int64_t id = db_.LastInsertId();
  routing_.AddTenant(tenant, id);
  return id;
}

absl::Status WriteSession::DisableWebhook(WebhookId id, int64_t version, const std::string& reason,
                                          absl::Time now, Effects* effects) {
  ASSIGN_OR_RETURN(std::optional<Webhook> webhook, webhook_reader_.Find(id));
  if (!webhook || webhook->version != version) return absl::OkStatus();
  webhook->enabled = false;
  webhook->disabled_reason = reason;
  webhook->version = versions_.Next(now);
  RETURN_IF_ERROR(webhooks_.Update(*webhook, now - offset_));
  routing_.Remove(id);
  effects->Changed(*std::move(webhook));
  return absl::OkStatus();
}

absl::Status WriteSession::Record(const OutcomeBatch& batch, absl::Time now) {
  for (const AttemptOutcome& outcome : batch.outcomes) {
    bool ended = false;
    RETURN_IF_ERROR(deliveries_.Record(outcome, now, &ended));
    if (ended) backlog_.Add(outcome.webhook, -1);
  }
  for (const WebhookHealth& health : batch.health) {
    RETURN_IF_ERROR(webhooks_.SetFailingSince(health.webhook, health.failing_since));
  }
  return absl::OkStatus();
}

absl::StatusOr<Janitor::Slice> WriteSession::Maintain(absl::Time now, absl::Duration monotonic,
                                                      Effects* effects) {
  ASSIGN_OR_RETURN(const Janitor::Slice slice, janitor_.Run(now, monotonic, publisher_, effects));
  if (slice.cancelled > 0) backlog_.Add(slice.webhook, -slice.cancelled);
  for (const auto& [webhook, count] : effects->swept()) backlog_.Add(webhook, -count);
  effects->swept().clear();
  return slice;
}

absl::StatusOr<WriteSession::Size> WriteSession::ReadSize() {
  const ResetOnExit reset_pages(pages_), reset_free(free_pages_);
  ASSIGN_OR_RETURN(const bool has_pages, pages_.Next());
  ASSIGN_OR_RETURN(const bool has_free, free_pages_.Next());
  if (!has_pages || !has_free) return absl::UnknownError("the page counts gave no row");
  Size size;
  size.file_bytes = pages_.Int(0) * page_bytes_;
  size.used_bytes = size.file_bytes - free_pages_.Int(0) * page_bytes_;
  return size;
}

absl::StatusOr<CheckpointResult> WriteSession::Checkpoint(Database::Checkpoint mode,
                                                          Database::OnBusy on_busy) {
  ASSIGN_OR_RETURN(const CheckpointResult result, db_.RunCheckpoint(mode, on_busy));
  // The next commit begins the log anew when all of it was copied and nobody reads it.
  if (!result.busy) wal_pages_ = 0;
  return result;
}

absl::Status WriteSession::NoteClock(absl::Duration offset) {
  if (absl::AbsDuration(offset - stored_offset_) < kClockSet) return absl::OkStatus();
  offset_ = offset;
  janitor_.owed_sweep().SetClockOffset(offset_);
  return db_.Exec(absl::StrCat("UPDATE meta SET clock_offset_us = ",
                               absl::ToInt64Microseconds(offset)));
}

absl::Status WriteSession::PutTimesRight() {
  ASSIGN_OR_RETURN(const int64_t offset, db_.Int("SELECT clock_offset_us FROM meta"));
  if (offset == 0) return absl::OkStatus();
  absl::Status status = db_.Exec("BEGIN IMMEDIATE");
  if (status.ok()) status = AddToTimes(offset);
  if (status.ok()) status = db_.Exec("COMMIT");
  if (status.ok()) return status;
  RETURN_IF_ERROR(db_.Rollback());
  return absl::IsResourceExhausted(status) ? absl::OkStatus() : status;
}

absl::Status WriteSession::AddToTimes(int64_t offset_us) {
  ASSIGN_OR_RETURN(Statement slice, db_.Prepare("SELECT max(id) FROM (SELECT id FROM delivery"
                                                " WHERE id > ? ORDER BY id LIMIT ?)"));
  // Not by the index of what is owed, which it changes.
  ASSIGN_OR_RETURN(Statement add,
                   db_.Prepare("UPDATE delivery SET due_us = due_us + ?1,"
                               " budget_start_us = budget_start_us + ?1"
                               " WHERE +state = 0 AND id > ?2 AND id <= ?3"));
  for (int64_t done = 0;;) {
    const ResetOnExit reset(slice);
    slice.Bind(done, kTimesSlice);
    ASSIGN_OR_RETURN(const bool row, slice.Next());
    if (!row || slice.IsNull(0)) break;
    const int64_t last = slice.Int(0);
    add.Bind(offset_us, done, last);
    RETURN_IF_ERROR(add.Run());
    done = last;
  }
  return db_.Exec(absl::StrCat("UPDATE webhook SET failing_since_us = failing_since_us + ",
                               offset_us, ", disabled_us = disabled_us + ", offset_us,
                               "; UPDATE meta SET clock_offset_us = 0"));
}

absl::Status WriteSession::SetInUse(bool in_use) {
  ASSIGN_OR_RETURN(const int64_t is, db_.Int("SELECT in_use FROM meta"));
  if (is == (in_use ? 1 : 0)) return absl::OkStatus();
  RETURN_IF_ERROR(db_.Exec(absl::StrCat("UPDATE meta SET in_use = ", in_use ? 1 : 0)));
  // Into the file itself: it is asked for when there is no log.
  return Checkpoint(Database::Checkpoint::kTruncate, [] { return false; }).status();
}

absl::Status WriteSession::Finish() {
  // It reads the log.
  backlog_.Stop();
  // If it fails the log stays, as the file says.
  RETURN_IF_ERROR(SetInUse(false));
  ASSIGN_OR_RETURN(const CheckpointResult result,
                   Checkpoint(Database::Checkpoint::kTruncate, [] { return false; }));
  if (!result.busy) db_.CheckpointOnClose();
  return absl::OkStatus();
}

}  // namespace postrider
