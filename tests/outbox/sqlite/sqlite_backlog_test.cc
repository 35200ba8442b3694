#include <memory>
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

class SqliteBacklogTest : public testing::Test {
 protected:
  SqliteBacklogTest() { Reopen(); }

  void Reopen() {
    outbox_.reset();
    outbox_ = OpenOutbox(TestOptions(dir_.path()), clock_);
  }

  void Publish(int count, const std::string& type = "T") {
    std::vector<NewNotification> all(
        count, {"default", type, std::make_shared<const std::string>("{}"), ""});
    ASSERT_TRUE(PublishAll(*outbox_, std::move(all)).ok());
  }
  void Disable(const std::string& name) {
    const auto webhook = Await<Webhook>([&](Outbox::Done<Webhook> done) {
      outbox_->ModifyWebhook(
          "default", name,
          [](const std::optional<Webhook>& old) -> absl::StatusOr<std::optional<Webhook>> {
            Webhook changed = *old;
            changed.enabled = false;
            return changed;
          },
          std::move(done));
    });
    ASSERT_TRUE(webhook.ok()) << webhook.status();
  }
  // The outcome of so many that are owed.
  void Record(WebhookId webhook, size_t count, DeliveryState state) {
    OutcomeBatch batch;
    const absl::StatusOr<OwedPage> page = ReadOwed(*outbox_, webhook);
    for (const OwedDelivery& owed : page->rows) {
      if (batch.outcomes.size() == count) break;
      batch.outcomes.push_back(OutcomeOf(owed, state, clock_.Now()));
      batch.outcomes.back().next_due = clock_.Now() + absl::Minutes(1);
    }
    ASSERT_TRUE(RecordAll(*outbox_, batch).ok());
  }

  // What the metrics come to say. They are brought up to date once a second.
  void Expect(int64_t enabled, int64_t disabled) {
    EXPECT_TRUE(Eventually([&] {
      clock_.Advance(absl::Seconds(1));
      const SqliteOutboxMetrics& metrics = outbox_->metrics();
      return metrics.backlog_known.value() == 1 && metrics.owed_enabled.value() == enabled &&
             metrics.owed_disabled.value() == disabled;
    })) << outbox_->metrics().owed_enabled.value()
        << " and " << outbox_->metrics().owed_disabled.value() << ", and not " << enabled << " and "
        << disabled;
    auto database = Database::Open(dir_.File("outbox.db"), Database::Mode::kReadOnly, "");
    EXPECT_EQ(database->Int("SELECT count(*) FROM delivery WHERE state = 0").value_or(-1),
              enabled + disabled);
  }
  bool OldestDueIs(absl::Time due) {
    return Eventually([&] {
      clock_.Advance(absl::Seconds(1));
      return outbox_->metrics().oldest_due_us.value() == absl::ToUnixMicros(due);
    });
  }

  ScratchDir dir_;
  FakeClock clock_;
  std::unique_ptr<SqliteOutbox> outbox_;
};

TEST_F(SqliteBacklogTest, EveryWayInAndOutOfItIsCounted) {
  Expect(0, 0);
  const auto one = PutWebhook(*outbox_, "one");
  const auto two = PutWebhook(*outbox_, "two", {"T"});
  Publish(10);
  Publish(5, "U");
  Expect(25, 0);
  Record(one->id, 4, DeliveryState::kDelivered);
  Record(two->id, 3, DeliveryState::kDead);
  Record(one->id, 2, DeliveryState::kPending);
  Expect(18, 0);
  Disable("two");
  Expect(11, 7);

  // One that is dead is owed again when it is retried, and one that is owed already counts once.
  const auto dead = ListDeliveries(*outbox_, "two");
  int retried = 0;
  for (const Delivery& delivery : dead->rows) {
    const bool was_dead = delivery.state == DeliveryState::kDead;
    const auto again = Await<Delivery>([&](Outbox::Done<Delivery> done) {
      outbox_->RetryDelivery("default", delivery.id, std::move(done));
    });
    if (again.ok() && was_dead) ++retried;
  }
  EXPECT_EQ(retried, 3);
  Expect(11, 10);
  ASSERT_TRUE(DeleteWebhook(*outbox_, "two").ok());
  Expect(11, 0);
}

TEST_F(SqliteBacklogTest, WhatWasOwedBeforeTheStartIsCountedOnce) {
  const auto one = PutWebhook(*outbox_, "one");
  PutWebhook(*outbox_, "two").IgnoreError();
  Publish(50);
  Disable("two");
  Expect(50, 50);
  Reopen();
  // While it is still being counted, or not.
  Record(one->id, 10, DeliveryState::kDelivered);
  Publish(5);
  Expect(45, 50);
}

TEST_F(SqliteBacklogTest, TheOldestDueTimeIsThatOfAnEnabledWebhook) {
  const auto one = PutWebhook(*outbox_, "one", {"T"});
  const auto two = PutWebhook(*outbox_, "two", {"U"});
  const absl::Time first = clock_.Now();
  Publish(3, "T");
  clock_.Advance(absl::Seconds(100));
  const absl::Time second = clock_.Now();
  Publish(3, "U");
  EXPECT_TRUE(OldestDueIs(first));
  Disable("one");
  EXPECT_TRUE(OldestDueIs(second));
  Record(two->id, 3, DeliveryState::kDelivered);
  EXPECT_TRUE(OldestDueIs(absl::UnixEpoch()));
}

}  // namespace
}  // namespace postrider
