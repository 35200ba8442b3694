#include "src/outbox/sqlite/delivery_spans.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "src/outbox/sqlite/schema.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

constexpr int kSpan = SpanWriter::kDeliveries;
constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

TEST(EncodeWebhooksTest, ThoseThatStandInItAreFoundAndNoOthers) {
  const std::vector<int64_t> webhooks = {
      300, 1, 127, 128, 1, 300, int64_t{1} << 40, std::numeric_limits<int64_t>::max()};
  const std::string encoded = EncodeWebhooks(webhooks);
  for (const int64_t webhook : webhooks) {
    EXPECT_TRUE(ContainsWebhook(encoded, webhook).value()) << webhook;
  }
  for (const int64_t other : {int64_t{2}, int64_t{126}, int64_t{129}, int64_t{299}, int64_t{301},
                              (int64_t{1} << 40) + 1, std::numeric_limits<int64_t>::max() - 1}) {
    EXPECT_FALSE(ContainsWebhook(encoded, other).value()) << other;
  }
  EXPECT_FALSE(ContainsWebhook(EncodeWebhooks({}), 1).value());
}

TEST(EncodeWebhooksTest, NeighboursTakeAByteEach) {
  std::vector<int64_t> webhooks(1000);
  for (size_t i = 0; i < webhooks.size(); ++i) webhooks[i] = static_cast<int64_t>(i) + 1;
  EXPECT_EQ(EncodeWebhooks(webhooks).size(), webhooks.size());
}

TEST(EncodeWebhooksTest, DamageIsTold) {
  EXPECT_EQ(ContainsWebhook("\x81", 5).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ContainsWebhook(std::string(20, '\xff'), 5).status().code(),
            absl::StatusCode::kDataLoss);
}

class DeliverySpansTest : public testing::Test {
 protected:
  DeliverySpansTest() {
    EXPECT_TRUE(CreateDatabase(dir_.path(), 1, "").ok());
    db_ = OpenDatabase(dir_.File("outbox.db"), "").value();
    writer_ = SpanWriter::Create(db_).value();
    reader_ = SpanReader::Create(db_).value();
  }

  // Deliveries with the numbers from `first` on, to this webhook.
  void Store(int64_t first, int count, int64_t webhook) {
    ASSERT_TRUE(db_.Exec("BEGIN").ok());
    auto insert = db_.Prepare(
        "INSERT INTO delivery (id, webhook_id, notification_id, state,"
        " due_us, attempts, budget_attempts, last_http_status)"
        " VALUES (?, ?, 1, 1, 0, 0, 0, 0)");
    for (int i = 0; i < count; ++i) {
      insert->Bind(first + i, webhook);
      ASSERT_TRUE(insert->Run().ok());
    }
    ASSERT_TRUE(db_.Exec("COMMIT").ok());
    writer_.Stored(count);
  }

  void RunWhileDue() {
    while (writer_.Due()) ASSERT_TRUE(writer_.Run().ok());
  }

  int64_t Spans() { return db_.Int("SELECT count(*) FROM delivery_span").value(); }

  SpanReader::Range Before(int64_t end, int64_t webhook) {
    return reader_.Before(end, WebhookId{webhook}).value();
  }

  ScratchDir dir_;
  Database db_;
  SpanWriter writer_;
  SpanReader reader_;
};

TEST_F(DeliverySpansTest, WithoutSpansAllMustBeLookedAt) {
  RunWhileDue();
  Store(1, kSpan - 1, 7);
  EXPECT_FALSE(writer_.Due());
  const SpanReader::Range range = Before(kEnd, 8);
  EXPECT_EQ(range.first, 1);
  EXPECT_TRUE(range.may_hold);
}

TEST_F(DeliverySpansTest, TheReaderPassesOverSpansOfOthers) {
  Store(10, kSpan, 7);
  Store(10 + kSpan, kSpan, 8);
  Store(10 + 2 * kSpan, 5, 7);
  RunWhileDue();
  EXPECT_EQ(Spans(), 2);
  // The newest are in no span.
  SpanReader::Range range = Before(kEnd, 7);
  EXPECT_EQ(range.first, 10 + 2 * kSpan);
  EXPECT_TRUE(range.may_hold);
  range = Before(range.first, 7);
  EXPECT_EQ(range.first, 10 + kSpan);
  EXPECT_FALSE(range.may_hold);
  range = Before(range.first, 7);
  EXPECT_EQ(range.first, 1);
  EXPECT_TRUE(range.may_hold);
  // From the middle of a span.
  range = Before(10 + kSpan + 3, 8);
  EXPECT_EQ(range.first, 10 + kSpan);
  EXPECT_TRUE(range.may_hold);
  EXPECT_FALSE(Before(10 + 3, 8).may_hold);
}

TEST_F(DeliverySpansTest, ARunIsBoundedAndTheNextOnesCatchUp) {
  // As in a file whose spans are missing.
  Store(1, 10 * kSpan + 3, 7);
  ASSERT_TRUE(writer_.Run().ok());
  EXPECT_EQ(Spans(), 4);
  EXPECT_TRUE(writer_.Due());
  RunWhileDue();
  EXPECT_EQ(Spans(), 10);
  // What waits is known now: so many more are due.
  Store(20 * kSpan, kSpan - 4, 7);
  EXPECT_FALSE(writer_.Due());
  Store(30 * kSpan, 1, 7);
  EXPECT_TRUE(writer_.Due());
}

TEST_F(DeliverySpansTest, WhatWasRolledBackIsDoneAgain) {
  Store(1, kSpan, 7);
  ASSERT_TRUE(db_.Exec("BEGIN").ok());
  ASSERT_TRUE(writer_.Run().ok());
  ASSERT_TRUE(db_.Rollback().ok());
  writer_.Rollback();
  EXPECT_EQ(Spans(), 0);
  RunWhileDue();
  EXPECT_EQ(Spans(), 1);
}

TEST_F(DeliverySpansTest, SpansGoWithTheLastOfTheirDeliveries) {
  Store(1, 200 * kSpan, 7);
  RunWhileDue();
  // One stays among the oldest, and those from span 150 on.
  ASSERT_TRUE(
      db_.Exec("DELETE FROM delivery WHERE id <> 5 AND id <= " + std::to_string(150 * kSpan)).ok());
  EXPECT_TRUE(writer_.ForgetOld(kEnd).value());
  EXPECT_EQ(Spans(), 200 - 63);
  while (writer_.ForgetOld(kEnd).value()) continue;
  EXPECT_EQ(Spans(), 51);
  EXPECT_TRUE(Before(kSpan + 1, 7).may_hold);
  EXPECT_EQ(Before(160 * kSpan + 1, 7).first, 159 * kSpan + 1);
  // Only those that end before a number are looked at.
  ASSERT_TRUE(db_.Exec("DELETE FROM delivery").ok());
  EXPECT_FALSE(writer_.ForgetOld(160 * kSpan).value());
  EXPECT_EQ(Spans(), 41);
  EXPECT_FALSE(writer_.ForgetOld(kEnd).value());
  EXPECT_EQ(Spans(), 0);
}

}  // namespace
}  // namespace postrider
