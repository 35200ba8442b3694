#include "src/outbox/sqlite/database.h"

#include <sqlite3.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/full_disk.h"
#include "src/outbox/sqlite/page_cache.h"

namespace postrider {
namespace {

constexpr int kBusyTimeoutMs = 5000;

// A wrong index or type of a parameter is our own mistake.
void Check(int code) {
  if (code != SQLITE_OK) std::abort();
}

// A null pointer would bind NULL.
const char* Data(std::string_view bytes) { return bytes.data() != nullptr ? bytes.data() : ""; }

}  // namespace

absl::Status SqliteStatus(int code, const std::string& doing, const std::string& message) {
  const std::string text =
      absl::StrCat(doing, ": ", message, " (SQLite ", code, ", ", sqlite3_errstr(code), ")");
  // The shared memory could not grow: the disk is full as well.
  if (code == SQLITE_IOERR_SHMSIZE) return absl::ResourceExhaustedError(text);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::AbortedError(text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    default:
      return absl::UnknownError(text);
  }
}

// ---- Statement

void Statement::Finalizer::operator()(sqlite3_stmt* stmt) const { sqlite3_finalize(stmt); }

absl::Status Statement::Error(int code) const {
  sqlite3* const db = sqlite3_db_handle(stmt_.get());
  const int extended = sqlite3_extended_errcode(db);
  return SqliteStatus((extended & 0xff) == (code & 0xff) ? extended : code,
                      sqlite3_sql(stmt_.get()), sqlite3_errmsg(db));
}

absl::Status Statement::Run() {
  const int code = sqlite3_step(stmt_.get());
  if (code == SQLITE_DONE || code == SQLITE_ROW) {
    Reset();
    return absl::OkStatus();
  }
  absl::Status status = Error(code);
  Reset();
  return status;
}

absl::StatusOr<bool> Statement::Next() {
  const int code = sqlite3_step(stmt_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    Reset();
    return false;
  }
  absl::Status status = Error(code);
  Reset();
  return status;
}

// Its code repeats what the last step has already said.
void Statement::Reset() { sqlite3_reset(stmt_.get()); }

int64_t Statement::Int(int column) const { return sqlite3_column_int64(stmt_.get(), column); }
double Statement::Real(int column) const { return sqlite3_column_double(stmt_.get(), column); }
bool Statement::IsNull(int column) const {
  return sqlite3_column_type(stmt_.get(), column) == SQLITE_NULL;
}

std::string_view Statement::Bytes(int column) const {
  const void* const data = sqlite3_column_blob(stmt_.get(), column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data),
          static_cast<size_t>(sqlite3_column_bytes(stmt_.get(), column))};
}

void Statement::Put(int i, int64_t value) { Check(sqlite3_bind_int64(stmt_.get(), i, value)); }
void Statement::Put(int i, double value) { Check(sqlite3_bind_double(stmt_.get(), i, value)); }
void Statement::Put(int i, std::nullopt_t) { Check(sqlite3_bind_null(stmt_.get(), i)); }
void Statement::Put(int i, std::string_view text) {
  Check(sqlite3_bind_text64(stmt_.get(), i, Data(text), text.size(), SQLITE_STATIC, SQLITE_UTF8));
}
void Statement::Put(int i, BlobView blob) {
  Check(sqlite3_bind_blob64(stmt_.get(), i, Data(blob.bytes), blob.bytes.size(), SQLITE_STATIC));
}

// ---- Database

void Database::Closer::operator()(sqlite3* db) const {
  // Busy means that a statement outlives its connection.
  Check(sqlite3_close(db));
}

absl::StatusOr<Database> Database::Open(const std::string& path, Mode mode,
                                        const std::string& vfs) {
  InstallPageCache();
  TellEveryFullDisk();
  // One thread at a time uses a connection, so it needs no mutex of its own.
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (mode == Mode::kReadOnly) flags |= SQLITE_OPEN_READONLY;
  if (mode == Mode::kReadWrite) flags |= SQLITE_OPEN_READWRITE;
  if (mode == Mode::kCreate) flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, vfs.empty() ? nullptr : vfs.c_str());
  Database db;
  db.db_.reset(raw);
  if (code != SQLITE_OK) {
    return SqliteStatus(code, absl::StrCat("opening ", path),
                        raw != nullptr ? sqlite3_errmsg(raw) : "out of memory");
  }
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  Check(sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr));
  return db;
}

absl::Status Database::Error(const std::string& doing) const {
  return SqliteStatus(sqlite3_extended_errcode(db_.get()), doing, sqlite3_errmsg(db_.get()));
}

absl::Status Database::Exec(const std::string& sql) {
  if (sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return Error(sql.substr(0, 80));
  }
  return absl::OkStatus();
}

absl::StatusOr<Statement> Database::Prepare(const std::string& sql) {
  Statement statement;
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  statement.stmt_.reset(raw);
  if (code != SQLITE_OK) return Error(sql);
  return statement;
}

absl::StatusOr<int64_t> Database::Int(const std::string& sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool row, statement.Next());
  if (!row) return absl::UnknownError(absl::StrCat(sql, ": gave no row"));
  return statement.Int(0);
}

absl::StatusOr<std::string> Database::Text(const std::string& sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool row, statement.Next());
  if (!row) return absl::UnknownError(absl::StrCat(sql, ": gave no row"));
  return std::string(statement.Bytes(0));
}

absl::Status Database::Rollback() {
  if (sqlite3_get_autocommit(db_.get()) != 0) return absl::OkStatus();
  return Exec("ROLLBACK");
}

absl::StatusOr<CheckpointResult> Database::RunCheckpoint(Checkpoint mode, OnBusy on_busy) {
  int how = SQLITE_CHECKPOINT_PASSIVE;
  if (mode == Checkpoint::kRestart) how = SQLITE_CHECKPOINT_RESTART;
  if (mode == Checkpoint::kTruncate) how = SQLITE_CHECKPOINT_TRUNCATE;
  CheckpointResult result;
  Check(sqlite3_busy_handler(
      db_.get(), [](void* waits, int) { return (*static_cast<OnBusy*>(waits))() ? 1 : 0; },
      &on_busy));
  const int code = sqlite3_wal_checkpoint_v2(db_.get(), "main", how, &result.wal_pages,
                                             &result.checkpointed_pages);
  // It takes the other handler's place.
  Check(sqlite3_busy_timeout(db_.get(), kBusyTimeoutMs));
  if ((code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED) {
    result.busy = true;
  } else if (code != SQLITE_OK) {
    return Error("checkpoint");
  }
  if (result.checkpointed_pages < result.wal_pages) result.busy = true;
  return result;
}

void Database::CheckpointOnClose() {
  Check(sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr));
}

int64_t Database::Changes() const { return sqlite3_changes64(db_.get()); }
int64_t Database::LastInsertId() const { return sqlite3_last_insert_rowid(db_.get()); }

}  // namespace postrider
