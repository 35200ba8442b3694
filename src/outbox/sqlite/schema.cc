#include "src/outbox/sqlite/schema.h"

#include <sys/stat.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/data_dir.h"

namespace postrider {
namespace {

// Since this one a file says whether a log belongs to it.
constexpr int kInUseVersion = 3;
constexpr int64_t kMaxQuickCheckBytes = int64_t{64} << 20;

constexpr char kFirstSchema[] = R"sql(
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  instance INTEGER NOT NULL,
  last_notification_id INTEGER NOT NULL,
  last_delivery_id INTEGER NOT NULL
) STRICT;

CREATE TABLE tenant (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO tenant (id, name) VALUES (1, 'default');

CREATE TABLE webhook (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant_id INTEGER NOT NULL REFERENCES tenant (id),
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  initial_backoff_us INTEGER NOT NULL,
  backoff_multiplier REAL NOT NULL,
  max_backoff_us INTEGER NOT NULL,
  max_age_us INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  timeout_us INTEGER NOT NULL,
  max_concurrency INTEGER NOT NULL,
  rate_per_second REAL NOT NULL,
  rate_burst INTEGER NOT NULL,
  delivery_order INTEGER NOT NULL,
  validation_state INTEGER NOT NULL,
  disabled_reason TEXT NOT NULL,
  failing_since_us INTEGER,
  create_us INTEGER NOT NULL,
  update_us INTEGER NOT NULL,
  version INTEGER NOT NULL,
  deleted_us INTEGER
) STRICT;
CREATE UNIQUE INDEX webhook_by_name ON webhook (tenant_id, name) WHERE deleted_us IS NULL;
CREATE INDEX webhook_deleted ON webhook (deleted_us) WHERE deleted_us IS NOT NULL;

CREATE TABLE webhook_header (
  webhook_id INTEGER NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  sensitive INTEGER NOT NULL,
  PRIMARY KEY (webhook_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_type (
  webhook_id INTEGER NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  type TEXT NOT NULL,
  PRIMARY KEY (webhook_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook_secret (
  webhook_id INTEGER NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  key BLOB NOT NULL,
  expires_us INTEGER,
  PRIMARY KEY (webhook_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE notification (
  id INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  create_us INTEGER NOT NULL,
  first_delivery_id INTEGER,
  delivery_count INTEGER NOT NULL,
  type TEXT NOT NULL,
  idempotency_key TEXT,
  body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX notification_by_key ON notification (tenant_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL;

CREATE TABLE delivery (
  id INTEGER PRIMARY KEY,
  webhook_id INTEGER NOT NULL,
  notification_id INTEGER NOT NULL,
  state INTEGER NOT NULL,
  due_us INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  budget_attempts INTEGER NOT NULL,
  budget_start_us INTEGER,
  end_us INTEGER,
  last_http_status INTEGER NOT NULL,
  success_start_us INTEGER,
  success_latency_us INTEGER
) STRICT;
CREATE INDEX delivery_owed ON delivery (webhook_id, due_us) WHERE state = 0;
CREATE INDEX delivery_by_webhook ON delivery (webhook_id, id);

CREATE TABLE attempt (
  delivery_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  start_us INTEGER NOT NULL,
  latency_us INTEGER NOT NULL,
  http_status INTEGER NOT NULL,
  error TEXT NOT NULL,
  response_body BLOB NOT NULL,
  PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;
)sql";

constexpr char kSpans[] = R"sql(
DROP INDEX delivery_by_webhook;
CREATE TABLE delivery_span (
  last_id INTEGER PRIMARY KEY,
  webhooks BLOB NOT NULL
) STRICT;
-- A deleted webhook is at least as young as its deliveries, also where the clock was set back.
UPDATE webhook
SET deleted_us = max(deleted_us, (SELECT ifnull(max(id), 0) >> 20 FROM delivery) * 1000)
WHERE deleted_us IS NOT NULL;
)sql";

constexpr char kVersion3[] = R"sql(
-- 1 while a write-ahead log belongs to the file.
ALTER TABLE meta ADD COLUMN in_use INTEGER NOT NULL DEFAULT 0;
-- How far the wall clock was set since the process began that has the file.
ALTER TABLE meta ADD COLUMN clock_offset_us INTEGER NOT NULL DEFAULT 0;

CREATE TABLE id_epoch (
  first_id INTEGER PRIMARY KEY,
  ahead_ms INTEGER NOT NULL
) STRICT;

ALTER TABLE delivery ADD COLUMN end_reason INTEGER NOT NULL DEFAULT 0;

ALTER TABLE webhook ADD COLUMN max_probe_interval_us INTEGER NOT NULL DEFAULT 60000000;
ALTER TABLE webhook ADD COLUMN disabled_us INTEGER;
ALTER TABLE webhook ADD COLUMN last_delivery_id INTEGER;
-- Nobody knows since when; so it is from now on.
UPDATE webhook SET disabled_us = unixepoch() * 1000000 WHERE enabled = 0 AND deleted_us IS NULL;
-- Until now it was said by the time: see version 2.
UPDATE webhook SET last_delivery_id = (deleted_us / 1000 + 1) << 20 WHERE deleted_us IS NOT NULL;

CREATE TABLE attempt_room (
  tenant_id INTEGER PRIMARY KEY,
  record_bytes INTEGER NOT NULL,
  body_bytes INTEGER NOT NULL,
  -- The attempts up to this one have no body any more.
  last_bare INTEGER NOT NULL
) STRICT;
CREATE TABLE attempt_age (
  tenant_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  delivery_id INTEGER NOT NULL,
  number INTEGER NOT NULL,
  record_bytes INTEGER NOT NULL,
  body_bytes INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, sequence)
) STRICT, WITHOUT ROWID;
)sql";

constexpr Migration kMigrations[] = {
    {1, kFirstSchema},
    {2, kSpans},
    {3, kVersion3},
};

absl::Status Apply(Database& db, const Migration& migration) {
  RETURN_IF_ERROR(db.Exec("BEGIN IMMEDIATE"));
  absl::Status status = db.Exec(migration.sql);
  if (status.ok()) status = db.Exec(absl::StrCat("PRAGMA user_version = ", migration.version));
  if (status.ok()) status = db.Exec("COMMIT");
  if (status.ok()) return status;
  RETURN_IF_ERROR(db.Rollback());
  return absl::Status(status.code(), absl::StrCat("bringing the schema to version ",
                                                  migration.version, ": ", status.message()));
}

absl::Status Fill(const std::string& path, int64_t instance, const std::string& vfs) {
  ASSIGN_OR_RETURN(Database db, Database::Open(path, Database::Mode::kCreate, vfs));
  if (chmod(path.c_str(), 0600) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("setting the mode of ", path));
  }
  RETURN_IF_ERROR(
      db.Exec(absl::StrCat("PRAGMA page_size = 4096;", "PRAGMA auto_vacuum = INCREMENTAL;",
                           "PRAGMA application_id = ", kApplicationId)));
  for (const Migration& migration : Migrations()) RETURN_IF_ERROR(Apply(db, migration));
  RETURN_IF_ERROR(db.Exec(
      absl::StrCat("INSERT INTO meta (id, instance, last_notification_id, last_delivery_id)"
                   " VALUES (1, ",
                   instance, ", 0, 0)")));
  RETURN_IF_ERROR(db.Exec("PRAGMA journal_mode = WAL"));
  db.CheckpointOnClose();
  return absl::OkStatus();
}

// OK when the file can be used by this binary. Changes nothing.
absl::Status CheckUsable(Database& db, const std::string& path, int known_version, bool has_log) {
  ASSIGN_OR_RETURN(const int64_t version, db.Int("PRAGMA user_version"));
  if (version > known_version) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " has schema version ", version, ", but this binary knows versions up to ",
        known_version, ": use the newer binary that wrote it; the file was left as it is"));
  }
  if (version >= kInUseVersion && !has_log) {
    ASSIGN_OR_RETURN(const int64_t in_use, db.Int("SELECT in_use FROM meta"));
    if (in_use != 0) {
      return absl::DataLossError(absl::StrCat(
          "its last server was not stopped in good order, and its write-ahead log ", path,
          "-wal is missing, in which may be what was acknowledged last (if another program, such "
          "as sqlite3, has opened the file since then, nothing is missing; to start with what is "
          "there, make an empty ", path, "-wal as the user that the server runs as)"));
    }
  }
  ASSIGN_OR_RETURN(const int64_t pages, db.Int("PRAGMA page_count"));
  ASSIGN_OR_RETURN(const int64_t page_size, db.Int("PRAGMA page_size"));
  if (pages * page_size > kMaxQuickCheckBytes) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string verdict, db.Text("PRAGMA quick_check(1)"));
  if (verdict != "ok") return absl::DataLossError(verdict);
  return absl::OkStatus();
}

}  // namespace

std::span<const Migration> Migrations() { return kMigrations; }

absl::Status CreateDatabase(const std::string& directory, int64_t instance,
                            const std::string& vfs) {
  const std::string path = directory + "/outbox.db";
  if (FileExists(path + "-wal")) {
    return absl::DataLossError(absl::StrCat(
        path, " is missing, but its write-ahead log ", path,
        "-wal is there: restore both from a backup, or move the log away to begin anew"));
  }
  const std::string half = directory + "/outbox.db.new";
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    RETURN_IF_ERROR(RemoveFile(half + suffix));
  }
  RETURN_IF_ERROR(Fill(half, instance, vfs));
  RETURN_IF_ERROR(SyncPath(half));
  if (rename(half.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("renaming ", half, " to ", path));
  }
  return SyncPath(directory);
}

absl::StatusOr<Database> OpenDatabase(const std::string& path, const std::string& vfs,
                                      std::span<const Migration> migrations) {
  RETURN_IF_ERROR(CheckDatabaseHeader(path));
  const bool had_wal = FileExists(path + "-wal");
  const bool had_shm = FileExists(path + "-shm");
  absl::Status status;
  {
    ASSIGN_OR_RETURN(Database db, Database::Open(path, Database::Mode::kReadWrite, vfs));
    status = CheckUsable(db, path, migrations.back().version, had_wal);
    if (status.ok()) {
      ASSIGN_OR_RETURN(const int64_t version, db.Int("PRAGMA user_version"));
      // Else each page that a migration frees is written once more, as zeros: Debian's SQLite has
      // secure_delete on.
      RETURN_IF_ERROR(db.Exec("PRAGMA secure_delete = OFF; PRAGMA cache_size = -65536"));
      for (const Migration& migration : migrations) {
        if (migration.version > version) RETURN_IF_ERROR(Apply(db, migration));
      }
      return db;
    }
  }
  // Refused: the look at it has made these.
  if (!had_wal) RETURN_IF_ERROR(RemoveFile(path + "-wal"));
  if (!had_shm) RETURN_IF_ERROR(RemoveFile(path + "-shm"));
  if (status.code() != absl::StatusCode::kDataLoss) return status;
  return absl::DataLossError(absl::StrCat(
      path, " is damaged: ", status.message(),
      "; it was left as it is: restore it from a backup, or name another data ", "directory"));
}

}  // namespace postrider
