#include <signal.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/base/mutex.h"
#include "src/outbox/sqlite/data_dir.h"
#include "src/outbox/sqlite/full_disk.h"
#include "src/outbox/sqlite/schema.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/fault_vfs.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

using testing::HasSubstr;

class SqliteFailureTest : public testing::Test {
 protected:
  SqliteFailureTest() {
    options_ = TestOptions(dir_.path());
    options_.vfs = FaultVfs::Register();
    Reopen();
  }
  ~SqliteFailureTest() override {
    FaultVfs::Register();
    outbox_.reset();
  }

  void Reopen() {
    outbox_.reset();
    auto opened = SqliteOutbox::Open(options_, clock_, nullptr, [this](absl::Status status) {
      fatal_status_ = std::move(status);
      fatal_.Set();
    });
    ASSERT_TRUE(opened.ok()) << opened.status();
    outbox_ = *std::move(opened);
  }

  int Owed(WebhookId webhook) { return static_cast<int>(ReadOwed(*outbox_, webhook)->rows.size()); }

  ScratchDir dir_;
  FakeClock clock_;
  SqliteOutboxOptions options_;
  Event fatal_;
  absl::Status fatal_status_;
  std::unique_ptr<SqliteOutbox> outbox_;
};

TEST_F(SqliteFailureTest, ATransactionIsWrittenToTheLogTogether) {
  ASSERT_TRUE(PutWebhook(*outbox_, "hook").ok());
  // The log begins anew with a write of its own.
  ASSERT_TRUE(PublishOne(*outbox_, "T").ok());
  const int before = FaultVfs::WalWrites();
  ASSERT_TRUE(PublishOne(*outbox_, "T", std::string(200'000, 'x')).ok());
  // Some 50 pages, in parts of 64 KiB.
  EXPECT_LE(FaultVfs::WalWrites() - before, 5);
}

// Debian's SQLite would write each of them as zeros.
TEST_F(SqliteFailureTest, AMigrationDoesNotWriteThePagesThatItFrees) {
  outbox_.reset();
  const std::string path = dir_.File("outbox.db");
  const int version = Migrations().back().version;
  const std::vector<Migration> create = {
      {version + 1,
       "CREATE TABLE large (x BLOB) STRICT;"
       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
       " INSERT INTO large SELECT randomblob(3000) FROM n"}};
  ASSERT_TRUE(OpenDatabase(path, options_.vfs, create).ok());
  const std::vector<Migration> drop = {{version + 1, ""}, {version + 2, "DROP TABLE large"}};
  const int before = FaultVfs::WalWrites();
  ASSERT_TRUE(OpenDatabase(path, options_.vfs, drop).ok());
  EXPECT_LE(FaultVfs::WalWrites() - before, 100);
}

TEST_F(SqliteFailureTest, AFullDiskRefusesAndThenGoesOn) {
  const auto hook = PutWebhook(*outbox_, "hook");
  ASSERT_TRUE(PublishOne(*outbox_, "T", "before").ok());
  const OwedDelivery owed = ReadOwed(*outbox_, hook->id)->rows.at(0);

  FaultVfs::FailWalWrites(true);
  const auto refused = PublishOne(*outbox_, "T", "refused", "key");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("make room"));
  const OutcomeBatch batch{{OutcomeOf(owed, DeliveryState::kDelivered, clock_.Now())}, {}};
  EXPECT_EQ(RecordAll(*outbox_, batch).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(PutWebhook(*outbox_, "other").status().code(), absl::StatusCode::kResourceExhausted);

  FaultVfs::FailWalWrites(false);
  EXPECT_EQ(Owed(hook->id), 1);
  EXPECT_TRUE(RecordAll(*outbox_, batch).ok());
  EXPECT_EQ(Owed(hook->id), 0);
  // The key was not taken by what was refused.
  const auto again = PublishOne(*outbox_, "T", "again", "key");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->duplicate);
  EXPECT_EQ(again->delivery_count, 1);
  EXPECT_FALSE(fatal_.happened());
  EXPECT_EQ(outbox_->metrics().commit_failures.value(), 3u);
  EXPECT_EQ(outbox_->metrics().publishes_refused.value(), 1u);
}

// Outcomes are refused like publishes: nobody calls, and still it must be heard of.
TEST_F(SqliteFailureTest, AFullDiskIsToldWhenItBeginsAndWhenItEnds) {
  Mutex mutex;
  std::vector<OutboxNotice> told;
  options_.on_notice = [&](OutboxNotice notice, int64_t) {
    MutexLock lock(&mutex);
    told.push_back(notice);
  };
  const auto notices = [&] {
    MutexLock lock(&mutex);
    return told;
  };
  Reopen();
  const auto hook = PutWebhook(*outbox_, "hook");
  ASSERT_TRUE(PublishOne(*outbox_, "T").ok());
  const OwedDelivery owed = ReadOwed(*outbox_, hook->id)->rows.at(0);
  const OutcomeBatch batch{{OutcomeOf(owed, DeliveryState::kDelivered, clock_.Now())}, {}};
  FaultVfs::FailWalWrites(true);
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(RecordAll(*outbox_, batch).ok());
  EXPECT_EQ(notices(), std::vector<OutboxNotice>{OutboxNotice::kDiskFull});
  FaultVfs::FailWalWrites(false);
  EXPECT_TRUE(RecordAll(*outbox_, batch).ok());
  EXPECT_EQ(notices().size(), 1u);
  clock_.Advance(absl::Seconds(6));
  EXPECT_TRUE(Eventually([&] { return notices().size() == 2; }));
  EXPECT_EQ(notices().back(), OutboxNotice::kDiskHasRoom);
  outbox_.reset();
}

// The system says EFBIG then, as it says EDQUOT where a quota is used up: neither is a failed disk.
TEST_F(SqliteFailureTest, AFileThatMayNotGrowIsAFullDiskToo) {
  const auto hook = PutWebhook(*outbox_, "hook");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* const handler = signal(SIGXFSZ, SIG_IGN);
  // Less than the log of a large notification.
  const rlimit low{.rlim_cur = size_t{1} << 20, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  const auto refused = PublishOne(*outbox_, "T", std::string(size_t{3} << 20, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
  EXPECT_TRUE(PublishOne(*outbox_, "T", std::string(size_t{3} << 20, 'x')).ok());
  EXPECT_EQ(Owed(hook->id), 1);
  EXPECT_FALSE(fatal_.happened());
}

TEST(FullDiskTest, KnowsWhatIsAFullDisk) {
  EXPECT_EQ(AsFullDisk(EDQUOT), ENOSPC);
  EXPECT_EQ(AsFullDisk(EFBIG), ENOSPC);
  EXPECT_EQ(AsFullDisk(ENOSPC), ENOSPC);
  EXPECT_EQ(AsFullDisk(EIO), EIO);
}

// What is owed can be read, and is delivered as soon as its outcome can be recorded.
TEST_F(SqliteFailureTest, ItStartsOnAFullDisk) {
  const auto hook = PutWebhook(*outbox_, "hook");
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  // The log stays, as after a crash.
  FaultVfs::FailDatabaseWrites(true);
  outbox_.reset();
  ASSERT_TRUE(FileExists(dir_.File("outbox.db-wal")));
  FaultVfs::FailWalWrites(true);
  Reopen();
  EXPECT_EQ(Owed(hook->id), 1);
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kResourceExhausted);
  FaultVfs::FailDatabaseWrites(false);
  FaultVfs::FailWalWrites(false);
  EXPECT_TRUE(PublishOne(*outbox_).ok());
  EXPECT_FALSE(fatal_.happened());
}

TEST_F(SqliteFailureTest, MaintenanceRestsWhileTheDiskIsFull) {
  ASSERT_TRUE(PublishOne(*outbox_, "T", "expires").ok());
  FaultVfs::FailWalWrites(true);
  clock_.Advance(options_.retention + absl::Hours(1));
  const auto& metrics = outbox_->metrics();
  ASSERT_TRUE(Eventually([&] { return metrics.commit_failures.value() > 0; }));
  // After each of these the writer is idle, and would try again.
  constexpr int kCalls = 50;
  for (int i = 0; i < kCalls; ++i) EXPECT_FALSE(PublishOne(*outbox_).ok());
  EXPECT_LE(metrics.commit_failures.value(), kCalls + 1u);
  FaultVfs::FailWalWrites(false);
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(Eventually([&] { return metrics.rows_expired.value() > 0; }));
}

TEST_F(SqliteFailureTest, WhatARollbackTakesBackIsForgottenInMemoryToo) {
  ASSERT_TRUE(PutWebhook(*outbox_, "stays", {"A"}).ok());
  ASSERT_TRUE(PutWebhook(*outbox_, "changes", {"A"}).ok());
  ASSERT_TRUE(PutWebhook(*outbox_, "goes").ok());
  FaultVfs::FailWalWrites(true);
  EXPECT_FALSE(PutWebhook(*outbox_, "changes", {"B"}).ok());
  EXPECT_FALSE(PutWebhook(*outbox_, "new").ok());
  EXPECT_FALSE(PutWebhook(*outbox_, "theirs", {}, "tenant").ok());
  EXPECT_FALSE(DeleteWebhook(*outbox_, "goes").ok());
  FaultVfs::FailWalWrites(false);

  EXPECT_EQ(PublishOne(*outbox_, "A")->delivery_count, 3);
  EXPECT_EQ(PublishOne(*outbox_, "B")->delivery_count, 1);
  EXPECT_EQ(PublishOne(*outbox_, "T", "{}", "", "tenant").status().code(),
            absl::StatusCode::kNotFound);
  // The webhook that was not deleted keeps what is owed to it.
  const auto goes =
      Await<Webhook>([&](auto done) { outbox_->GetWebhook("default", "goes", std::move(done)); });
  ASSERT_TRUE(goes.ok());
  ASSERT_TRUE(Eventually([&] { return outbox_->metrics().queued_writes.value() == 0; }));
  EXPECT_EQ(Owed(goes->id), 2);
  EXPECT_EQ(outbox_->metrics().deliveries_cancelled.value(), 0u);

  EXPECT_TRUE(PutWebhook(*outbox_, "theirs", {}, "tenant").ok());
  EXPECT_EQ(PublishOne(*outbox_, "T", "{}", "", "tenant")->delivery_count, 1);
}

TEST_F(SqliteFailureTest, NumbersAreNotGivenAgainAfterARollback) {
  const auto before = PublishOne(*outbox_);
  FaultVfs::FailWalWrites(true);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(PublishOne(*outbox_).ok());
  FaultVfs::FailWalWrites(false);
  const auto after = PublishOne(*outbox_);
  EXPECT_GT(static_cast<int64_t>(after->id), static_cast<int64_t>(before->id) + 4);
}

TEST_F(SqliteFailureTest, AFailedSyncIsTheEnd) {
  ASSERT_TRUE(PublishOne(*outbox_, "T", "safe", "first").ok());
  FaultVfs::FailSyncs(true);
  const auto unknown = PublishOne(*outbox_, "T", "perhaps", "second");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kUnknown) << unknown.status();
  fatal_.Wait();
  EXPECT_EQ(fatal_status_.code(), absl::StatusCode::kUnknown);
  EXPECT_THAT(std::string(fatal_status_.message()), HasSubstr("restart"));

  // It takes no more, even if the disk seems to be well again.
  FaultVfs::FailSyncs(false);
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(RecordAll(*outbox_, {}).code(), absl::StatusCode::kUnknown);

  Reopen();
  EXPECT_TRUE(PublishOne(*outbox_, "T", "safe", "first")->duplicate);
  EXPECT_TRUE(PublishOne(*outbox_, "T", "perhaps", "second").ok());
}

TEST_F(SqliteFailureTest, ADiskThatFailsMeanwhileAnswersAllThatWait) {
  Event entered, go_on;
  outbox_->ModifyWebhook(
      "default", "hook",
      [&](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
        entered.Set();
        go_on.Wait();
        return std::optional<Webhook>(Webhook{});
      },
      [](auto) {});
  entered.Wait();
  FaultVfs::FailSyncs(true);
  constexpr int kWaiting = 50;
  std::atomic<int> unknown{0};
  for (int i = 0; i < kWaiting; ++i) {
    outbox_->Publish({{"default", "T", std::make_shared<const std::string>("{}"), ""}},
                     [&](auto results) {
                       if (results.status().code() == absl::StatusCode::kUnknown) ++unknown;
                     });
  }
  go_on.Set();
  EXPECT_TRUE(Eventually([&] { return unknown == kWaiting; })) << unknown;
  fatal_.Wait();
}

TEST_F(SqliteFailureTest, ACheckpointOnAFullDiskIsMadeLater) {
  FaultVfs::FailDatabaseWrites(true);
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  EXPECT_TRUE(Eventually([&] { return outbox_->metrics().checkpoint_failures.value() > 0; }));
  EXPECT_TRUE(PublishOne(*outbox_).ok());
  FaultVfs::FailDatabaseWrites(false);
  EXPECT_TRUE(Eventually([&] { return outbox_->metrics().wal_bytes.value() == 0; }));
  EXPECT_FALSE(fatal_.happened());
}

TEST_F(SqliteFailureTest, AtItsBoundOnlyPublishingIsRefused) {
  const auto hook = PutWebhook(*outbox_, "hook");
  options_.max_bytes = 1 << 20;
  Reopen();
  int published = 0;
  absl::StatusOr<Published> last;
  for (; published < 1000; ++published) {
    last = PublishOne(*outbox_, "T", std::string(10000, 'x'));
    if (!last.ok()) break;
  }
  EXPECT_GT(published, 50);
  EXPECT_EQ(last.status().code(), absl::StatusCode::kResourceExhausted) << last.status();
  EXPECT_THAT(std::string(last.status().message()), HasSubstr("bound"));
  EXPECT_EQ(outbox_->metrics().publishes_refused.value(), 1u);

  // What was taken is delivered all the same, and the configuration can be changed.
  OutcomeBatch batch;
  const absl::StatusOr<OwedPage> page = ReadOwed(*outbox_, hook->id);
  for (const OwedDelivery& owed : page->rows) {
    batch.outcomes.push_back(OutcomeOf(owed, DeliveryState::kDelivered, clock_.Now()));
  }
  EXPECT_EQ(batch.outcomes.size(), static_cast<size_t>(published));
  EXPECT_TRUE(RecordAll(*outbox_, batch).ok());
  EXPECT_TRUE(PutWebhook(*outbox_, "other").ok());
  // And there is room again when the old ones have expired.
  clock_.Advance(absl::Hours(24 * 8));
  EXPECT_TRUE(Eventually([&] { return PublishOne(*outbox_).ok(); }));
}

TEST_F(SqliteFailureTest, PublishingIsRefusedWhileTheDiskIsShortOfRoom) {
  options_.min_free_bytes = ~uint64_t{0};
  Reopen();
  const auto refused = PublishOne(*outbox_);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(dir_.path()));
  EXPECT_TRUE(PutWebhook(*outbox_, "hook").ok());
}

}  // namespace
}  // namespace postrider
