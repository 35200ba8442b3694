#include "src/outbox/sqlite/log_vfs.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "src/outbox/sqlite/database.h"
#include "tests/outbox/sqlite/fault_vfs.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

constexpr int kSyncFlags = SQLITE_SYNC_NORMAL;
// The most that is kept.
constexpr int kMaxKept = 1 << 20;

// A file that is opened through a VFS as SQLite does.
class File {
 public:
  File(const std::string& vfs_name, std::string path, int kind)
      : vfs_(sqlite3_vfs_find(vfs_name.c_str())), path_(std::move(path)) {
    memory_.resize(static_cast<size_t>(vfs_->szOsFile) / sizeof(int64_t) + 1);
    int flags = 0;
    EXPECT_EQ(vfs_->xOpen(vfs_, path_.c_str(), file(),
                          kind | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &flags),
              SQLITE_OK);
  }
  ~File() {
    if (file()->pMethods != nullptr) Close();
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int Write(const std::string& bytes, sqlite3_int64 at) {
    return methods().xWrite(file(), bytes.data(), static_cast<int>(bytes.size()), at);
  }
  int Sync() { return methods().xSync(file(), kSyncFlags); }
  int Truncate(sqlite3_int64 size) { return methods().xTruncate(file(), size); }
  int Size(sqlite3_int64* size) { return methods().xFileSize(file(), size); }
  std::string Read(int size, sqlite3_int64 at) {
    std::string bytes(static_cast<size_t>(size), '\0');
    const int code = methods().xRead(file(), bytes.data(), size, at);
    EXPECT_TRUE(code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ) << code;
    return bytes;
  }
  int ReadCode(int size, sqlite3_int64 at) {
    std::string bytes(static_cast<size_t>(size), '\0');
    return methods().xRead(file(), bytes.data(), size, at);
  }
  int Close() {
    const int code = methods().xClose(file());
    file()->pMethods = nullptr;
    return code;
  }

  // As everybody else sees it.
  std::string OnDisk() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  sqlite3_file* file() { return reinterpret_cast<sqlite3_file*>(memory_.data()); }
  const sqlite3_io_methods& methods() { return *file()->pMethods; }

  sqlite3_vfs* const vfs_;
  const std::string path_;
  std::vector<int64_t> memory_;
};

class LogVfsTest : public testing::Test {
 protected:
  ScratchDir dir_;
  const std::string vfs_ = LogVfs(FaultVfs::Register());
  // SQLite gives the log the mode of its database.
  File database_{vfs_, dir_.File("outbox.db"), SQLITE_OPEN_MAIN_DB};
  File log_{vfs_, dir_.File("outbox.db-wal"), SQLITE_OPEN_WAL};
};

TEST_F(LogVfsTest, AppendedBytesAreWrittenByTheSync) {
  EXPECT_EQ(log_.Write("head", 0), SQLITE_OK);
  EXPECT_EQ(log_.Write("page", 4), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "");
  EXPECT_EQ(log_.Sync(), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "headpage");
  // The log begins anew.
  EXPECT_EQ(log_.Write("HEAD", 0), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "headpage");
  EXPECT_EQ(log_.Sync(), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "HEADpage");
}

TEST_F(LogVfsTest, OtherFilesAreWrittenAtOnce) {
  EXPECT_EQ(database_.Write("page", 0), SQLITE_OK);
  EXPECT_EQ(database_.OnDisk(), "page");
}

TEST_F(LogVfsTest, TheWriterReadsWhatItHasWritten) {
  EXPECT_EQ(log_.Write("0123456789", 0), SQLITE_OK);
  EXPECT_EQ(log_.Read(4, 3), "3456");
  EXPECT_EQ(log_.Write("ab", 10), SQLITE_OK);
  // Beside what is kept.
  EXPECT_EQ(log_.Read(10, 0), "0123456789");
  EXPECT_EQ(log_.OnDisk(), "0123456789");
  EXPECT_EQ(log_.Read(2, 9), "9a");
  EXPECT_EQ(log_.OnDisk(), "0123456789ab");
}

TEST_F(LogVfsTest, WhatWasKeptCanBeWrittenAgain) {
  EXPECT_EQ(log_.Write("0123456789", 0), SQLITE_OK);
  EXPECT_EQ(log_.Write("xy", 4), SQLITE_OK);
  EXPECT_EQ(log_.Write("z!", 9), SQLITE_OK);
  EXPECT_EQ(log_.Sync(), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "0123xy678z!");
}

TEST_F(LogVfsTest, AFullDiskIsToldByTheSyncAndForgotten) {
  EXPECT_EQ(log_.Write("gone", 0), SQLITE_OK);
  FaultVfs::FailWalWrites(true);
  EXPECT_EQ(log_.Sync(), SQLITE_FULL);
  FaultVfs::FailWalWrites(false);
  EXPECT_EQ(log_.Sync(), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "");
  EXPECT_EQ(log_.Write("new", 0), SQLITE_OK);
  EXPECT_EQ(log_.Sync(), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "new");
}

TEST_F(LogVfsTest, EveryCallThatNeedsTheBytesTellsThatTheyCouldNotBeWritten) {
  sqlite3_int64 size = 0;
  for (const auto& call : std::vector<std::function<int()>>{
           [&] { return log_.Write("elsewhere", 1000); },
           [&] { return log_.Write(std::string(kMaxKept, 'x'), 4); },
           [&] { return log_.Truncate(2); }, [&] { return log_.Size(&size); },
           [&] { return log_.Close(); }}) {
    EXPECT_EQ(log_.Write("kept", 0), SQLITE_OK);
    FaultVfs::FailWalWrites(true);
    EXPECT_EQ(call(), SQLITE_FULL);
    FaultVfs::FailWalWrites(false);
  }
  EXPECT_EQ(log_.OnDisk(), "");
}

TEST_F(LogVfsTest, AReadThatCannotWriteLosesNothing) {
  EXPECT_EQ(log_.Write("kept", 0), SQLITE_OK);
  FaultVfs::FailWalWrites(true);
  EXPECT_EQ(log_.ReadCode(4, 0), SQLITE_FULL);
  EXPECT_EQ(log_.Sync(), SQLITE_FULL);
  FaultVfs::FailWalWrites(false);
  EXPECT_EQ(log_.Write("kept", 0), SQLITE_OK);
  FaultVfs::FailWalWrites(true);
  EXPECT_EQ(log_.ReadCode(4, 0), SQLITE_FULL);
  FaultVfs::FailWalWrites(false);
  EXPECT_EQ(log_.Sync(), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "kept");
}

// SQLite itself, with transactions that are larger than its cache.
TEST(LogVfsSqliteTest, AnotherConnectionReadsWhatWasCommittedAndNothingElse) {
  const ScratchDir dir;
  const std::string path = dir.File("outbox.db");
  auto writer = Database::Open(path, Database::Mode::kCreate, LogVfs(""));
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Exec("PRAGMA synchronous = FULL; PRAGMA cache_size = 10").ok());
  ASSERT_EQ(writer->Text("PRAGMA journal_mode = WAL").value(), "wal");
  ASSERT_TRUE(writer->Exec("CREATE TABLE t (x BLOB)").ok());
  auto reader = Database::Open(path, Database::Mode::kReadOnly, "");
  ASSERT_TRUE(reader.ok()) << reader.status();
  const std::string insert =
      "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
      " INSERT INTO t SELECT randomblob(1000) FROM n;"
      " UPDATE t SET x = randomblob(1000) WHERE rowid % 3 = 0;";
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(writer->Exec(insert).ok());
    EXPECT_EQ(reader->Int("SELECT count(*) FROM t").value(), 2000 * (i - 1));
    ASSERT_TRUE(writer->Rollback().ok());
    ASSERT_TRUE(writer->Exec(insert).ok());
    ASSERT_TRUE(writer->Exec("COMMIT").ok());
    EXPECT_EQ(reader->Int("SELECT count(*) FROM t").value(), 2000 * i);
    EXPECT_EQ(reader->Text("PRAGMA integrity_check").value(), "ok");
    ASSERT_TRUE(writer->RunCheckpoint(Database::Checkpoint::kRestart, [] { return false; }).ok());
  }
}

TEST_F(LogVfsTest, ASyncThatFailsIsTold) {
  EXPECT_EQ(log_.Write("page", 0), SQLITE_OK);
  FaultVfs::FailSyncs(true);
  EXPECT_EQ(log_.Sync(), SQLITE_IOERR_FSYNC);
  FaultVfs::FailSyncs(false);
}

TEST_F(LogVfsTest, TheSizeAndTheEndCountWhatIsKept) {
  EXPECT_EQ(log_.Write("0123456789", 0), SQLITE_OK);
  sqlite3_int64 size = 0;
  EXPECT_EQ(log_.Size(&size), SQLITE_OK);
  EXPECT_EQ(size, 10);
  EXPECT_EQ(log_.Write("ab", 10), SQLITE_OK);
  EXPECT_EQ(log_.Truncate(11), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "0123456789a");
  EXPECT_EQ(log_.Write("left", 11), SQLITE_OK);
  EXPECT_EQ(log_.Close(), SQLITE_OK);
  EXPECT_EQ(log_.OnDisk(), "0123456789aleft");
}

// Whatever is done, in whatever sizes: the file reads as one that is written at once, and is the
// same on disk after a sync.
TEST_F(LogVfsTest, ItIsAFileLikeAnyOther) {
  std::mt19937 random(1);
  const auto below = [&random](int n) {
    return static_cast<int>(random() % static_cast<unsigned>(n));
  };
  std::string model;
  for (int step = 0; step < 300; ++step) {
    const int size = below(20) == 0 ? below(2 * kMaxKept) : below(5000);
    switch (below(10)) {
      case 0:
        ASSERT_EQ(log_.Sync(), SQLITE_OK);
        ASSERT_TRUE(log_.OnDisk() == model) << step;
        break;
      case 1: {
        const int at = below(static_cast<int>(model.size()) + 100);
        std::string expected = model.substr(std::min(static_cast<size_t>(at), model.size()),
                                            static_cast<size_t>(size));
        expected.resize(static_cast<size_t>(size));
        ASSERT_TRUE(log_.Read(size, at) == expected) << step;
        break;
      }
      case 2:
        if (below(10) == 0) {
          const int end = below(static_cast<int>(model.size()) + 1);
          ASSERT_EQ(log_.Truncate(end), SQLITE_OK);
          model.resize(static_cast<size_t>(end));
        }
        break;
      default: {
        // As a rule at the end.
        const bool inside = below(4) == 0;
        const size_t at = inside ? random() % (model.size() + 1) : model.size();
        if (at + static_cast<size_t>(size) > 4 * size_t{kMaxKept}) break;
        const std::string bytes(static_cast<size_t>(size), static_cast<char>('a' + below(26)));
        ASSERT_EQ(log_.Write(bytes, static_cast<sqlite3_int64>(at)), SQLITE_OK);
        if (model.size() < at + bytes.size()) model.resize(at + bytes.size());
        model.replace(at, bytes.size(), bytes);
      }
    }
  }
  ASSERT_EQ(log_.Close(), SQLITE_OK);
  EXPECT_TRUE(log_.OnDisk() == model);
}

}  // namespace
}  // namespace postrider
