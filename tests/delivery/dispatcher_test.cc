#include "src/delivery/dispatcher.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "src/base/random.h"
#include "src/delivery/engine.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_transport.h"
#include "tests/support/manual_executor.h"
#include "tests/support/memory_outbox.h"

namespace postrider {
namespace {

// Engines behind a dispatcher, each with a transport of its own.
class DispatcherTest : public ::testing::Test {
 protected:
  struct Pump {
    Pump(const Clock& clock, Outbox& outbox)
        : engine({"1"}, clock, random, transport, outbox, executor, metrics) {}
    ~Pump() {
      transport.CancelAll();
      executor.Stop();
    }

    SeededRandom random{1};
    FakeTransport transport;
    ManualExecutor executor;
    EngineMetrics metrics;
    Engine engine;
  };

  void MakePumps(int count) {
    std::vector<Dispatcher::Lane> lanes;
    for (int i = 0; i < count; ++i) {
      pumps_.push_back(std::make_unique<Pump>(clock_, outbox_));
      lanes.push_back({&pumps_.back()->executor, &pumps_.back()->engine});
    }
    dispatcher_.SetLanes(lanes);
  }

  void Run() {
    for (bool more = true; more;) {
      more = outbox_.RunPending() > 0;
      for (const auto& pump : pumps_) {
        more = pump->executor.RunAll() > 0 || more;
        pump->engine.Step();
      }
    }
  }

  WebhookId AddWebhook(const std::string& name) {
    WebhookId id{};
    outbox_.ModifyWebhook(
        "default", name,
        [name](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
          Webhook webhook;
          webhook.tenant = "default";
          webhook.name = name;
          webhook.url = "http://receiver.example/" + name;
          webhook.enabled = true;
          webhook.secrets = {{std::string(32, 'k')}};
          return std::optional<Webhook>(webhook);
        },
        [&id](absl::StatusOr<Webhook> webhook) { id = webhook->id; });
    Run();
    return id;
  }

  void Publish(int count) {
    std::vector<NewNotification> notifications;
    for (int i = 0; i < count; ++i) {
      notifications.push_back(
          {"default", "T", std::make_shared<const std::string>(std::string(1000, 'b')), ""});
    }
    outbox_.Publish(std::move(notifications), [](auto) {});
  }

  size_t Sent() const {
    size_t sent = 0;
    for (const auto& pump : pumps_) sent += pump->transport.sent();
    return sent;
  }

  static constexpr size_t kMaxBytes = 5000;

  FakeClock clock_;
  MemoryStore store_;
  std::vector<Webhook> disabled_;
  Dispatcher dispatcher_{kMaxBytes,
                         [this](const Webhook& webhook) { disabled_.push_back(webhook); }};
  MemoryOutbox outbox_{clock_, store_, &dispatcher_};
  std::vector<std::unique_ptr<Pump>> pumps_;
};

TEST_F(DispatcherTest, EachWebhookHasOnePump) {
  MakePumps(3);
  for (int i = 0; i < 30; ++i) AddWebhook("hook-" + std::to_string(i));
  Publish(1);
  Run();
  EXPECT_EQ(Sent(), 30u);
  // All pumps have work, and what belongs together stays together.
  std::vector<size_t> sent;
  for (const auto& pump : pumps_) {
    sent.push_back(pump->transport.sent());
    EXPECT_GT(sent.back(), 0u);
    pump->transport.SucceedAll();
  }
  Run();
  Publish(1);
  Run();
  for (size_t i = 0; i < pumps_.size(); ++i) {
    EXPECT_EQ(pumps_[i]->transport.sent(), 2 * sent[i]);
  }
}

TEST_F(DispatcherTest, ACommitIsOneClosure) {
  MakePumps(1);
  AddWebhook("hook");
  Publish(5);
  outbox_.Commit();
  EXPECT_EQ(pumps_[0]->executor.size(), 1u);
}

TEST_F(DispatcherTest, WhatIsTooMuchIsReadFromDisk) {
  MakePumps(1);
  AddWebhook("hook");
  // The pump does not turn while these are committed.
  for (int i = 0; i < 20; ++i) {
    Publish(1);
    outbox_.Commit();
  }
  EXPECT_GE(dispatcher_.left_on_disk().value(), 15u);
  EXPECT_LE(pumps_[0]->executor.size(), 6u);
  for (int i = 0; i < 10; ++i) {
    Run();
    pumps_[0]->transport.SucceedAll();
  }
  Run();
  EXPECT_EQ(Sent(), 20u);
}

TEST_F(DispatcherTest, TheStartHandsOverWhatIsOwed) {
  // A former process has left it.
  {
    MemoryOutbox former(clock_, store_, nullptr);
    former.ModifyWebhook(
        "default", "hook",
        [](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
          Webhook webhook;
          webhook.tenant = "default";
          webhook.name = "hook";
          webhook.url = "http://receiver.example/";
          webhook.enabled = true;
          webhook.secrets = {{std::string(32, 'k')}};
          return std::optional<Webhook>(webhook);
        },
        [](auto) {});
    former.Publish({{"default", "T", std::make_shared<const std::string>("{}"), ""}}, [](auto) {});
    former.RunPending();
  }
  MakePumps(2);
  dispatcher_.Start(store_.LoadWebhooks());
  Run();
  EXPECT_EQ(Sent(), 1u);
}

TEST_F(DispatcherTest, TellsOfWebhooksThatWereDisabled) {
  MakePumps(1);
  const WebhookId id = AddWebhook("hook");
  outbox_.DisableWebhook(id, store_.GetWebhook("default", "hook")->version, "it answered 410",
                         [](absl::Status) {});
  Run();
  ASSERT_EQ(disabled_.size(), 1u);
  EXPECT_EQ(disabled_[0].disabled_reason, "it answered 410");
}

TEST_F(DispatcherTest, NothingIsSentToADeletedWebhook) {
  MakePumps(1);
  AddWebhook("hook");
  outbox_.ModifyWebhook(
      "default", "hook",
      [](std::optional<Webhook>) -> absl::StatusOr<std::optional<Webhook>> {
        return std::optional<Webhook>();
      },
      [](auto) {});
  Publish(1);
  Run();
  EXPECT_EQ(Sent(), 0u);
}

}  // namespace
}  // namespace postrider
