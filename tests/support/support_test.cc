#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_transport.h"
#include "tests/support/manual_executor.h"
#include "tests/support/memory_outbox.h"

namespace postrider {
namespace {

TEST(FakeClockTest, WallJumpsApartFromMonotonic) {
  FakeClock clock;
  const absl::Time wall = clock.Now();
  const absl::Duration monotonic = clock.Monotonic();
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(clock.Now(), wall + absl::Seconds(2));
  EXPECT_EQ(clock.Monotonic(), monotonic + absl::Seconds(2));
  clock.SetWall(wall - absl::Hours(1));
  EXPECT_EQ(clock.Now(), wall - absl::Hours(1));
  EXPECT_EQ(clock.Monotonic(), monotonic + absl::Seconds(2));
  EXPECT_EQ(clock.Steady(), wall + absl::Seconds(2));
  clock.AdvanceTo(wall);
  EXPECT_EQ(clock.Now(), wall - absl::Hours(1));
  clock.AdvanceTo(wall + absl::Hours(1));
  EXPECT_EQ(clock.Steady(), wall + absl::Hours(1));
  EXPECT_EQ(clock.Monotonic(), monotonic + absl::Hours(1));
  EXPECT_EQ(clock.Now(), wall - absl::Seconds(2));
  clock.Restart();
  EXPECT_EQ(clock.Steady(), clock.Now());
}

TEST(ManualExecutorTest, RunsInOrderAndAlsoWhatIsPostedMeanwhile) {
  ManualExecutor executor;
  std::vector<int> ran;
  executor.Post([&] {
    ran.push_back(1);
    executor.Post([&] { ran.push_back(3); });
  });
  executor.Post([&] { ran.push_back(2); });
  EXPECT_TRUE(ran.empty());
  EXPECT_TRUE(executor.RunOne());
  EXPECT_EQ(ran, std::vector<int>({1}));
  EXPECT_EQ(executor.RunAll(), 2u);
  EXPECT_EQ(ran, std::vector<int>({1, 2, 3}));
  EXPECT_FALSE(executor.RunOne());
}

TEST(ManualExecutorTest, StopDestroysWhatWaits) {
  ManualExecutor executor;
  auto alive = std::make_shared<int>();
  executor.Post([alive] { FAIL(); });
  executor.Stop();
  EXPECT_EQ(alive.use_count(), 1);
  executor.Post([alive] { FAIL(); });
  EXPECT_EQ(alive.use_count(), 1);
  EXPECT_EQ(executor.RunAll(), 0u);
}

TransferRequest Request() {
  TransferRequest request;
  request.target = std::make_shared<HttpTarget>(HttpTarget{"http://x/", {{"A", "1"}}});
  request.headers = {{"B", "2"}};
  request.body = std::make_shared<std::string>("{}");
  return request;
}

TEST(FakeTransportTest, TheTestAnswersEach) {
  FakeTransport transport;
  std::vector<std::pair<int, int>> answers;
  for (int i = 0; i < 3; ++i) {
    transport.Send(Request(), [&answers, i](TransferResult result) {
      answers.push_back({i, result.http_status});
    });
  }
  EXPECT_EQ(transport.sent(), 3u);
  EXPECT_EQ(transport.header(1, "a"), "1");
  EXPECT_EQ(transport.header(1, "b"), "2");
  EXPECT_EQ(transport.header(1, "c"), "");
  transport.Succeed(2, 500);
  transport.Fail(0, TransferError::kTimeout, "late");
  EXPECT_EQ(transport.Pending(), std::vector<size_t>({1}));
  transport.CancelAll();
  EXPECT_EQ(transport.pending_count(), 0u);
  EXPECT_EQ(answers, (std::vector<std::pair<int, int>>({{2, 500}, {0, 0}, {1, 0}})));
}

TEST(FakeTransportTest, CancelAllReachesWhatADoneSends) {
  FakeTransport transport;
  TransferError second = TransferError::kNone;
  transport.Send(Request(), [&](TransferResult) {
    transport.Send(Request(), [&](TransferResult result) { second = result.error; });
  });
  transport.CancelAll();
  EXPECT_EQ(second, TransferError::kCancelled);
}

class MemoryOutboxTest : public testing::Test {
 protected:
  void SetUp() override { Configure(*outbox_); }

  void Configure(MemoryOutbox& outbox) {
    outbox.ModifyWebhook(
        "default", "hook",
        [](std::optional<Webhook>) {
          Webhook webhook;
          webhook.enabled = true;
          return webhook;
        },
        [](absl::StatusOr<Webhook> webhook) { ASSERT_TRUE(webhook.ok()); });
    outbox.RunPending();
  }

  // The answer goes to statuses_.
  void Publish() {
    outbox_->Publish({{"default", "T", std::make_shared<std::string>("{}"), ""}},
                     [this](auto results) { statuses_.push_back(results.status()); });
  }

  FakeClock clock_;
  MemoryStore store_;
  std::unique_ptr<MemoryOutbox> outbox_ = std::make_unique<MemoryOutbox>(clock_, store_, nullptr);
  std::vector<absl::Status> statuses_;
};

TEST_F(MemoryOutboxTest, StepsApart) {
  Publish();
  Publish();
  EXPECT_EQ(outbox_->queued_writes(), 2u);
  EXPECT_EQ(outbox_->Commit(1), 1u);
  EXPECT_EQ(store_.notification_count(), 1u);
  EXPECT_EQ(outbox_->waiting_answers(), 1u);
  EXPECT_TRUE(statuses_.empty());
  EXPECT_TRUE(outbox_->AnswerOne());
  EXPECT_EQ(statuses_.size(), 1u);
  EXPECT_EQ(outbox_->RunPending(), 1u);
  EXPECT_EQ(outbox_->RunPending(), 0u);
}

TEST_F(MemoryOutboxTest, ACrashLosesTheQueueAndKeepsTheStore) {
  Publish();
  outbox_->Commit();
  Publish();
  outbox_ = std::make_unique<MemoryOutbox>(clock_, store_, nullptr);
  EXPECT_EQ(outbox_->RunPending(), 0u);
  EXPECT_TRUE(statuses_.empty());
  EXPECT_EQ(store_.notification_count(), 1u);
  ASSERT_EQ(store_.LoadWebhooks().size(), 1u);
  EXPECT_TRUE(store_.LoadWebhooks()[0].owed);
}

TEST_F(MemoryOutboxTest, InjectedFailuresStoreNothing) {
  outbox_->FailWrites(1, absl::ResourceExhaustedError("disk full"));
  Publish();
  Publish();
  outbox_->RunPending();
  ASSERT_EQ(statuses_.size(), 2u);
  EXPECT_EQ(statuses_[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(statuses_[1].ok());
  EXPECT_EQ(store_.notification_count(), 1u);
}

TEST_F(MemoryOutboxTest, HeldCommitsWaitWhileReadsAreAnswered) {
  outbox_->HoldCommits(true);
  Publish();
  bool read = false;
  outbox_->LoadWebhooks([&](auto) { read = true; });
  EXPECT_EQ(outbox_->RunPending(), 1u);
  EXPECT_TRUE(read);
  EXPECT_TRUE(statuses_.empty());
  outbox_->HoldCommits(false);
  outbox_->RunPending();
  EXPECT_EQ(statuses_.size(), 1u);
}

TEST_F(MemoryOutboxTest, ABrokenDiskMayHaveStoredTheCommit) {
  for (const bool stored : {false, true}) {
    const size_t before = store_.notification_count();
    outbox_->BreakDisk(stored);
    Publish();
    Publish();
    outbox_->RunPending();
    Publish();
    outbox_->RunPending();
    ASSERT_EQ(statuses_.size(), 3u);
    for (const auto& status : statuses_) EXPECT_EQ(status.code(), absl::StatusCode::kUnknown);
    EXPECT_EQ(store_.notification_count(), before + (stored ? 2 : 0));
    EXPECT_TRUE(outbox_->broken());
    statuses_.clear();
    outbox_ = std::make_unique<MemoryOutbox>(clock_, store_, nullptr);
  }
}

TEST_F(MemoryOutboxTest, BoundsRefuseAllButOutcomes) {
  outbox_->SetMaxQueuedWrites(1);
  Publish();
  Publish();
  absl::Status recorded = absl::UnknownError("not answered");
  outbox_->RecordOutcomes({}, [&](absl::Status status) { recorded = status; });
  outbox_->RunPending();
  ASSERT_EQ(statuses_.size(), 2u);
  EXPECT_EQ(statuses_[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(statuses_[1].ok());
  EXPECT_TRUE(recorded.ok());
  outbox_->SetMaxNotifications(1);
  Publish();
  outbox_->RunPending();
  EXPECT_EQ(statuses_[2].code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(MemoryOutboxTest, ShutDownDoesWhatIsQueued) {
  Publish();
  outbox_->ShutDown();
  Publish();
  outbox_->RunPending();
  ASSERT_EQ(statuses_.size(), 2u);
  EXPECT_EQ(statuses_[0].code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(statuses_[1].ok());
}

}  // namespace
}  // namespace postrider
