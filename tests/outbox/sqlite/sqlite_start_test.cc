#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/base/clock.h"
#include "src/outbox/sqlite/data_dir.h"
#include "src/outbox/sqlite/delivery_spans.h"
#include "src/outbox/sqlite/schema.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Every file of the directory but the lock, with its bytes.
std::map<std::string, std::string> Snapshot(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    if (name != "lock") files[name] = ReadFile(entry.path());
  }
  return files;
}

class SqliteStartTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<SqliteOutbox>> Open() {
    return SqliteOutbox::Open(TestOptions(dir_.path()), SystemClock(), nullptr, nullptr);
  }

  // A database with something in it, closed.
  void Fill(int notifications = 50) {
    const auto outbox = OpenOutbox(TestOptions(dir_.path()), SystemClock());
    ASSERT_TRUE(PutWebhook(*outbox, "hook").ok());
    for (int i = 0; i < notifications; ++i) {
      ASSERT_TRUE(PublishOne(*outbox, "T", std::string(2000, 'x')).ok());
    }
  }

  // The start is refused with this, and every byte of the directory is as it was.
  absl::Status ExpectRefused() {
    const auto before = Snapshot(dir_.path());
    const auto outbox = Open();
    EXPECT_FALSE(outbox.ok());
    EXPECT_EQ(Snapshot(dir_.path()), before);
    return outbox.status();
  }

  std::string db() const { return dir_.File("outbox.db"); }
  void Sql(const std::string& sql) {
    auto database = Database::Open(db(), Database::Mode::kReadWrite, "");
    ASSERT_TRUE(database.ok()) << database.status();
    database->CheckpointOnClose();
    ASSERT_TRUE(database->Exec(sql).ok());
  }

  // Leaves the file as version 2 did.
  void UndoVersion3() {
    Sql("ALTER TABLE meta DROP COLUMN in_use;"
        "ALTER TABLE meta DROP COLUMN clock_offset_us;"
        "DROP TABLE id_epoch;"
        "ALTER TABLE delivery DROP COLUMN end_reason;"
        "ALTER TABLE webhook DROP COLUMN max_probe_interval_us;"
        "ALTER TABLE webhook DROP COLUMN disabled_us;"
        "ALTER TABLE webhook DROP COLUMN last_delivery_id;"
        "DROP TABLE attempt_room;"
        "DROP TABLE attempt_age;"
        "PRAGMA user_version = 2");
  }

  ScratchDir dir_;
};

TEST_F(SqliteStartTest, MakesTheDirectoryForItsOwnerAlone) {
  const std::string nested = dir_.File("a/b");
  {
    const auto outbox = OpenOutbox(TestOptions(nested), SystemClock());
    struct stat info;
    ASSERT_EQ(stat(nested.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    ASSERT_EQ(stat((nested + "/outbox.db").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
  }
  // Closed in good order, the log is gone.
  EXPECT_EQ(Snapshot(nested).size(), 1u);
}

TEST_F(SqliteStartTest, ADirectoryThatCannotBeMadeIsNamed) {
  WriteFile(dir_.File("file"), "");
  const auto outbox =
      SqliteOutbox::Open(TestOptions(dir_.File("file/data")), SystemClock(), nullptr, nullptr);
  ASSERT_FALSE(outbox.ok());
  EXPECT_THAT(std::string(outbox.status().message()), HasSubstr("file"));
}

TEST_F(SqliteStartTest, ASecondOneIsRefusedAndToldWhoHoldsTheDirectory) {
  const auto first = Open();
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Open();
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(dir_.path()), HasSubstr(std::to_string(getpid()))));
  // And the first one does not mind.
  EXPECT_TRUE(PublishOne(**first).ok());
}

TEST_F(SqliteStartTest, TheLockEndsWithItsHolder) {
  { ASSERT_TRUE(Open().ok()); }
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteStartTest, OptionsThatMakeNoSense) {
  SqliteOutboxOptions options = TestOptions(dir_.path());
  options.retention = absl::Hours(23);
  EXPECT_EQ(SqliteOutbox::Open(options, SystemClock(), nullptr, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SqliteStartTest, WhatIsNoDatabaseIsRefused) {
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string(8192, 'x')}) {
    WriteFile(db(), bytes);
    const absl::Status status = ExpectRefused();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(db()), HasSubstr("Postrider's")));
  }
}

TEST_F(SqliteStartTest, AnotherProgramsDatabaseIsRefused) {
  {
    auto database = Database::Open(db(), Database::Mode::kCreate, "");
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database->Exec("CREATE TABLE theirs (x)").ok());
  }
  const absl::Status status = ExpectRefused();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(db()), HasSubstr("not Postrider's")));
}

TEST_F(SqliteStartTest, ATruncatedDatabaseIsRefused) {
  Fill();
  const auto size = std::filesystem::file_size(db());
  for (const uintmax_t left : {size - 4096, size - 1, size / 2, uintmax_t{100}, uintmax_t{50}}) {
    std::filesystem::resize_file(db(), left);
    const absl::Status status = ExpectRefused();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << left;
    EXPECT_THAT(std::string(status.message()), HasSubstr(db()));
  }
}

TEST_F(SqliteStartTest, ADamagedDatabaseIsRefused) {
  Fill();
  const std::string whole = ReadFile(db());
  int refused = 0;
  for (size_t page = 1; page + 1 < whole.size() / 4096; page += 3) {
    std::string damaged = whole;
    damaged.replace(page * 4096, 64, 64, '\xa5');
    WriteFile(db(), damaged);
    const auto before = Snapshot(dir_.path());
    const auto outbox = Open();
    if (outbox.ok()) continue;  // an overflow page: only its owner can tell
    ++refused;
    EXPECT_EQ(Snapshot(dir_.path()), before);
    EXPECT_EQ(outbox.status().code(), absl::StatusCode::kDataLoss) << outbox.status();
    EXPECT_THAT(std::string(outbox.status().message()), HasSubstr(db()));
  }
  EXPECT_GT(refused, 3);
}

TEST_F(SqliteStartTest, ANewerSchemaIsRefusedByName) {
  Fill(1);
  Sql("PRAGMA user_version = 4711");
  const absl::Status status = ExpectRefused();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(db()), HasSubstr("4711"), HasSubstr("newer binary"),
                    HasSubstr(std::to_string(Migrations().back().version))));
}

TEST_F(SqliteStartTest, AnOlderSchemaIsBroughtUpToDate) {
  Fill(1);
  const int version = Migrations().back().version;
  const std::vector<Migration> migrations = {
      {version, "this one was applied before"},
      {version + 1, "CREATE TABLE later (x INTEGER) STRICT; INSERT INTO later VALUES (7)"},
      {version + 2, "UPDATE later SET x = x * 6"}};
  auto database = OpenDatabase(db(), "", migrations);
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(database->Int("SELECT x FROM later").value_or(0), 42);
  EXPECT_EQ(database->Int("PRAGMA user_version").value_or(0), version + 2);
  EXPECT_EQ(database->Int("SELECT count(*) FROM notification").value_or(0), 1);
}

TEST_F(SqliteStartTest, AFileWithoutSpansIsBroughtUpToDate) {
  const int notifications = SpanWriter::kDeliveries + 50;
  Fill(notifications);
  UndoVersion3();
  // As version 1 left it, with a webhook that was deleted when the clock was set back.
  Sql("INSERT INTO webhook SELECT id + 1, tenant_id, name, url, 0, initial_backoff_us,"
      " backoff_multiplier, max_backoff_us, max_age_us, max_attempts, timeout_us, max_concurrency,"
      " rate_per_second, rate_burst, delivery_order, validation_state, '', NULL, create_us,"
      " update_us, version, 1 FROM webhook;"
      "DROP TABLE delivery_span;"
      "CREATE INDEX delivery_by_webhook ON delivery (webhook_id, id);"
      "PRAGMA user_version = 1");
  const auto outbox = OpenOutbox(TestOptions(dir_.path()), SystemClock());
  EXPECT_EQ(CountDeliveries(*outbox, "hook").value(), notifications);
  auto read = Database::Open(db(), Database::Mode::kReadOnly, "");
  EXPECT_EQ(read->Int("SELECT deleted_us / 1000 FROM webhook WHERE deleted_us IS NOT NULL").value(),
            read->Int("SELECT max(id) >> 20 FROM delivery").value());
  EXPECT_TRUE(Eventually([&] {
    auto database = Database::Open(db(), Database::Mode::kReadOnly, "");
    return database->Int("SELECT count(*) FROM delivery_span").value_or(-1) == 1;
  }));
}

TEST_F(SqliteStartTest, AFileOfVersion2IsBroughtUpToDate) {
  std::vector<NotificationId> ids;
  {
    const auto outbox = OpenOutbox(TestOptions(dir_.path()), SystemClock());
    ASSERT_TRUE(PutWebhook(*outbox, "hook").ok());
    ASSERT_TRUE(PutWebhook(*outbox, "deleted", {"none"}).ok());
    for (int i = 0; i < 20; ++i) ids.push_back(PublishOne(*outbox)->id);
    const auto owed = ReadOwed(*outbox, WebhookId{1})->rows;
    ASSERT_TRUE(RecordAll(*outbox, {{OutcomeOf(owed[0], DeliveryState::kDead, absl::Now()),
                                     OutcomeOf(owed[1], DeliveryState::kDelivered, absl::Now())},
                                    {}})
                    .ok());
    ASSERT_TRUE(DeleteWebhook(*outbox, "deleted").ok());
  }
  UndoVersion3();
  Sql("UPDATE webhook SET enabled = 0 WHERE name = 'hook'");
  const auto outbox = OpenOutbox(TestOptions(dir_.path()), SystemClock());
  EXPECT_EQ(CountDeliveries(*outbox, "hook").value(), 20);
  EXPECT_EQ(ReadOwed(*outbox, WebhookId{1})->rows.size(), 18u);
  EXPECT_GT(PublishOne(*outbox)->id, ids.back());
  auto read = Database::Open(db(), Database::Mode::kReadOnly, "");
  EXPECT_EQ(read->Int("SELECT end_reason FROM delivery WHERE state = 2").value_or(-1), 0);
  EXPECT_EQ(read->Int("SELECT last_delivery_id > (SELECT max(id) FROM delivery)"
                      " FROM webhook WHERE name = 'deleted'")
                .value_or(-1),
            1);
  // Its deliveries have their age from now on.
  EXPECT_GE(read->Int("SELECT disabled_us FROM webhook WHERE name = 'hook'").value_or(-1),
            absl::ToUnixMicros(absl::Now() - absl::Hours(1)));
}

TEST_F(SqliteStartTest, AMigrationThatFailsLeavesTheSchemaBefore) {
  Fill(1);
  const int version = Migrations().back().version;
  const std::vector<Migration> migrations = {
      {version, ""}, {version + 1, "CREATE TABLE later (x INTEGER) STRICT; no SQL at all"}};
  EXPECT_FALSE(OpenDatabase(db(), "", migrations).ok());
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteStartTest, MigrationsAreNumberedFromOne) {
  int expected = 1;
  for (const Migration& migration : Migrations()) EXPECT_EQ(migration.version, expected++);
}

TEST_F(SqliteStartTest, WhatAnInterruptedCreationLeftIsReplaced) {
  WriteFile(dir_.File("outbox.db.new"), "half");
  WriteFile(dir_.File("outbox.db.new-wal"), "half");
  { ASSERT_TRUE(Open().ok()); }
  EXPECT_EQ(Snapshot(dir_.path()).size(), 1u);
}

// As a backup that lacks the log of a server that was killed.
TEST_F(SqliteStartTest, ADatabaseWhoseLogIsMissingIsRefused) {
  ScratchDir copy;
  {
    const auto outbox = OpenOutbox(TestOptions(dir_.path()), SystemClock());
    ASSERT_TRUE(PutWebhook(*outbox, "hook").ok());
    ASSERT_TRUE(PublishOne(*outbox).ok());
    std::filesystem::copy(dir_.path(), copy.path(),
                          std::filesystem::copy_options::overwrite_existing);
  }
  // With its log it is taken; without a log, and closed in good order, too.
  OpenOutbox(TestOptions(copy.path()), SystemClock()).reset();
  ASSERT_FALSE(FileExists(copy.File("outbox.db-wal")));
  {
    const auto outbox = OpenOutbox(TestOptions(copy.path()), SystemClock());
    std::filesystem::copy_file(copy.File("outbox.db"), db(),
                               std::filesystem::copy_options::overwrite_existing);
  }
  const absl::Status status = ExpectRefused();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("outbox.db-wal is missing"));
  // As the sentence says.
  WriteFile(dir_.File("outbox.db-wal"), "");
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteStartTest, ALogWithoutItsDatabaseIsRefused) {
  WriteFile(dir_.File("outbox.db-wal"), "precious");
  const absl::Status status = ExpectRefused();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("outbox.db-wal"));
}

}  // namespace
}  // namespace postrider
