#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/base/mutex.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/file_identity.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scratch_dir.h"

// What others do to the data directory of an outbox that runs: they read, lock, move and remove.

namespace postrider {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SqliteOutsideTest : public testing::Test {
 protected:
  SqliteOutsideTest() : options_(TestOptions(dir_.File("data"))) {
    options_.on_notice = [this](OutboxNotice notice, int64_t) {
      MutexLock lock(&mutex_);
      notices_.push_back(notice);
    };
    auto opened = SqliteOutbox::Open(options_, clock_, nullptr, [this](absl::Status status) {
      fatal_status_ = std::move(status);
      fatal_.Set();
    });
    if (!opened.ok()) std::abort();
    outbox_ = *std::move(opened);
  }
  ~SqliteOutsideTest() override { outbox_.reset(); }

  std::string File(const std::string& name) const { return options_.data_directory + "/" + name; }

  std::vector<OutboxNotice> notices() {
    MutexLock lock(&mutex_);
    return notices_;
  }

  // Nothing is acknowledged any more, and the owner is told to end.
  void ExpectTheEnd(const std::string& name) {
    fatal_.Wait();
    EXPECT_EQ(fatal_status_.code(), absl::StatusCode::kDataLoss) << fatal_status_;
    EXPECT_THAT(std::string(fatal_status_.message()), HasSubstr(name));
    EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kUnknown);
  }

  // Mebibytes of notifications.
  void PublishMuch(int mebibytes) {
    const std::string body(size_t{1} << 20, 'x');
    for (int i = 0; i < mebibytes; ++i) ASSERT_TRUE(PublishOne(*outbox_, "T", body).ok());
  }

  ScratchDir dir_;
  FakeClock clock_;
  SqliteOutboxOptions options_;
  Event fatal_;
  absl::Status fatal_status_;
  Mutex mutex_;
  std::vector<OutboxNotice> notices_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<SqliteOutbox> outbox_;
};

// Each commit would wait for five seconds, and the test for its limit of time.
TEST_F(SqliteOutsideTest, AReaderFromOutsideStallsNoCommit) {
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  {
    auto reader = Database::Open(File("outbox.db"), Database::Mode::kReadOnly, "");
    ASSERT_TRUE(reader.ok()) << reader.status();
    auto rows = reader->Prepare("SELECT id FROM notification");
    ASSERT_TRUE(rows.ok());
    ASSERT_TRUE(*rows->Next());
    PublishMuch(80);
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(PublishOne(*outbox_).ok());
      clock_.Advance(absl::Seconds(2));
    }
    EXPECT_GT(outbox_->metrics().wal_bytes.value(), int64_t{80} << 20);
    EXPECT_EQ(outbox_->metrics().log_held.value(), 1);
    EXPECT_THAT(notices(), ElementsAre(OutboxNotice::kLogHeld));
  }
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(Eventually([&] {
    return PublishOne(*outbox_).ok() && outbox_->metrics().log_held.value() == 0;
  }));
  EXPECT_THAT(notices(), ElementsAre(OutboxNotice::kLogHeld, OutboxNotice::kLogFree));
  EXPECT_LT(outbox_->metrics().wal_bytes.value(), int64_t{40} << 20);
  EXPECT_FALSE(fatal_.happened());
}

// As the count of what was owed at the start does, for some seconds.
TEST_F(SqliteOutsideTest, WhileAnOwnReadTakesLongNobodyElseIsBlamed) {
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  Event reading, go_on;
  outbox_->ListDeliveries({"default"}, [&](auto) {
    reading.Set();
    go_on.Wait();
  });
  reading.Wait();
  auto reader = Database::Open(File("outbox.db"), Database::Mode::kReadOnly, "");
  ASSERT_TRUE(reader.ok()) << reader.status();
  auto rows = reader->Prepare("SELECT id FROM notification");
  ASSERT_TRUE(rows.ok());
  ASSERT_TRUE(*rows->Next());
  PublishMuch(80);
  EXPECT_THAT(notices(), IsEmpty());
  go_on.Set();
  EXPECT_TRUE(Eventually([&] {
    clock_.Advance(absl::Seconds(2));
    return PublishOne(*outbox_).ok() && outbox_->metrics().log_held.value() == 1;
  }));
  EXPECT_THAT(notices(), ElementsAre(OutboxNotice::kLogHeld));
}

TEST_F(SqliteOutsideTest, AWriteLockThatIsHeldOutsideIsNoFailedDisk) {
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  {
    auto other = Database::Open(File("outbox.db"), Database::Mode::kReadWrite, "");
    ASSERT_TRUE(other.ok()) << other.status();
    ASSERT_TRUE(other->Exec("BEGIN IMMEDIATE").ok());
    const absl::Status refused = PublishOne(*outbox_).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
    EXPECT_THAT(std::string(refused.message()), AllOf(HasSubstr("another process"),
                                                      HasSubstr("outbox.db")));
    ASSERT_TRUE(other->Rollback().ok());
  }
  EXPECT_THAT(notices(), ElementsAre(OutboxNotice::kWriteLockHeld));
  EXPECT_TRUE(PublishOne(*outbox_).ok());
  EXPECT_FALSE(fatal_.happened());
}

TEST_F(SqliteOutsideTest, ADatabaseThatIsRemovedEndsItBeforeAnythingIsAcknowledged) {
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  std::filesystem::remove(File("outbox.db"));
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kUnknown);
  ExpectTheEnd("outbox.db");
}

TEST_F(SqliteOutsideTest, ADatabaseThatIsReplacedEndsIt) {
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  std::filesystem::copy_file(File("outbox.db"), File("copy"));
  std::filesystem::rename(File("copy"), File("outbox.db"));
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kUnknown);
  ExpectTheEnd("outbox.db");
}

TEST_F(SqliteOutsideTest, ALogThatIsRemovedEndsIt) {
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  std::filesystem::remove(File("outbox.db-wal"));
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kUnknown);
  ExpectTheEnd("outbox.db-wal");
}

// Nothing was NOT_FOUND: the caller's tenant is there.
TEST_F(SqliteOutsideTest, ADirectoryThatIsRemovedEndsIt) {
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  std::filesystem::rename(options_.data_directory, dir_.File("moved"));
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kUnknown);
  ExpectTheEnd("data");
}

TEST_F(SqliteOutsideTest, ALockThatIsRemovedEndsItWhileNobodyCalls) {
  std::filesystem::remove(File("lock"));
  clock_.Advance(absl::Seconds(1));
  ExpectTheEnd("lock");
}

TEST_F(SqliteOutsideTest, ASecondServerIsRefusedThoughTheLockFileWasRemoved) {
  std::filesystem::remove(File("lock"));
  EXPECT_EQ(SqliteOutbox::Open(options_, clock_, nullptr, nullptr).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(FileIdentityTest, TellsWhatIsGoneFromWhatIsAnotherFile) {
  const ScratchDir dir;
  EXPECT_EQ(FileIdentity::Of(dir.File("none")).status().code(), absl::StatusCode::kDataLoss);
  const auto here = FileIdentity::Of(dir.path());
  ASSERT_TRUE(here.ok());
  EXPECT_TRUE(here->Check().ok());
  std::filesystem::rename(dir.path(), dir.path() + ".moved");
  EXPECT_THAT(std::string(here->Check().message()), HasSubstr("was removed"));
  std::filesystem::create_directory(dir.path());
  EXPECT_THAT(std::string(here->Check().message()), HasSubstr("replaced"));
  std::filesystem::remove(dir.path() + ".moved");
}

}  // namespace
}  // namespace postrider
