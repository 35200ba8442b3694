#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace postrider {

// The status of a failed SQLite call:
//
//   RESOURCE_EXHAUSTED  the disk is full (also as full_disk.h has it): the transaction can be
//                       rolled back and tried again.
//   ABORTED             another process holds a lock that is needed: the same.
//   DATA_LOSS           the file is corrupt, or no database.
//   UNKNOWN             all else.
//
// `code` is the extended result code.
absl::Status SqliteStatus(int code, const std::string& doing, const std::string& message);

// Bytes that are bound as a BLOB instead of as TEXT.
struct BlobView {
  std::string_view bytes;
};

// A prepared statement. Not thread-safe: it belongs to the thread of its connection, and must be
// destroyed before it.
class Statement {
 public:
  Statement() = default;

  // Binds every parameter, in order. Text and blobs are not copied: they must stay until the
  // statement is reset, which Run does, and Next when it says that there is no row.
  template <typename... Args>
  void Bind(const Args&... args) {
    int i = 0;
    (Put(++i, args), ...);
  }

  // Runs a statement that gives no rows, and resets it.
  absl::Status Run();
  // Goes to the next row. False, and reset, when there is none; also reset after an error.
  absl::StatusOr<bool> Next();
  void Reset();

  // Of the row that Next went to. Views are good until the next call of Next or Reset.
  int64_t Int(int column) const;
  double Real(int column) const;
  bool IsNull(int column) const;
  std::string_view Bytes(int column) const;

 private:
  friend class Database;
  struct Finalizer {
    void operator()(sqlite3_stmt* stmt) const;
  };

  void Put(int i, int64_t value);
  void Put(int i, int value) { Put(i, int64_t{value}); }
  void Put(int i, bool value) { Put(i, int64_t{value}); }
  void Put(int i, double value);
  void Put(int i, std::string_view text);
  void Put(int i, const std::string& text) { Put(i, std::string_view(text)); }
  void Put(int i, BlobView blob);
  void Put(int i, std::nullopt_t);
  template <typename E>
  requires std::is_enum_v<E>
  void Put(int i, E value) { Put(i, static_cast<int64_t>(value)); }
  template <typename T>
  void Put(int i, const std::optional<T>& value) {
    value ? Put(i, *value) : Put(i, std::nullopt);
  }
  absl::Status Error(int code) const;

  std::unique_ptr<sqlite3_stmt, Finalizer> stmt_;
};

// Resets a statement that may be left in the middle of its rows, so that its read transaction ends.
class ResetOnExit {
 public:
  explicit ResetOnExit(Statement& statement) : statement_(statement) {}
  ~ResetOnExit() { statement_.Reset(); }
  ResetOnExit(const ResetOnExit&) = delete;
  ResetOnExit& operator=(const ResetOnExit&) = delete;

 private:
  Statement& statement_;
};

// What a checkpoint did.
struct CheckpointResult {
  // A reader or writer kept it from its end.
  bool busy = false;
  int wal_pages = 0;
  int checkpointed_pages = 0;
};

// A connection. Not thread-safe: one thread at a time. On close it never checkpoints, unless
// CheckpointOnClose was called.
class Database {
 public:
  enum class Mode { kReadOnly, kReadWrite, kCreate };
  enum class Checkpoint { kPassive, kRestart, kTruncate };

  // `vfs`: the name of a registered SQLite VFS, empty for the default one.
  static absl::StatusOr<Database> Open(const std::string& path, Mode mode, const std::string& vfs);

  // Runs one or more statements without parameters.
  absl::Status Exec(const std::string& sql);
  absl::StatusOr<Statement> Prepare(const std::string& sql);
  // The first column of the only row.
  absl::StatusOr<int64_t> Int(const std::string& sql);
  absl::StatusOr<std::string> Text(const std::string& sql);

  // Rolls back what is open, if anything is: SQLite does so itself after some errors.
  absl::Status Rollback();
  // Called when another connection stands in the way; false gives up. Not kept.
  using OnBusy = absl::FunctionRef<bool()>;
  // Waits for others as long as `on_busy` says so. kPassive waits for nobody.
  absl::StatusOr<CheckpointResult> RunCheckpoint(Checkpoint mode, OnBusy on_busy);
  void CheckpointOnClose();

  // Rows that the last INSERT, UPDATE or DELETE changed.
  int64_t Changes() const;
  int64_t LastInsertId() const;
  sqlite3* handle() const { return db_.get(); }

 private:
  struct Closer {
    void operator()(sqlite3* db) const;
  };
  absl::Status Error(const std::string& doing) const;

  std::unique_ptr<sqlite3, Closer> db_;
};

}  // namespace postrider
