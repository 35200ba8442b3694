#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "src/outbox/sqlite/attempt_rows.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scratch_dir.h"

// What is kept of failed attempts takes a bounded room, and deliveries go on.

namespace postrider {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

class SqliteAttemptsTest : public testing::Test {
 protected:
  SqliteAttemptsTest() : options_(TestOptions(dir_.path())) {
    options_.max_attempt_bytes = 4 * kMiB;
    options_.max_tenant_attempt_bytes = 3 * kMiB;
    Open();
  }

  void Open() {
    outbox_.reset();
    outbox_ = OpenOutbox(options_, clock_);
  }
  // Some deliveries that fail for good, each with so long an answer; the oldest first.
  std::vector<OwedDelivery> Fail(int count, size_t body_bytes,
                                 const std::string& tenant = "default") {
    const auto webhook = PutWebhook(*outbox_, "hook", {}, tenant);
    const std::vector<NewNotification> all(
        count, {tenant, "T", std::make_shared<const std::string>("{}"), ""});
    EXPECT_TRUE(PublishAll(*outbox_, all).ok());
    const auto owed = ReadOwed(*outbox_, webhook->id);
    OutcomeBatch batch;
    for (const OwedDelivery& delivery : owed->rows) {
      batch.outcomes.push_back(OutcomeOf(delivery, DeliveryState::kDead, clock_.Now()));
      batch.outcomes.back().response_body = std::string(body_bytes, 'x');
    }
    EXPECT_TRUE(RecordAll(*outbox_, batch).ok());
    return owed->rows;
  }
  DeliveryWithAttempts Get(DeliveryId id, const std::string& tenant = "default") {
    return Await<DeliveryWithAttempts>([&](auto done) {
             outbox_->GetDelivery(tenant, id, std::move(done));
           }).value_or(DeliveryWithAttempts{});
  }
  int64_t Count(const std::string& table) {
    auto database = Database::Open(dir_.File("outbox.db"), Database::Mode::kReadOnly, "");
    return database->Int("SELECT count(*) FROM " + table).value_or(-1);
  }
  int64_t bytes() const { return outbox_->metrics().attempt_bytes.value(); }

  ScratchDir dir_;
  FakeClock clock_;
  SqliteOutboxOptions options_;
  std::unique_ptr<SqliteOutbox> outbox_;
};

TEST_F(SqliteAttemptsTest, FailingWebhooksDoNotFillTheDisk) {
  const std::vector<OwedDelivery> first = Fail(300, 4096);
  EXPECT_FALSE(Get(first.front().id).attempts.at(0).response_body.empty());
  std::vector<OwedDelivery> last;
  for (int i = 0; i < 8; ++i) {
    last = Fail(300, 4096);
    EXPECT_LE(bytes(), options_.max_tenant_attempt_bytes);
    if (i == 2) Open();
  }
  // Much more has been said than is kept.
  EXPECT_LT(outbox_->metrics().used_bytes.value(), 6 * kMiB);
  EXPECT_GT(outbox_->metrics().attempt_bodies_removed.value(), 800u);
  // The oldest answers went first; what else is known of the attempts is there.
  const DeliveryWithAttempts oldest = Get(first.front().id);
  EXPECT_EQ(oldest.delivery.state, DeliveryState::kDead);
  EXPECT_EQ(oldest.delivery.last_error, "the receiver answered 503");
  ASSERT_EQ(oldest.attempts.size(), 1u);
  EXPECT_EQ(oldest.attempts[0].response_body, "");
  EXPECT_EQ(Get(last.back().id).attempts.at(0).response_body, std::string(4096, 'x'));
}

TEST_F(SqliteAttemptsTest, WhenRecordsTakeHalfTheOldestGo) {
  options_.max_tenant_attempt_bytes = 400 * 1024;
  Open();
  const std::vector<OwedDelivery> first = Fail(1000, 100);
  Fail(1000, 100);
  const std::vector<OwedDelivery> last = Fail(1000, 100);
  EXPECT_LE(bytes(), options_.max_tenant_attempt_bytes);
  EXPECT_GT(outbox_->metrics().attempts_removed.value(), 0u);
  const DeliveryWithAttempts oldest = Get(first.front().id);
  EXPECT_EQ(oldest.delivery.state, DeliveryState::kDead);
  EXPECT_EQ(oldest.delivery.attempts, 1);
  EXPECT_TRUE(oldest.attempts.empty());
  EXPECT_EQ(Get(last.back().id).attempts.at(0).response_body, std::string(100, 'x'));
}

TEST_F(SqliteAttemptsTest, TheTenantWhoHasMostGivesRoom) {
  const std::vector<OwedDelivery> few = Fail(20, 4096, "few");
  for (int i = 0; i < 4; ++i) {
    Fail(250, 4096, "many");
    Fail(250, 4096, "more");
  }
  EXPECT_LE(bytes(), options_.max_attempt_bytes);
  for (const OwedDelivery& delivery : few) {
    EXPECT_EQ(Get(delivery.id, "few").attempts.at(0).response_body.size(), 4096u);
  }
}

TEST_F(SqliteAttemptsTest, WithoutRoomForPublishesAttemptsTakeNoMore) {
  const auto webhook = PutWebhook(*outbox_, "hook");
  const std::vector<NewNotification> all(
      1500, {"default", "T", std::make_shared<const std::string>("{}"), ""});
  ASSERT_TRUE(PublishAll(*outbox_, all).ok());
  options_.min_free_bytes = uint64_t{1} << 62;
  Open();
  const auto owed = ReadOwed(*outbox_, webhook->id);
  OutcomeBatch batch;
  for (const OwedDelivery& delivery : owed->rows) {
    batch.outcomes.push_back(OutcomeOf(delivery, DeliveryState::kPending, clock_.Now()));
    batch.outcomes.back().response_body = std::string(4096, 'x');
    if (batch.outcomes.size() < 300) continue;
    ASSERT_TRUE(RecordAll(*outbox_, std::move(batch)).ok());
    batch = {};
  }
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LE(bytes(), kMiB);
  EXPECT_EQ(Count("delivery WHERE attempts = 1"), 1500);
}

TEST_F(SqliteAttemptsTest, WhatExpiresGivesItsRoomBack) {
  Fail(300, 4096);
  EXPECT_GT(bytes(), kMiB);
  clock_.Advance(absl::Hours(24 * 8));
  ASSERT_TRUE(Eventually([&] { return Count("attempt") == 0; }));
  EXPECT_TRUE(Eventually([&] { return Count("attempt_age") == 0; }));
  Open();
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  EXPECT_EQ(bytes(), 0);
}

TEST_F(SqliteAttemptsTest, ManyTenantsAreLookedThroughToTheEnd) {
  // More than one slice looks at. What of theirs is kept is owed to another webhook.
  constexpr int kTenants = 120;
  for (int i = 0; i < kTenants; ++i) {
    const std::string tenant = "tenant-" + std::to_string(i);
    ASSERT_TRUE(PutWebhook(*outbox_, "other", {}, tenant).ok());
    Fail(1, 10, tenant);
  }
  const int64_t kept = bytes();
  Fail(10, 4096);
  clock_.Advance(absl::Hours(24 * 8));
  EXPECT_TRUE(Eventually([&] { return Count("attempt_age") == kTenants; }));
  EXPECT_TRUE(Eventually([&] { return bytes() == kept; }));
  // The writer comes to rest.
  const uint64_t commits = outbox_->metrics().commits.value();
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  EXPECT_EQ(outbox_->metrics().commits.value(), commits + 1);
}

}  // namespace
}  // namespace postrider
