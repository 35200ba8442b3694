#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace postrider::bench {

struct SqliteCloser {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using SqlitePtr = std::unique_ptr<sqlite3, SqliteCloser>;
using StatementPtr = std::unique_ptr<sqlite3_stmt, SqliteCloser>;

// Opens a database that is there. Fails when it cannot, as does all that is below.
SqlitePtr OpenSqlite(const std::string& path);
void ExecSqlite(sqlite3* db, const std::string& sql);
int64_t IntFromSqlite(sqlite3* db, const std::string& sql);
StatementPtr PrepareSqlite(sqlite3* db, const std::string& sql);

// Inserts copies of a row that Postrider itself has written, with other values in a few columns. So
// what the bench puts into a database is by construction what the server would have put there, and
// the bench knows next to nothing of the schema. All values stay bound between two inserts: nothing
// but what differs is bound again.
class RowCloner {
 public:
  // Of the only row of `table` for which `where` holds.
  RowCloner(sqlite3* db, const std::string& table, const std::string& where);

  // The place of a column, for Set.
  int Column(const std::string& name) const;
  void Set(int column, int64_t value);
  // The text must stay until the next Set or Insert.
  void Set(int column, const std::string& text);
  void Insert();

 private:
  sqlite3* const db_;
  const std::string table_;
  std::vector<std::string> names_;
  StatementPtr insert_;
};

// Numbers rows as Postrider does: the milliseconds in the upper bits, a count in the lower 20.
class RowNumbers {
 public:
  // `last`: the greatest number that is in use.
  explicit RowNumbers(int64_t last) : last_(last) {}
  int64_t Next(int64_t time_us);

 private:
  int64_t last_;
};

}  // namespace postrider::bench
