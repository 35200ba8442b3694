#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/outbox/sqlite/database.h"

namespace postrider {

// "PTRD", at offset 68 of the file.
inline constexpr uint32_t kApplicationId = 0x50545244;

// Brings the schema from the version before to its own number; runs in a transaction.
struct Migration {
  int version;
  const char* sql;
};

// All of them, numbered from 1 without gaps. The last one's number is the version that this binary
// knows. One that was released is never changed. What each table is for is said in docs/schema.md.
std::span<const Migration> Migrations();

// Makes `directory`/outbox.db: whole, closed and synced under another name, then renamed, so that
// no half-made file is ever found under its own. `instance`: the data directory's number in ids.
// REQUIRES: there is none, and the directory is locked.
absl::Status CreateDatabase(const std::string& directory, int64_t instance, const std::string& vfs);

// Opens an existing database to read and write, and refuses what cannot be used, leaving every byte
// of it as it was: DATA_LOSS for a file that is not ours or damaged, FAILED_PRECONDITION for a
// schema that is newer than `migrations`. Brings an older schema up to date. Checks the whole
// structure of a file of at most 64 MiB; of a larger one, only what is looked at, since reading it
// all would delay the start. REQUIRES: the directory is locked and no connection to the file is
// open.
absl::StatusOr<Database> OpenDatabase(const std::string& path, const std::string& vfs,
                                      std::span<const Migration> migrations = Migrations());

}  // namespace postrider
