#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <semaphore>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "src/base/clock.h"
#include "src/base/random.h"
#include "src/outbox/sqlite/database.h"
#include "src/outbox/sqlite/sqlite_outbox.h"
#include "tests/outbox/sqlite/outbox_client.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

std::string IntegrityOf(const std::string& path) {
  auto database = Database::Open(path, Database::Mode::kReadOnly, "");
  if (!database.ok()) return database.status().ToString();
  const auto verdict = database->Text("PRAGMA integrity_check");
  return verdict.ok() ? *verdict : verdict.status().ToString();
}

TEST(SqliteDurabilityTest, WhatWasAnsweredIsInTheFilesAtThatMoment) {
  const ScratchDir dir, copy;
  const auto outbox = OpenOutbox(TestOptions(dir.path()), SystemClock());
  ASSERT_TRUE(PutWebhook(*outbox, "hook").ok());
  std::vector<NotificationId> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(PublishOne(*outbox, "T", std::to_string(i))->id);
  // As the disk is when the power is cut: nobody has closed anything.
  for (const char* name : {"outbox.db", "outbox.db-wal"}) {
    std::filesystem::copy_file(dir.File(name), copy.File(name));
  }
  {
    const auto again = OpenOutbox(TestOptions(copy.path()), SystemClock());
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto notification = GetNotification(*again, ids[i]);
      ASSERT_TRUE(notification.ok()) << notification.status();
      EXPECT_EQ(notification->body, std::to_string(i));
    }
    const auto hook =
        Await<Webhook>([&](auto done) { again->GetWebhook("default", "hook", std::move(done)); });
    ASSERT_TRUE(hook.ok());
    EXPECT_EQ(ReadOwed(*again, hook->id)->rows.size(), ids.size());
    EXPECT_EQ(again->ids().Format(ids[0]), outbox->ids().Format(ids[0]));
  }
  EXPECT_EQ(IntegrityOf(copy.File("outbox.db")), "ok");
}

// Publishes until it is killed, so many calls at a time, and writes the number of what was answered
// to the pipe.
constexpr ptrdiff_t kCallsUnderWay = 64;
[[noreturn]] void PublishForever(const std::string& directory, int pipe) {
  const auto outbox = OpenOutbox(TestOptions(directory), SystemClock());
  if (!PutWebhook(*outbox, "hook").ok()) _exit(3);
  std::counting_semaphore<kCallsUnderWay> free_calls(kCallsUnderWay);
  while (true) {
    free_calls.acquire();
    std::vector<NewNotification> some(
        7, {"default", "T", std::make_shared<const std::string>(700, 'x'), ""});
    outbox->Publish(std::move(some), [pipe, &free_calls](auto results) {
      free_calls.release();
      if (!results.ok()) _exit(6);
      for (const auto& result : *results) {
        if (!result.ok()) _exit(4);
        const auto id = static_cast<int64_t>(result->id);
        if (write(pipe, &id, sizeof id) != sizeof id) _exit(5);
      }
    });
  }
}

TEST(SqliteDurabilityTest, KillingItLosesNothingThatWasAnswered) {
  const ScratchDir dir;
  std::set<int64_t> answered;
  SeededRandom random(20261124);
  for (int round = 0; round < 8; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(pipe_ends[0]);
      PublishForever(dir.path(), pipe_ends[1]);
    }
    close(pipe_ends[1]);
    const size_t enough = answered.size() + 1 + random.Next() % 3000;
    int64_t id = 0;
    while (read(pipe_ends[0], &id, sizeof id) == sizeof id) {
      answered.insert(id);
      if (answered.size() == enough) kill(child, SIGKILL);
    }
    close(pipe_ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    EXPECT_GE(answered.size(), enough);
    ASSERT_EQ(IntegrityOf(dir.File("outbox.db")), "ok") << "round " << round;
  }
  const auto outbox = OpenOutbox(TestOptions(dir.path()), SystemClock());
  for (const int64_t id : answered) {
    const auto notification = GetNotification(*outbox, NotificationId{id});
    ASSERT_TRUE(notification.ok()) << notification.status();
    ASSERT_EQ(notification->delivery_count, 1);
  }
  // Whatever was stored is owed: a notification and its delivery come together.
  EXPECT_GE(ReadOwed(*outbox, WebhookId{1}, 1000000)->rows.size(), answered.size());
}

// Tells the pipe of each commit.
class CommitsListener final : public OutboxListener {
 public:
  explicit CommitsListener(int pipe) : pipe_(pipe) {}
  void OnOwed(std::vector<OwedDelivery>) override {
    if (write(pipe_, "", 1) != 1) _exit(5);
  }
  void OnWebhookChanged(const Webhook&) override {}
  void OnWebhookDeleted(WebhookId) override {}

 private:
  const int pipe_;
};

constexpr int kBatchHooks = 40;
constexpr int kBatch = 1000;

std::vector<NewNotification> Batch() {
  std::vector<NewNotification> batch;
  for (int i = 0; i < kBatch; ++i) {
    batch.push_back({"default", "T", std::make_shared<const std::string>("{}"),
                     "key-" + std::to_string(i)});
  }
  return batch;
}

[[noreturn]] void PublishABatch(const std::string& directory, int pipe) {
  CommitsListener listener(pipe);
  const auto outbox = OpenOutbox(TestOptions(directory), SystemClock(), &listener);
  PublishAll(*outbox, Batch()).IgnoreError();
  _exit(3);
}

TEST(SqliteDurabilityTest, KillingItBetweenTheSlicesOfABatchLeavesWholeNotifications) {
  const ScratchDir dir;
  {
    const auto outbox = OpenOutbox(TestOptions(dir.path()), SystemClock());
    for (int i = 0; i < kBatchHooks; ++i) {
      ASSERT_TRUE(PutWebhook(*outbox, "hook-" + std::to_string(i)).ok());
    }
  }
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(pipe_ends[0]);
    PublishABatch(dir.path(), pipe_ends[1]);
  }
  close(pipe_ends[1]);
  char byte = 0;
  for (int i = 0; i < 5; ++i) ASSERT_EQ(read(pipe_ends[0], &byte, 1), 1);
  kill(child, SIGKILL);
  close(pipe_ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  ASSERT_EQ(IntegrityOf(dir.File("outbox.db")), "ok");
  const auto outbox = OpenOutbox(TestOptions(dir.path()), SystemClock());
  const auto stored = CountDeliveries(*outbox, "hook-0");
  ASSERT_TRUE(stored.ok());
  EXPECT_GT(*stored, 0);
  // As many for the last webhook: no notification has but some of its deliveries.
  EXPECT_EQ(*stored, *CountDeliveries(*outbox, "hook-" + std::to_string(kBatchHooks - 1)));
  // Sent again, each is there once.
  const auto again = PublishAll(*outbox, Batch());
  ASSERT_TRUE(again.ok()) << again.status();
  int duplicates = 0;
  for (const auto& result : *again) duplicates += result->duplicate ? 1 : 0;
  EXPECT_EQ(duplicates, *stored);
  EXPECT_EQ(*CountDeliveries(*outbox, "hook-0"), kBatch);
}

}  // namespace
}  // namespace postrider
