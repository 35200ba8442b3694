#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "src/outbox/sqlite/attempt_rows.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/delivery_spans.h"
#include "src/outbox/sqlite/read_session.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

class SqliteMaintenanceTest : public testing::Test {
 protected:
  SqliteMaintenanceTest() : outbox_(OpenOutbox(TestOptions(dir_.path()), clock_)) {}

  int64_t Count(const std::string& table) {
    auto database = Database::Open(dir_.File("outbox.db"), Database::Mode::kReadOnly, "");
    return database->Int("SELECT count(*) FROM " + table).value_or(-1);
  }

  std::vector<absl::StatusOr<Published>> PublishMany(int count, size_t bytes = 100) {
    std::vector<NewNotification> all(
        count, {"default", "T", std::make_shared<const std::string>(bytes, 'x'), ""});
    return *PublishAll(*outbox_, std::move(all));
  }

  void Finish(WebhookId webhook, DeliveryState state) {
    OutcomeBatch batch;
    const absl::StatusOr<OwedPage> page = ReadOwed(*outbox_, webhook);
    for (const OwedDelivery& owed : page->rows) {
      batch.outcomes.push_back(OutcomeOf(owed, state, clock_.Now()));
    }
    ASSERT_TRUE(RecordAll(*outbox_, batch).ok());
  }

  ScratchDir dir_;
  FakeClock clock_;
  std::unique_ptr<SqliteOutbox> outbox_;
};

TEST_F(SqliteMaintenanceTest, WhatIsOldAndFinalExpires) {
  const auto hook = PutWebhook(*outbox_, "hook");
  const auto first = PublishOne(*outbox_, "T", "{}", "key");
  PublishMany(1200);
  Finish(hook->id, DeliveryState::kDead);
  const auto owed = PublishOne(*outbox_, "T", "still owed", "owed");
  clock_.Advance(absl::Hours(24 * 7) - absl::Minutes(10));
  const auto young = PublishOne(*outbox_, "T", "young");
  Finish(hook->id, DeliveryState::kDelivered);
  EXPECT_TRUE(GetNotification(*outbox_, first->id).ok());
  ASSERT_TRUE(PutWebhook(*outbox_, "later").ok());
  const auto pending = PublishOne(*outbox_, "T", "pending");

  clock_.Advance(absl::Minutes(20));
  EXPECT_TRUE(Eventually([&] { return Count("notification") == 2; })) << Count("notification");
  EXPECT_EQ(GetNotification(*outbox_, first->id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetNotification(*outbox_, owed->id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(GetNotification(*outbox_, young->id).ok());
  EXPECT_TRUE(GetNotification(*outbox_, pending->id).ok());
  EXPECT_EQ(Count("delivery"), 3);
  EXPECT_EQ(Count("attempt"), 0);
  // Its key is free again.
  EXPECT_FALSE(PublishOne(*outbox_, "T", "{}", "key")->duplicate);
  EXPECT_GE(outbox_->metrics().rows_expired.value(), 3600u);
}

TEST_F(SqliteMaintenanceTest, WhatIsOwedIsKeptHoweverOldItIs) {
  const auto hook = PutWebhook(*outbox_, "hook");
  const auto owed = PublishOne(*outbox_, "T", "owed", "key");
  clock_.Advance(absl::Hours(24 * 30));
  const auto marker = PublishOne(*outbox_, "U");
  clock_.Advance(absl::Hours(24 * 30));
  ASSERT_TRUE(PublishOne(*outbox_, "U").ok());
  EXPECT_TRUE(PublishOne(*outbox_, "T", "owed", "key")->duplicate);
  EXPECT_TRUE(GetNotification(*outbox_, marker->id).ok());
  Finish(hook->id, DeliveryState::kDelivered);
  clock_.Advance(absl::Hours(24 * 8));
  EXPECT_TRUE(Eventually([&] { return !GetNotification(*outbox_, owed->id).ok(); }));
}

TEST_F(SqliteMaintenanceTest, ExpiryGoesOnWhilePublishingDoes) {
  PublishMany(3000);
  clock_.Advance(absl::Hours(24 * 8));
  // The writer is never idle: a write waits whenever it is done with one.
  std::atomic<bool> stop{false};
  std::atomic<int> under_way{0};
  std::function<void()> publish = [&] {
    ++under_way;
    outbox_->Publish({{"default", "T", std::make_shared<const std::string>("{}"), ""}}, [&](auto) {
      if (!stop) publish();
      --under_way;
    });
  };
  for (int i = 0; i < 4; ++i) publish();
  EXPECT_TRUE(Eventually([&] { return outbox_->metrics().rows_expired.value() >= 3000; }));
  stop = true;
  EXPECT_TRUE(Eventually([&] { return under_way == 0; }));
}

TEST_F(SqliteMaintenanceTest, NumbersThatExpiredAreNotGivenAgain) {
  const auto hook = PutWebhook(*outbox_, "hook");
  const auto last = PublishOne(*outbox_);
  const DeliveryId delivery = ReadOwed(*outbox_, hook->id)->rows.at(0).id;
  Finish(hook->id, DeliveryState::kDelivered);
  const absl::Time then = clock_.Now();
  clock_.Advance(absl::Hours(24 * 8));
  ASSERT_TRUE(Eventually([&] { return Count("notification") == 0; }));
  outbox_.reset();
  clock_.SetWall(then - absl::Hours(1));
  outbox_ = OpenOutbox(TestOptions(dir_.path()), clock_);
  EXPECT_GT(PublishOne(*outbox_)->id, last->id);
  EXPECT_GT(ReadOwed(*outbox_, hook->id)->rows.at(0).id, delivery);
}

TEST_F(SqliteMaintenanceTest, AWebhookIsBuriedUntilItsDeliveriesExpire) {
  const auto hook = PutWebhook(*outbox_, "hook");
  PublishMany(1300);
  const DeliveryId delivery = ReadOwed(*outbox_, hook->id)->rows.at(0).id;
  ASSERT_TRUE(DeleteWebhook(*outbox_, "hook").ok());
  ASSERT_TRUE(Eventually([&] { return Count("delivery WHERE state = 3") == 1300; }));
  // Counted just after the commit that a reader already sees.
  EXPECT_TRUE(Eventually([&] { return outbox_->metrics().deliveries_cancelled.value() == 1300; }));
  // It is known which webhook it was, but not how it was reached.
  EXPECT_EQ(GetDelivery(*outbox_, delivery)->delivery.webhook_name, "hook");
  EXPECT_EQ(Count("webhook WHERE url <> ''"), 0);
  EXPECT_EQ(Count("webhook_secret"), 0);
  clock_.Advance(absl::Hours(24 * 8));
  EXPECT_TRUE(Eventually([&] { return Count("delivery") == 0; }));
  clock_.Advance(absl::Minutes(2));
  EXPECT_TRUE(Eventually([&] { return Count("webhook") == 0; }));
}

TEST_F(SqliteMaintenanceTest, ADeletedWebhookIsKnownForAsLongAsItsDeliveriesAreKept) {
  const auto hook = PutWebhook(*outbox_, "hook");
  const auto other = PutWebhook(*outbox_, "other");
  // Kept while it is owed to the other one.
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  const DeliveryId delivery = ReadOwed(*outbox_, hook->id)->rows.at(0).id;
  // By the clock, the webhook is deleted before there was its delivery.
  clock_.SetWall(clock_.Now() - absl::Hours(24 * 7));
  ASSERT_TRUE(DeleteWebhook(*outbox_, "hook").ok());
  ASSERT_TRUE(Eventually([&] { return Count("delivery WHERE state = 3") == 1; }));
  for (int days = 0; days < 20; ++days) {
    clock_.Advance(absl::Hours(24));
    // What is due rides along with a commit.
    ASSERT_TRUE(PublishOne(*outbox_).ok());
    const auto found = GetDelivery(*outbox_, delivery);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->delivery.webhook_name, "hook");
  }
  Finish(other->id, DeliveryState::kDelivered);
  clock_.Advance(absl::Hours(24 * 8));
  EXPECT_TRUE(Eventually([&] { return Count("webhook") == 1; }));
}

TEST_F(SqliteMaintenanceTest, WhatAWrongClockDatedExpires) {
  const absl::Time right = clock_.Now();
  clock_.SetWall(right + absl::Hours(24 * 3652));
  const auto gone = PutWebhook(*outbox_, "gone");
  const auto wrong = PublishOne(*outbox_);
  ASSERT_TRUE(DeleteWebhook(*outbox_, "gone").ok());
  ASSERT_TRUE(Eventually([&] { return Count("delivery WHERE state = 3") == 1; }));
  clock_.SetWall(right);
  const auto after = PublishOne(*outbox_);
  clock_.Advance(absl::Hours(24 * 6));
  EXPECT_TRUE(GetNotification(*outbox_, wrong->id).ok());
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  // What comes afterwards has its own time.
  const auto young = PublishOne(*outbox_);
  clock_.Advance(absl::Hours(25));
  EXPECT_TRUE(Eventually([&] { return !GetNotification(*outbox_, after->id).ok(); }));
  EXPECT_EQ(GetNotification(*outbox_, wrong->id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(GetNotification(*outbox_, young->id).ok());
  EXPECT_TRUE(Eventually([&] { return Count("webhook") == 0; }));
}

TEST_F(SqliteMaintenanceTest, WhatAWrongClockPutOffIsDueAfterTheRestart) {
  const auto hook = PutWebhook(*outbox_, "hook");
  const absl::Time right = clock_.Now();
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  // More than one slice.
  clock_.SetWall(right + absl::Hours(24 * 3652));
  PublishMany(120);
  OutcomeBatch batch;
  const auto put_off = ReadOwed(*outbox_, hook->id);
  for (const OwedDelivery& owed : put_off->rows) {
    batch.outcomes.push_back(OutcomeOf(owed, DeliveryState::kPending, clock_.Now()));
    batch.outcomes.back().next_due = clock_.Now() + absl::Seconds(5);
  }
  ASSERT_TRUE(RecordAll(*outbox_, batch).ok());
  outbox_.reset();
  clock_.SetWall(right + absl::Hours(1));
  clock_.Restart();
  outbox_ = OpenOutbox(TestOptions(dir_.path()), clock_);
  ASSERT_TRUE(Eventually([&] {
    const auto page = ReadOwed(*outbox_, hook->id);
    return page->rows.size() == 121 && page->rows.back().due <= clock_.Now();
  }));
  const auto mended = ReadOwed(*outbox_, hook->id);
  for (const OwedDelivery& owed : mended->rows) EXPECT_LE(owed.budget_start, clock_.Now());
  // A wait that its policy allows stays as it is.
  const OwedDelivery& owed = mended->rows.front();
  AttemptOutcome later = OutcomeOf(owed, DeliveryState::kPending, clock_.Now());
  later.next_due = clock_.Now() + absl::Hours(7);
  ASSERT_TRUE(RecordAll(*outbox_, {{later}, {}}).ok());
  outbox_.reset();
  outbox_ = OpenOutbox(TestOptions(dir_.path()), clock_);
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  EXPECT_EQ(ReadOwed(*outbox_, hook->id)->rows.back().due, later.next_due);
}

TEST_F(SqliteMaintenanceTest, TheDeliveriesOfAQuietWebhookAreFoundAmongManyOthers) {
  ASSERT_TRUE(PutWebhook(*outbox_, "quiet", {"Q"}).ok());
  ASSERT_TRUE(PutWebhook(*outbox_, "busy", {"T"}).ok());
  constexpr int kBusy = 40 * SpanWriter::kDeliveries;
  ASSERT_TRUE(PublishOne(*outbox_, "Q").ok());
  for (int i = 0; i < kBusy; i += 1024) PublishMany(1024);
  ASSERT_TRUE(Eventually([&] { return Count("delivery_span") == 40; }));
  // More rows than one page looks at lie between it and the newest.
  ASSERT_GT(kBusy, ReadSession::kMaxRowsLookedAt);
  EXPECT_EQ(ListDeliveries(*outbox_, "quiet")->rows.size(), 1u);
  EXPECT_EQ(CountDeliveries(*outbox_, "busy").value(), kBusy);
}

TEST_F(SqliteMaintenanceTest, SpansExpireWithTheirDeliveries) {
  // Something older is owed for as long as its webhook wants.
  const auto slow = PutWebhook(*outbox_, "slow", {"S"});
  const auto hook = PutWebhook(*outbox_, "hook", {"T"});
  ASSERT_TRUE(PublishOne(*outbox_, "S").ok());
  for (int i = 0; i < 3; ++i) PublishMany(SpanWriter::kDeliveries);
  ASSERT_TRUE(Eventually([&] { return Count("delivery_span") == 3; }));
  Finish(hook->id, DeliveryState::kDelivered);
  clock_.Advance(absl::Hours(24 * 8));
  EXPECT_TRUE(Eventually([&] { return Count("delivery_span") == 1; }));
  EXPECT_EQ(ListDeliveries(*outbox_, "slow")->rows.size(), 1u);
  EXPECT_EQ(ListDeliveries(*outbox_, "hook")->rows.size(), 0u);
}

TEST_F(SqliteMaintenanceTest, AttemptsThatAreKeptAreBounded) {
  const auto hook = PutWebhook(*outbox_, "hook");
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  OwedDelivery owed = ReadOwed(*outbox_, hook->id)->rows.at(0);
  for (int i = 0; i < AttemptTable::kMaxKept + 20; ++i) {
    AttemptOutcome outcome = OutcomeOf(owed, DeliveryState::kPending, clock_.Now());
    outcome.next_due = clock_.Now();
    ASSERT_TRUE(RecordAll(*outbox_, {{outcome}, {}}).ok());
    ++owed.attempts;
  }
  const auto delivery = GetDelivery(*outbox_, owed.id);
  EXPECT_EQ(delivery->delivery.attempts, AttemptTable::kMaxKept + 20);
  ASSERT_EQ(delivery->attempts.size(), size_t{AttemptTable::kMaxKept});
  EXPECT_EQ(delivery->attempts.front().number, 21);
  EXPECT_EQ(delivery->delivery.last_error, "the receiver answered 503");
}

TEST_F(SqliteMaintenanceTest, FreePagesAreGivenBack) {
  PublishMany(2000, 10000);
  const auto full = [&] { return outbox_->metrics().file_bytes.value(); };
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  const int64_t before = full();
  EXPECT_GT(before, 16 << 20);
  clock_.Advance(absl::Hours(24 * 8));
  EXPECT_TRUE(Eventually([&] { return PublishOne(*outbox_).ok() && full() < before / 2; }))
      << full() << " of " << before;
}

TEST_F(SqliteMaintenanceTest, ASuccessAtOnceCostsNoAttemptRow) {
  const auto hook = PutWebhook(*outbox_, "hook");
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  const DeliveryId id = ReadOwed(*outbox_, hook->id)->rows.at(0).id;
  Finish(hook->id, DeliveryState::kDelivered);
  EXPECT_EQ(Count("attempt"), 0);
  const auto delivery = GetDelivery(*outbox_, id);
  ASSERT_EQ(delivery->attempts.size(), 1u);
  EXPECT_EQ(delivery->attempts[0].http_status, 200);
  EXPECT_EQ(delivery->attempts[0].latency, absl::Milliseconds(20));
}

}  // namespace
}  // namespace postrider
