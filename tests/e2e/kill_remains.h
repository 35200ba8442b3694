#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "src/base/ids.h"
#include "tests/support/scratch_dir.h"

// What a server that was killed left on disk.

namespace postrider::kill {

// A delivery by its webhook's name and its notification's id.
using DeliveryName = std::pair<std::string, std::string>;

struct Remains {
  std::string integrity;
  std::set<std::string> notifications;
  std::set<DeliveryName> pending;
};

inline std::vector<std::vector<std::string>> Query(sqlite3* db, const char* sql) {
  std::vector<std::vector<std::string>> rows;
  const auto take = [](void* to, int count, char** values, char**) {
    auto& row = static_cast<std::vector<std::vector<std::string>>*>(to)->emplace_back();
    for (int i = 0; i < count; ++i) row.emplace_back(values[i] == nullptr ? "" : values[i]);
    return 0;
  };
  char* error = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql, take, &rows, &error), SQLITE_OK) << sql << ": " << error;
  sqlite3_free(error);
  return rows;
}

inline int64_t Number(const std::string& text) {
  int64_t number = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << text;
  return number;
}

// Looks at a copy: opening the file itself would let SQLite repair what the next start shall find.
inline Remains Inspect(const std::string& database) {
  const ScratchDir scratch;
  const std::string copy = scratch.File("copy.db");
  std::filesystem::copy_file(database, copy);
  if (std::filesystem::exists(database + "-wal")) {
    std::filesystem::copy_file(database + "-wal", copy + "-wal");
  }
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(copy.c_str(), &db), SQLITE_OK);
  Remains remains;
  for (const auto& row : Query(db, "PRAGMA integrity_check")) {
    absl::StrAppend(&remains.integrity, remains.integrity.empty() ? "" : "\n", row[0]);
  }
  const auto meta = Query(db, "SELECT instance FROM meta");
  if (meta.size() == 1) {
    const IdCodec ids(static_cast<uint64_t>(Number(meta[0][0])));
    for (const auto& row : Query(db, "SELECT id FROM notification")) {
      remains.notifications.insert(ids.Format(NotificationId{Number(row[0])}));
    }
    for (const auto& row : Query(db,
                                 "SELECT w.name, d.notification_id FROM delivery d JOIN webhook w"
                                 " ON w.id = d.webhook_id WHERE d.state = 0")) {
      remains.pending.emplace(row[0], ids.Format(NotificationId{Number(row[1])}));
    }
  } else {
    ADD_FAILURE() << "meta has " << meta.size() << " rows";
  }
  sqlite3_close(db);
  return remains;
}

}  // namespace postrider::kill
