#pragma once

#include <cstdint>
#include <string>

namespace postrider::bench {

struct BareSqliteResult {
  double rows_per_second = 0;
  double cpu_us_per_row = 0;
};

// SQLite alone: one thread inserts notifications with their deliveries into a data directory's
// database, 128 of them a commit, under the pragmas that Postrider writes with. A row here is the
// two rows of one publish. `data_dir` comes from MakeOneOwed.
BareSqliteResult RunBareSqlite(const std::string& data_dir, double seconds);

}  // namespace postrider::bench
