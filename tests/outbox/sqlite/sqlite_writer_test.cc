#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/base/clock.h"
#include "src/outbox/sqlite/read_session.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

using testing::HasSubstr;
using testing::Not;

NewNotification Some(const std::string& body = "{}") {
  return {"default", "T", std::make_shared<const std::string>(body), ""};
}

// Counts what it is told of.
class CountingListener final : public OutboxListener {
 public:
  void OnOwed(std::vector<OwedDelivery> deliveries) override {
    ++calls;
    owed += static_cast<int>(deliveries.size());
  }
  void OnWebhookChanged(const Webhook&) override {}
  void OnWebhookDeleted(WebhookId) override {}

  std::atomic<int> calls{0};
  std::atomic<int> owed{0};
};

class SqliteWriterTest : public testing::Test {
 protected:
  SqliteWriterTest() { Open(TestOptions(dir_.path())); }

  void Open(const SqliteOutboxOptions& options) {
    outbox_.reset();
    outbox_ = OpenOutbox(options, SystemClock(), &listener_);
  }

  // Keeps the writer busy inside a transaction until `go_on`.
  void Hold(Event* go_on, Event* answered) {
    auto entered = std::make_shared<Event>();
    outbox_->ModifyWebhook(
        "default", "held",
        [entered, go_on](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
          entered->Set();
          go_on->Wait();
          return absl::CancelledError("was only held");
        },
        [answered](auto) { answered->Set(); });
    entered->Wait();
  }

  ScratchDir dir_;
  CountingListener listener_;
  std::unique_ptr<SqliteOutbox> outbox_;
};

TEST_F(SqliteWriterTest, TheFanOutBoundsATransaction) {
  constexpr int kHooks = 50;
  for (int i = 0; i < kHooks; ++i) {
    ASSERT_TRUE(PutWebhook(*outbox_, "hook-" + std::to_string(i)).ok());
  }
  const uint64_t commits = outbox_->metrics().commits.value();
  Event go_on, held, answered;
  Hold(&go_on, &held);
  constexpr int kCalls = 4;
  constexpr int kNotifications = 100;
  std::atomic<int> left{kCalls};
  for (int i = 0; i < kCalls; ++i) {
    outbox_->Publish(std::vector<NewNotification>(kNotifications, Some()), [&](auto results) {
      EXPECT_TRUE(results.ok());
      if (--left == 0) answered.Set();
    });
  }
  go_on.Set();
  answered.Wait();
  EXPECT_EQ(listener_.owed, kCalls * kNotifications * kHooks);
  // The one that was held; then 2,048 rows and a little in each, though the calls are few.
  const uint64_t transactions = outbox_->metrics().commits.value() - commits;
  EXPECT_EQ(transactions, 1u + (kCalls * kNotifications * (kHooks + 1) + 2090) / 2091);
}

TEST_F(SqliteWriterTest, WhatWaitsIsCommittedTogether) {
  ASSERT_TRUE(PutWebhook(*outbox_, "hook").ok());
  const uint64_t commits = outbox_->metrics().commits.value();
  const int calls = listener_.calls;
  Event go_on, held, answered;
  Hold(&go_on, &held);
  constexpr int kCalls = 500;
  std::atomic<int> left{kCalls};
  std::vector<int> order;
  for (int i = 0; i < kCalls; ++i) {
    outbox_->Publish({Some()}, [&, i](auto results) {
      EXPECT_TRUE(results.ok() && results->at(0).ok());
      // The listener has heard of the whole commit by now.
      EXPECT_EQ(listener_.owed, kCalls);
      order.push_back(i);
      if (--left == 0) answered.Set();
    });
  }
  go_on.Set();
  answered.Wait();
  EXPECT_EQ(outbox_->metrics().commits.value() - commits, 2u);
  EXPECT_EQ(listener_.calls - calls, 1);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(outbox_->metrics().notifications_published.value(), uint64_t{kCalls});
}

TEST_F(SqliteWriterTest, AHugePileIsCommittedInParts) {
  Event go_on, held, answered;
  Hold(&go_on, &held);
  const uint64_t commits = outbox_->metrics().commits.value();
  constexpr int kCalls = 50;
  std::atomic<int> left{kCalls};
  for (int i = 0; i < kCalls; ++i) {
    outbox_->Publish(std::vector<NewNotification>(100, Some()), [&](auto) {
      if (--left == 0) answered.Set();
    });
  }
  go_on.Set();
  answered.Wait();
  EXPECT_GE(outbox_->metrics().commits.value() - commits, 3u);
  EXPECT_LE(outbox_->metrics().commits.value() - commits, 10u);
}

TEST_F(SqliteWriterTest, AFullQueueRefusesAllButOutcomes) {
  SqliteOutboxOptions options = TestOptions(dir_.path());
  options.max_queued_writes = 3;
  Open(options);
  Event go_on, held, answered, recorded;
  Hold(&go_on, &held);
  std::atomic<int> taken{0};
  std::atomic<int> refused{0};
  for (int i = 0; i < 10; ++i) {
    outbox_->Publish({Some()}, [&](auto results) {
      if (results.ok()) {
        ++taken;
      } else {
        EXPECT_EQ(results.status().code(), absl::StatusCode::kResourceExhausted);
        ++refused;
      }
      if (taken + refused == 10) answered.Set();
    });
  }
  outbox_->RecordOutcomes({}, [&](absl::Status status) {
    EXPECT_TRUE(status.ok());
    recorded.Set();
  });
  // The refusals do not wait for the writer.
  EXPECT_TRUE(Eventually([&] { return refused == 7; }));
  go_on.Set();
  answered.Wait();
  recorded.Wait();
  EXPECT_EQ(taken, 3);
}

TEST_F(SqliteWriterTest, ManyThreadsPublishAndReadAtOnce) {
  const auto hook = PutWebhook(*outbox_, "hook");
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  Mutex mutex;
  std::set<NotificationId> ids;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string key = std::to_string(t) + "/" + std::to_string(i);
        const auto published = PublishOne(*outbox_, "T", key, key);
        ASSERT_TRUE(published.ok()) << published.status();
        // A read sees what was answered before it.
        const auto read = GetNotification(*outbox_, published->id);
        ASSERT_TRUE(read.ok()) << read.status();
        EXPECT_EQ(read->body, key);
        const MutexLock lock(&mutex);
        ids.insert(published->id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ids.size(), size_t{kThreads * kEach});
  EXPECT_EQ(ReadOwed(*outbox_, hook->id)->rows.size(), size_t{kThreads * kEach});
}

TEST_F(SqliteWriterTest, CallsFromADoneAreFine) {
  Event answered;
  outbox_->Publish({Some("first")}, [&](auto) {
    outbox_->Publish({Some("second")}, [&](auto results) {
      const NotificationId id = results->at(0)->id;
      outbox_->GetNotification("default", id, [&](absl::StatusOr<Notification> notification) {
        EXPECT_EQ(notification->body, "second");
        answered.Set();
      });
    });
  });
  answered.Wait();
}

TEST_F(SqliteWriterTest, ClosingAnswersWhatWaitsAndRefusesTheRest) {
  Event go_on, held;
  Hold(&go_on, &held);
  std::atomic<int> stored{0};
  for (int i = 0; i < 20; ++i) {
    outbox_->Publish({Some()}, [&](auto results) { stored += results.ok() ? 1 : 0; });
  }
  go_on.Set();
  outbox_->Close();
  outbox_->Close();
  EXPECT_EQ(PublishOne(*outbox_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(RecordAll(*outbox_, {}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetNotification(*outbox_, NotificationId{1}).status().code(),
            absl::StatusCode::kUnavailable);
  outbox_.reset();
  EXPECT_EQ(stored, 20);
  EXPECT_FALSE(std::filesystem::exists(dir_.File("outbox.db-wal")));
}

TEST_F(SqliteWriterTest, StartsAndStopsAgainAndAgain) {
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> answered{0};
    for (int j = 0; j < i; ++j) outbox_->Publish({Some()}, [&](auto) { ++answered; });
    Open(TestOptions(dir_.path()));
    EXPECT_EQ(answered, i);
  }
}

TEST_F(SqliteWriterTest, TheLogStaysBounded) {
  ASSERT_TRUE(PutWebhook(*outbox_, "hook").ok());
  int64_t largest = 0;
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(
        PublishAll(*outbox_, std::vector<NewNotification>(100, Some(std::string(10000, 'x'))))
            .ok());
    largest = std::max(largest, outbox_->metrics().wal_bytes.value());
  }
  EXPECT_GT(outbox_->metrics().checkpoints.value(), 1u);
  EXPECT_LT(largest, 40 << 20);
  EXPECT_TRUE(Eventually([&] { return outbox_->metrics().wal_bytes.value() == 0; }));
}

TEST_F(SqliteWriterTest, AShortLogIsCopiedOnlyAfterTenIdleIntervals) {
  constexpr absl::Duration kInterval = absl::Milliseconds(20);
  SqliteOutboxOptions options = TestOptions(dir_.path());
  options.idle_interval = kInterval;
  Open(options);
  const uint64_t before = outbox_->metrics().checkpoints.value();
  const absl::Duration start = SystemClock().Monotonic();
  ASSERT_TRUE(PutWebhook(*outbox_, "hook").ok());
  ASSERT_TRUE(PublishOne(*outbox_).ok());
  EXPECT_TRUE(Eventually([&] { return outbox_->metrics().checkpoints.value() > before; }));
  EXPECT_GE(SystemClock().Monotonic() - start, 10 * kInterval);
}

TEST_F(SqliteWriterTest, WhatIsOwedIsReadInTheOrderOfTheIndex) {
  const auto session = ReadSession::Open(dir_.File("outbox.db"), "");
  ASSERT_TRUE(session.ok()) << session.status();
  const auto plan = (*session)->ExplainReadOwed();
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(*plan, HasSubstr("INDEX delivery_owed (webhook_id=? AND due_us=? AND rowid>?)"));
  EXPECT_THAT(*plan, HasSubstr("INDEX delivery_owed (webhook_id=? AND due_us>?)"));
  EXPECT_THAT(*plan, Not(HasSubstr("TEMP B-TREE")));
  EXPECT_THAT(*plan, Not(HasSubstr("SCAN")));
}

}  // namespace
}  // namespace postrider
