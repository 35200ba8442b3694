#include "tools/benchmark/bare_sqlite.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tools/benchmark/backlog.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/row_cloner.h"

namespace postrider::bench {
namespace {

constexpr int kRowsPerCommit = 128;

void Step(sqlite3_stmt* statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) {
    Fail(sqlite3_errmsg(sqlite3_db_handle(statement)));
  }
  sqlite3_reset(statement);
}

}  // namespace

BareSqliteResult RunBareSqlite(const std::string& data_dir, double seconds) {
  const SqlitePtr db = OpenSqlite(DatabasePath(data_dir));
  // The checkpoints come as often as Postrider's, in the middle of the work, and count.
  ExecSqlite(db.get(),
             "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = OFF;"
             "PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;"
             "PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 33554432");
  const StatementPtr begin = PrepareSqlite(db.get(), "BEGIN IMMEDIATE");
  const StatementPtr commit = PrepareSqlite(db.get(), "COMMIT");
  OwedCloner owed(db.get());
  int64_t rows = 0;
  const int64_t start_ns = NowNs();
  const int64_t start_cpu_ns = ThreadCpuNs();
  const int64_t until_ns = start_ns + static_cast<int64_t>(seconds * 1e9);
  int64_t now_ns = start_ns;
  while (now_ns < until_ns) {
    const int64_t time_us = absl::GetCurrentTimeNanos() / 1000;
    Step(begin.get());
    for (int i = 0; i < kRowsPerCommit; ++i) owed.Insert(time_us, 1, "");
    Step(commit.get());
    rows += kRowsPerCommit;
    now_ns = NowNs();
  }
  BareSqliteResult result;
  result.rows_per_second = static_cast<double>(rows) * 1e9 / static_cast<double>(now_ns - start_ns);
  result.cpu_us_per_row =
      static_cast<double>(ThreadCpuNs() - start_cpu_ns) / 1e3 / static_cast<double>(rows);
  return result;
}

}  // namespace postrider::bench
