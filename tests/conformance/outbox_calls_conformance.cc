#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/conformance/outbox_conformance.h"

// What holds for all calls: from many threads, from inside a `done`, and at the end.

namespace postrider {
namespace {

using PublishResult = absl::StatusOr<std::vector<absl::StatusOr<Published>>>;

NewNotification New(std::string key = "") {
  return {"default", "T", std::make_shared<std::string>("{}"), std::move(key)};
}

// Counts answers of many calls, and tells when all have come.
class Countdown {
 public:
  Countdown(int count, std::function<void()> done) : left_(count), done_(std::move(done)) {}

  void Tick() {
    {
      MutexLock lock(&mutex_);
      if (--left_ > 0) return;
    }
    done_();
  }

 private:
  Mutex mutex_;
  int left_ ABSL_GUARDED_BY(mutex_);
  const std::function<void()> done_;
};

TEST_P(OutboxConformanceTest, CallsComeFromManyThreads) {
  const Webhook webhook = Put("default", "hook");
  constexpr int kThreads = 4;
  constexpr int kEach = 50;
  std::atomic<int> failures{0};
  Await([&](std::function<void()> answered) {
    auto countdown = std::make_shared<Countdown>(kThreads * kEach * 2, std::move(answered));
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, countdown] {
        for (int i = 0; i < kEach; ++i) {
          outbox().Publish({New()}, [&, countdown](PublishResult results) {
            if (!results.ok() || !(*results)[0].ok()) ++failures;
            countdown->Tick();
          });
          outbox().GetWebhook("default", "hook", [&, countdown](absl::StatusOr<Webhook> read) {
            if (!read.ok()) ++failures;
            countdown->Tick();
          });
        }
      });
    }
    for (auto& thread : threads) thread.join();
  });
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(Owed(webhook.id).rows.size(), size_t{kThreads} * kEach);
}

TEST_P(OutboxConformanceTest, ADoneMayCallAndReadsWhatWasWritten) {
  Put("default", "hook");
  absl::StatusOr<Notification> read;
  absl::StatusOr<Webhook> webhook;
  Await([&](std::function<void()> answered) {
    auto countdown = std::make_shared<Countdown>(2, std::move(answered));
    outbox().Publish({New("key")}, [&, countdown](PublishResult results) {
      const NotificationId id =
          results.ok() && (*results)[0].ok() ? (*results)[0]->id : NotificationId{};
      outbox().GetNotification("default", id, [&, countdown](absl::StatusOr<Notification> r) {
        read = std::move(r);
        countdown->Tick();
      });
    });
    outbox().ModifyWebhook(
        "default", "hook",
        [](std::optional<Webhook> old) {
          old->max_concurrency = 7;
          return old;
        },
        [&, countdown](absl::StatusOr<Webhook>) {
          outbox().GetWebhook("default", "hook", [&, countdown](absl::StatusOr<Webhook> r) {
            webhook = std::move(r);
            countdown->Tick();
          });
        });
  });
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->idempotency_key, "key");
  ASSERT_TRUE(webhook.ok()) << webhook.status();
  EXPECT_EQ(webhook->max_concurrency, 7);
}

TEST_P(OutboxConformanceTest, OfManyPublishesWithOneKeyOneIsStored) {
  const Webhook webhook = Put("default", "hook");
  constexpr int kCalls = 40;
  std::vector<absl::StatusOr<Published>> results(kCalls);
  Await([&](std::function<void()> answered) {
    auto countdown = std::make_shared<Countdown>(kCalls, std::move(answered));
    for (int i = 0; i < kCalls; ++i) {
      outbox().Publish({New("key")}, [&results, countdown, i](PublishResult r) {
        results[i] = r.ok() ? (*r)[0] : absl::StatusOr<Published>(r.status());
        countdown->Tick();
      });
    }
  });
  int stored = 0;
  for (const auto& result : results) {
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->id, results[0]->id);
    EXPECT_EQ(result->delivery_count, 1);
    stored += result->duplicate ? 0 : 1;
  }
  EXPECT_EQ(stored, 1);
  EXPECT_EQ(Owed(webhook.id).rows.size(), 1u);
}

TEST_P(OutboxConformanceTest, ShutDownDoesWhatWaitsAndRefusesWhatComes) {
  const Webhook webhook = Put("default", "hook");
  constexpr int kCalls = 100;
  std::atomic<int> stored{0};
  Await([&](std::function<void()> answered) {
    auto countdown = std::make_shared<Countdown>(kCalls, std::move(answered));
    for (int i = 0; i < kCalls; ++i) {
      outbox().Publish({New()}, [&, countdown](PublishResult r) {
        if (r.ok() && (*r)[0].ok()) ++stored;
        countdown->Tick();
      });
    }
    harness_->Close();
  });
  EXPECT_EQ(stored, kCalls);
  const auto code = absl::StatusCode::kUnavailable;
  EXPECT_EQ(Wait<std::vector<absl::StatusOr<Published>>>(
                [&](auto done) { outbox().Publish({New()}, std::move(done)); })
                .status()
                .code(),
            code);
  EXPECT_EQ(Delete("default", "hook").status().code(), code);
  EXPECT_EQ(Record({}).code(), code);
  EXPECT_EQ(Retry("default", DeliveryId{1}).status().code(), code);
  EXPECT_EQ(WaitStatus([&](auto done) {
              outbox().DisableWebhook(webhook.id, webhook.version, "x", std::move(done));
            }).code(),
            code);
  harness_->Reopen();
  EXPECT_EQ(Owed(webhook.id).rows.size(), static_cast<size_t>(kCalls));
}

}  // namespace
}  // namespace postrider
