#include <sqlite3.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "src/base/clock.h"
#include "src/outbox/sqlite/schema.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tools/micro_benchmark/support.h"

// 128 notifications in one transaction, each with one delivery, next to the same rows inserted with
// SQLite alone. Real time, since the outbox has threads of its own and both wait for the disk.

namespace postrider::micro {
namespace {

constexpr int kRows = 128;

// Beside the program, since /tmp may be in memory, where a sync costs nothing.
class ScratchDir {
 public:
  ScratchDir() : path_(std::filesystem::read_symlink("/proc/self/exe").string() + "-XXXXXX") {
    Require(mkdtemp(path_.data()) != nullptr, "there is no directory for the database");
  }
  ~ScratchDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void Publish(benchmark::State& state) {
  const ScratchDir dir;
  SqliteOutboxOptions options;
  options.data_directory = dir.path();
  options.min_free_bytes = 0;
  auto outbox = SqliteOutbox::Open(options, SystemClock(), nullptr, [](const absl::Status& status) {
    Require(false, status.ToString());
  });
  Require(outbox.ok(), outbox.status().ToString());
  std::promise<bool> created;
  std::future<bool> was_created = created.get_future();
  (*outbox)->ModifyWebhook(
      "default", TheWebhook().name,
      [](const std::optional<Webhook>&) { return std::optional(TheWebhook()); },
      [created = std::move(created)](const absl::StatusOr<Webhook>& webhook) mutable {
        created.set_value(webhook.ok());
      });
  Require(was_created.get(), "the webhook cannot be created");

  const std::vector<NewNotification> notifications(
      kRows, {"default", TheHeader().notification_type,
              std::make_shared<const std::string>(TheBody()), ""});
  while (state.KeepRunningBatch(kRows)) {
    std::promise<bool> published;
    std::future<bool> was_published = published.get_future();
    (*outbox)->Publish(
        notifications,
        [published = std::move(published)](
            const absl::StatusOr<std::vector<absl::StatusOr<Published>>>& results) mutable {
          published.set_value(results.ok() && results->back().ok() &&
                              results->back()->delivery_count == 1);
        });
    Require(was_published.get(), "the notifications cannot be published");
  }
}
BENCHMARK(Publish)->Name("outbox/publish")->UseRealTime()->MeasureProcessCPUTime();

class BareStatement {
 public:
  BareStatement(sqlite3* db, const char* sql) : db_(db) {
    Require(sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr) == SQLITE_OK, sqlite3_errmsg(db));
  }
  ~BareStatement() { sqlite3_finalize(statement_); }
  BareStatement(const BareStatement&) = delete;
  BareStatement& operator=(const BareStatement&) = delete;

  sqlite3_stmt* get() const { return statement_; }
  void Run() {
    Require(sqlite3_step(statement_) == SQLITE_DONE, sqlite3_errmsg(db_));
    sqlite3_reset(statement_);
  }

 private:
  sqlite3* const db_;
  sqlite3_stmt* statement_ = nullptr;
};

void BareSqlite(benchmark::State& state) {
  const ScratchDir dir;
  const absl::Status created = CreateDatabase(dir.path(), 1, "");
  Require(created.ok(), created.ToString());
  auto db = OpenDatabase(dir.path() + "/outbox.db", "");
  Require(db.ok(), db.status().ToString());
  // SQLite makes checkpoints by itself, in the middle of the work.
  const absl::Status set_up = db->Exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;"
      "PRAGMA wal_autocheckpoint = 4000");
  Require(set_up.ok(), set_up.ToString());
  BareStatement begin(db->handle(), "BEGIN IMMEDIATE");
  BareStatement commit(db->handle(), "COMMIT");
  BareStatement notification(
      db->handle(),
      "INSERT INTO notification (id, tenant_id, create_us, first_delivery_id, delivery_count, type,"
      " body) VALUES (?, 1, ?, ?, 1, 'RUN_COMPLETED', ?)");
  BareStatement delivery(
      db->handle(),
      "INSERT INTO delivery (id, webhook_id, notification_id, state, due_us, attempts,"
      " budget_attempts, last_http_status) VALUES (?, 1, ?, 0, ?, 0, 0, 0)");
  const std::string& body = TheBody();
  int64_t id = 0;
  while (state.KeepRunningBatch(kRows)) {
    begin.Run();
    for (int i = 0; i < kRows; ++i) {
      const int64_t time_us = absl::ToUnixMicros(SystemClock().Now());
      ++id;
      sqlite3_bind_int64(notification.get(), 1, id);
      sqlite3_bind_int64(notification.get(), 2, time_us);
      sqlite3_bind_int64(notification.get(), 3, id);
      sqlite3_bind_blob(notification.get(), 4, body.data(), static_cast<int>(body.size()),
                        SQLITE_STATIC);
      notification.Run();
      sqlite3_bind_int64(delivery.get(), 1, id);
      sqlite3_bind_int64(delivery.get(), 2, id);
      sqlite3_bind_int64(delivery.get(), 3, time_us);
      delivery.Run();
    }
    commit.Run();
  }
}
BENCHMARK(BareSqlite)->Name("outbox/bare_sqlite")->UseRealTime()->MeasureProcessCPUTime();

}  // namespace
}  // namespace postrider::micro
