#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/base/clock.h"
#include "src/base/mutex.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/scratch_dir.h"

// What one caller asks for keeps no other from being served.

namespace postrider {
namespace {

using testing::HasSubstr;

using Results = absl::StatusOr<std::vector<absl::StatusOr<Published>>>;

std::vector<NewNotification> Some(int count, const std::string& tenant,
                                  const std::string& key_prefix = "") {
  const auto body = std::make_shared<const std::string>("{}");
  std::vector<NewNotification> some;
  for (int i = 0; i < count; ++i) {
    some.push_back(
        {tenant, "T", body, key_prefix.empty() ? "" : key_prefix + std::to_string(i)});
  }
  return some;
}

// Hears of every commit, and can be held there.
class HeldListener final : public OutboxListener {
 public:
  void OnOwed(std::vector<OwedDelivery> deliveries) override {
    if (hold != nullptr) hold->Wait();
    largest = std::max<size_t>(largest, deliveries.size());
    if (created != nullptr) ahead = std::max<uint64_t>(ahead, created->value() - told);
    told += deliveries.size();
    if (on_owed) on_owed();
  }
  void OnWebhookChanged(const Webhook&) override {}
  void OnWebhookDeleted(WebhookId) override {}

  // Set before the first commit.
  Event* hold = nullptr;
  const Counter* created = nullptr;
  std::function<void()> on_owed;
  std::atomic<uint64_t> told{0};
  std::atomic<size_t> largest{0};
  // By how much the writer was ahead at most.
  std::atomic<uint64_t> ahead{0};
};

class SqliteFairnessTest : public testing::Test {
 protected:
  SqliteFairnessTest() { Open(TestOptions(dir_.path())); }

  void Open(const SqliteOutboxOptions& options) {
    outbox_.reset();
    outbox_ = OpenOutbox(options, SystemClock(), &listener_);
  }
  void PutWebhooks(int count, const std::string& tenant) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(PutWebhook(*outbox_, "hook-" + std::to_string(i), {}, tenant).ok());
    }
  }
  // Keeps the writer busy inside a transaction until `go_on`.
  void Hold(Event* go_on) {
    auto entered = std::make_shared<Event>();
    outbox_->ModifyWebhook(
        "default", "held",
        [entered, go_on](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
          entered->Set();
          go_on->Wait();
          return absl::CancelledError("was only held");
        },
        [](auto) {});
    entered->Wait();
  }
  void Answered(const std::string& what) {
    MutexLock lock(&mutex_);
    answered_.push_back(what);
  }
  std::vector<std::string> answered() {
    MutexLock lock(&mutex_);
    return answered_;
  }
  int64_t PlaceOf(const std::string& what) {
    const std::vector<std::string> all = answered();
    return std::find(all.begin(), all.end(), what) - all.begin();
  }

  ScratchDir dir_;
  HeldListener listener_;
  Mutex mutex_;
  std::vector<std::string> answered_ ABSL_GUARDED_BY(mutex_);
  // Last: its end answers what waits.
  std::unique_ptr<SqliteOutbox> outbox_;
};

TEST_F(SqliteFairnessTest, OneBatchStopsNoOtherPublisher) {
  PutWebhooks(60, "big");
  PutWebhooks(1, "small");
  const uint64_t commits = outbox_->metrics().commits.value();
  Event go_on, batch_answered;
  Hold(&go_on);
  constexpr int kBatch = 500;
  outbox_->Publish(Some(kBatch, "big"), [&](Results results) {
    ASSERT_TRUE(results.ok()) << results.status();
    for (const auto& result : *results) EXPECT_EQ(result->delivery_count, 60);
    Answered("batch");
    batch_answered.Set();
  });
  for (int i = 0; i < 100; ++i) {
    outbox_->Publish(Some(1, "small"), [&](auto) { Answered("small"); });
  }
  // Those of the same tenant, too.
  outbox_->Publish(Some(1, "big"), [&](auto) { Answered("sister"); });
  go_on.Set();
  batch_answered.Wait();
  EXPECT_EQ(PlaceOf("batch"), 101);
  EXPECT_LT(PlaceOf("sister"), 101);
  EXPECT_EQ(listener_.told, 500u * 60 + 60 + 100);
  // The one that was held, and a slice is about 2,048 rows.
  EXPECT_GT(outbox_->metrics().commits.value() - commits, 13u);
  EXPECT_LE(listener_.largest, 2048u + 60 + 100);
}

TEST_F(SqliteFairnessTest, WhatWasCommittedButNotToldIsBounded) {
  constexpr int kHooks = 100;
  PutWebhooks(kHooks, "default");
  Event told;
  listener_.hold = &told;
  listener_.created = &outbox_->metrics().deliveries_created;
  Event answered;
  outbox_->Publish(Some(1000, "default"), [&](Results results) {
    EXPECT_TRUE(results.ok());
    answered.Set();
  });
  constexpr uint64_t kBound = 65536;
  constexpr uint64_t kSlice = 2048 + kHooks;
  EXPECT_TRUE(Eventually([&] { return listener_.created->value() > kBound - kSlice; }));
  told.Set();
  answered.Wait();
  EXPECT_EQ(listener_.told, 1000u * kHooks);
  EXPECT_LE(listener_.largest, kSlice);
  // One transaction is being told, one waits for room.
  EXPECT_LE(listener_.ahead, kBound + 2 * kSlice);
}

TEST_F(SqliteFairnessTest, ACallThatOwesTooMuchIsRefusedWhole) {
  SqliteOutboxOptions options = TestOptions(dir_.path());
  options.max_deliveries_per_call = 50;
  Open(options);
  PutWebhooks(10, "default");
  const auto refused = PublishAll(*outbox_, Some(6, "default", "key-"));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("owe 60 deliveries"));
  EXPECT_EQ(outbox_->metrics().notifications_published.value(), 0u);
  ASSERT_TRUE(PublishAll(*outbox_, Some(5, "default", "key-")).ok());
  // What is stored already is owed to nobody again.
  const auto again = PublishAll(*outbox_, Some(10, "default", "key-"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->at(0)->duplicate);
  EXPECT_FALSE(again->at(9)->duplicate);
  EXPECT_EQ(PublishAll(*outbox_, Some(16, "default", "key-")).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SqliteFairnessTest, ANotificationThatOwesTooMuchIsRefusedAlone) {
  SqliteOutboxOptions options = TestOptions(dir_.path());
  options.max_deliveries_per_notification = 3;
  Open(options);
  PutWebhooks(3, "default");
  ASSERT_TRUE(PublishOne(*outbox_, "T", "{}", "known").ok());
  ASSERT_TRUE(PutWebhook(*outbox_, "only-t", {"T"}).ok());
  std::vector<NewNotification> some = Some(2, "default");
  some[1].type = "Other";
  const auto results = PublishAll(*outbox_, some);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->at(0).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(results->at(0).status().message(), HasSubstr("4 webhooks"));
  EXPECT_EQ(results->at(1)->delivery_count, 3);
  // It is stored, and owes nothing more.
  const auto known = PublishOne(*outbox_, "T", "{}", "known");
  ASSERT_TRUE(known.ok()) << known.status();
  EXPECT_TRUE(known->duplicate);
}

TEST_F(SqliteFairnessTest, ClosingEndsABatchBetweenItsNotifications) {
  PutWebhooks(100, "default");
  // The first slice is on disk.
  Event begun;
  listener_.on_owed = [&] { begun.Set(); };
  Event answered;
  absl::Status status;
  outbox_->Publish(Some(1000, "default", "key-"), [&](Results results) {
    status = results.status();
    answered.Set();
  });
  begun.Wait();
  outbox_->Close();
  answered.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(status.message(), HasSubstr("a part of this call was done before"));
  listener_.on_owed = nullptr;
  Open(TestOptions(dir_.path()));
  const auto again = PublishAll(*outbox_, Some(1000, "default", "key-"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->front()->duplicate);
  EXPECT_FALSE(again->back()->duplicate);
  const auto owed = CountDeliveries(*outbox_, "hook-99");
  ASSERT_TRUE(owed.ok());
  EXPECT_EQ(*owed, 1000);
}

// What is owed to each, and has spent its age, is ended before it is enabled.
TEST_F(SqliteFairnessTest, EnablingManyWebhooksIsWrittenInSlices) {
  constexpr int kHooks = 20;
  constexpr int kOwed = 300;
  PutWebhooks(kHooks, "default");
  ASSERT_TRUE(PublishAll(*outbox_, Some(kOwed, "default")).ok());
  const auto change = [&](int i, bool enabled, Outbox::Done<Webhook> done) {
    outbox_->ModifyWebhook(
        "default", "hook-" + std::to_string(i),
        [enabled](std::optional<Webhook> webhook) {
          webhook->enabled = enabled;
          webhook->retry_policy.max_age = absl::Microseconds(1);
          return webhook;
        },
        std::move(done));
  };
  for (int i = 0; i < kHooks; ++i) {
    ASSERT_TRUE(Await<Webhook>([&](auto done) { change(i, false, std::move(done)); }).ok());
  }
  const uint64_t commits = outbox_->metrics().commits.value();
  Event go_on, enabled;
  Hold(&go_on);
  std::atomic<int> left{kHooks};
  for (int i = 0; i < kHooks; ++i) {
    change(i, true, [&](absl::StatusOr<Webhook> webhook) {
      EXPECT_TRUE(webhook.ok()) << webhook.status();
      if (--left == 0) enabled.Set();
    });
  }
  go_on.Set();
  enabled.Wait();
  EXPECT_EQ(outbox_->metrics().deliveries_aged.value(), uint64_t{kHooks * kOwed});
  // The one that was held, and 2,048 rows and a little in each.
  EXPECT_EQ(outbox_->metrics().commits.value() - commits, 4u);
}

TEST_F(SqliteFairnessTest, OutcomesWaitForNoPileOfPublishes) {
  Event go_on, recorded;
  Hold(&go_on);
  constexpr int kPublishes = 6000;
  for (int i = 0; i < kPublishes; ++i) {
    outbox_->Publish(Some(1, "default"), [&](auto) { Answered("publish"); });
  }
  outbox_->RecordOutcomes({}, [&](absl::Status status) {
    EXPECT_TRUE(status.ok());
    Answered("outcomes");
    recorded.Set();
  });
  go_on.Set();
  recorded.Wait();
  EXPECT_LE(PlaceOf("outcomes"), 2048);
  outbox_.reset();
}

TEST_F(SqliteFairnessTest, OneTenantsReadsDoNotHoldUpAnothers) {
  SqliteOutboxOptions options = TestOptions(dir_.path());
  options.reader_threads = 1;
  Open(options);
  PutWebhooks(1, "many");
  PutWebhooks(1, "few");
  Event entered, go_on, done;
  outbox_->ListDeliveries({"many"}, [&](auto) {
    entered.Set();
    go_on.Wait();
  });
  entered.Wait();
  constexpr int kReads = 800;
  std::atomic<int> left{kReads};
  for (int i = 0; i < kReads; ++i) {
    outbox_->ListDeliveries({"many"}, [&](absl::StatusOr<DeliveryPage> page) {
      EXPECT_TRUE(page.ok());
      Answered("many");
      if (--left == 0) done.Set();
    });
  }
  outbox_->ListDeliveries({"few"}, [&](absl::StatusOr<DeliveryPage> page) {
    EXPECT_TRUE(page.ok());
    Answered("few");
  });
  go_on.Set();
  done.Wait();
  EXPECT_LE(PlaceOf("few"), 2);
}

TEST_F(SqliteFairnessTest, OneTenantsReadsLeaveRoomForAnothers) {
  SqliteOutboxOptions options = TestOptions(dir_.path());
  options.reader_threads = 1;
  options.max_queued_reads = 80;
  Open(options);
  PutWebhooks(1, "few");
  Event entered, go_on, done;
  outbox_->ListDeliveries({"default"}, [&](auto) {
    entered.Set();
    go_on.Wait();
  });
  entered.Wait();
  std::atomic<int> refused{0};
  for (int i = 0; i < 80; ++i) {
    outbox_->ListDeliveries({"default"}, [&](absl::StatusOr<DeliveryPage> page) {
      if (page.status().code() == absl::StatusCode::kResourceExhausted) ++refused;
    });
  }
  EXPECT_TRUE(Eventually([&] { return refused == 10; }));
  outbox_->ListDeliveries({"few"}, [&](absl::StatusOr<DeliveryPage> page) {
    EXPECT_TRUE(page.ok()) << page.status();
    done.Set();
  });
  go_on.Set();
  done.Wait();
  outbox_.reset();
}

}  // namespace
}  // namespace postrider
