#include "tools/benchmark/row_cloner.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/benchmark/environment.h"

namespace postrider::bench {
namespace {

void Check(sqlite3* db, int code, const std::string& doing) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return;
  Fail(absl::StrCat("SQLite: ", doing, ": ", sqlite3_errmsg(db)));
}

}  // namespace

SqlitePtr OpenSqlite(const std::string& path) {
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  SqlitePtr db(raw);
  Check(raw, code, path);
  return db;
}

void ExecSqlite(sqlite3* db, const std::string& sql) {
  Check(db, sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), sql);
}

int64_t IntFromSqlite(sqlite3* db, const std::string& sql) {
  const StatementPtr statement = PrepareSqlite(db, sql);
  if (sqlite3_step(statement.get()) != SQLITE_ROW) Fail(absl::StrCat("SQLite: no row: ", sql));
  return sqlite3_column_int64(statement.get(), 0);
}

StatementPtr PrepareSqlite(sqlite3* db, const std::string& sql) {
  sqlite3_stmt* raw = nullptr;
  Check(db, sqlite3_prepare_v3(db, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr), sql);
  return StatementPtr(raw);
}

RowCloner::RowCloner(sqlite3* db, const std::string& table, const std::string& where)
    : db_(db), table_(table) {
  const StatementPtr row =
      PrepareSqlite(db, absl::StrCat("SELECT * FROM ", table, " WHERE ", where));
  if (sqlite3_step(row.get()) != SQLITE_ROW) Fail(absl::StrCat("no row to copy: ", table));
  const int columns = sqlite3_column_count(row.get());
  for (int i = 0; i < columns; ++i) names_.emplace_back(sqlite3_column_name(row.get(), i));
  insert_ = PrepareSqlite(
      db, absl::StrCat("INSERT INTO ", table, " (", absl::StrJoin(names_, ", "), ") VALUES (?",
                       absl::StrJoin(std::vector<std::string>(names_.size(), ""), ", ?"), ")"));
  for (int i = 0; i < columns; ++i) {
    Check(db, sqlite3_bind_value(insert_.get(), i + 1, sqlite3_column_value(row.get(), i)), table);
  }
  if (sqlite3_step(row.get()) != SQLITE_DONE) {
    Fail(absl::StrCat("more than one row to copy: ", table));
  }
}

int RowCloner::Column(const std::string& name) const {
  const auto it = std::find(names_.begin(), names_.end(), name);
  if (it == names_.end()) {
    Fail(absl::StrCat("table ", table_, " has no column ", name, " any more: mend the bench"));
  }
  return static_cast<int>(it - names_.begin()) + 1;
}

void RowCloner::Set(int column, int64_t value) {
  Check(db_, sqlite3_bind_int64(insert_.get(), column, value), table_);
}

void RowCloner::Set(int column, const std::string& text) {
  Check(db_,
        sqlite3_bind_text64(insert_.get(), column, text.data(), text.size(), SQLITE_STATIC,
                            SQLITE_UTF8),
        table_);
}

void RowCloner::Insert() {
  Check(db_, sqlite3_step(insert_.get()), table_);
  sqlite3_reset(insert_.get());
}

int64_t RowNumbers::Next(int64_t time_us) {
  last_ = std::max(last_ + 1, time_us / 1000 << 20);
  return last_;
}

}  // namespace postrider::bench
