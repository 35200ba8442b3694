#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

// What becomes of the times of what is owed when the wall clock is set.
class SqliteClockTest : public testing::Test {
 protected:
  SqliteClockTest() : outbox_(OpenOutbox(TestOptions(dir_.path()), clock_)) {}

  // One delivery that has failed and is due in `wait`, and one that was never attempted.
  void Owe(absl::Duration wait) {
    hook_ = PutWebhook(*outbox_, "hook")->id;
    ASSERT_TRUE(PublishOne(*outbox_).ok());
    AttemptOutcome outcome =
        OutcomeOf(ReadOwed(*outbox_, hook_)->rows.at(0), DeliveryState::kPending, clock_.Steady());
    outcome.budget_start = clock_.Steady() - absl::Minutes(5);
    outcome.next_due = clock_.Steady() + wait;
    ASSERT_TRUE(
        RecordAll(*outbox_, {{outcome}, {{hook_, clock_.Steady() - absl::Minutes(5)}}}).ok());
    ASSERT_TRUE(PublishOne(*outbox_).ok());
  }

  void SetClock(absl::Duration by) { clock_.SetWall(clock_.Now() + by); }

  void Restart() {
    outbox_.reset();
    clock_.Restart();
    outbox_ = OpenOutbox(TestOptions(dir_.path()), clock_);
  }

  std::vector<OwedDelivery> Owed() { return ReadOwed(*outbox_, hook_)->rows; }

  absl::Time FailingSince() {
    auto all = Await<std::vector<StartingWebhook>>(
        [&](Outbox::Done<std::vector<StartingWebhook>> done) {
          outbox_->LoadWebhooks(std::move(done));
        });
    return all->at(0).webhook.failing_since;
  }

  ScratchDir dir_;
  FakeClock clock_;
  std::unique_ptr<SqliteOutbox> outbox_;
  WebhookId hook_{};
};

TEST_F(SqliteClockTest, AClockThatWasSetWhileTheServerRanIsPutRightAtTheNextStart) {
  for (const absl::Duration by : {-absl::Hours(1), absl::Hours(24 * 3650)}) {
    if (hook_ != WebhookId{}) {
      ASSERT_TRUE(DeleteWebhook(*outbox_, "hook").ok());
    }
    Owe(absl::Minutes(10));
    SetClock(by);
    const NotificationId fresh = PublishOne(*outbox_)->id;
    std::vector<OwedDelivery> owed = Owed();
    ASSERT_EQ(owed.size(), 3u);
    EXPECT_EQ(owed[1].notification, fresh) << "due at once, like the one before it";
    EXPECT_EQ(owed[1].due, clock_.Steady());
    clock_.Advance(absl::Minutes(2));
    Restart();
    owed = Owed();
    ASSERT_EQ(owed.size(), 3u);
    EXPECT_EQ(owed[2].due - clock_.Now(), absl::Minutes(8));
    EXPECT_EQ(clock_.Now() - owed[2].budget_start, absl::Minutes(7));
    EXPECT_EQ(clock_.Now() - owed[1].due, absl::Minutes(2));
    EXPECT_EQ(owed[1].budget_start, absl::InfiniteFuture());
    EXPECT_EQ(clock_.Now() - FailingSince(), absl::Minutes(7));
    // And only once.
    Restart();
    EXPECT_EQ(Owed()[2].due, owed[2].due);
  }
}

TEST_F(SqliteClockTest, TimesArePutRightOfMoreThanOneSlice) {
  constexpr int kHooks = 60;
  constexpr int kNotifications = 400;
  for (int i = 0; i < kHooks; ++i) {
    ASSERT_TRUE(PutWebhook(*outbox_, "hook-" + std::to_string(i)).ok());
  }
  const std::vector<NewNotification> all(
      kNotifications, {"default", "T", std::make_shared<const std::string>("{}"), ""});
  ASSERT_TRUE(PublishAll(*outbox_, all).ok());
  SetClock(-absl::Hours(1));
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  Restart();
  auto read = Database::Open(dir_.File("outbox.db"), Database::Mode::kReadOnly, "");
  ASSERT_TRUE(read.ok()) << read.status();
  const auto due = [&](const std::string& which) {
    return read->Int("SELECT " + which + "(due_us) FROM delivery WHERE state = 0").value_or(-1);
  };
  EXPECT_EQ(due("count"), kHooks * (kNotifications + 1));
  EXPECT_EQ(due("min"), absl::ToUnixMicros(clock_.Now()));
  EXPECT_EQ(due("max"), absl::ToUnixMicros(clock_.Now()));
}

// The clocks are read at once, not the one before and the other after what takes long.
TEST_F(SqliteClockTest, ALongTransactionIsNoClockThatWasSet) {
  Event committed, looked;
  const auto change = [&](Outbox::Modify modify) {
    outbox_->ModifyWebhook("default", "hook", std::move(modify), [](auto) {});
  };
  change([&](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
    // Maintenance is due at the end of this transaction.
    clock_.Advance(absl::Minutes(20));
    // The next one comes before the writer is idle.
    change([&](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
      committed.Set();
      looked.Wait();
      return absl::CancelledError("was only held");
    });
    return std::optional<Webhook>(Webhook{});
  });
  committed.Wait();
  auto read = Database::Open(dir_.File("outbox.db"), Database::Mode::kReadOnly, "");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->Int("SELECT clock_offset_us FROM meta").value_or(-1), 0);
  looked.Set();
  outbox_.reset();
}

TEST_F(SqliteClockTest, ALongWaitIsNoClockThatWasAhead) {
  // As a receiver may ask for, beyond the longest backoff.
  Owe(absl::Hours(24));
  const std::vector<OwedDelivery> before = Owed();
  Restart();
  EXPECT_EQ(Owed()[1].due, before[1].due);
}

}  // namespace
}  // namespace postrider
