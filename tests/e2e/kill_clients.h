#pragma once

#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "src/base/mutex.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/kill_receivers.h"

// The kill test's clients, and what they published.

namespace postrider::kill {

constexpr int kClients = 4;
// How many notifications the clients may publish in each life of the server.
constexpr int kPublishedPerLife = 40 * POSTRIDER_TEST_SCALE;
constexpr int kMaxBatch = 12;
const char* const kTypes[] = {"RUN_COMPLETED", "OTHER", "THIRD"};

struct Publication {
  int client = 0;
  // Grows with the publications of a client. Each ended before the next began.
  int number = 0;
  std::string type;
  std::string payload;
  std::string key;
  // Given by the server; empty while it is not acknowledged.
  std::string id;
  int acknowledged_in_life = 0;

  std::string body() const { return BodyOf(payload, type); }
};

// The clients, each with a thread of its own. Thread-safe.
class Clients {
 public:
  explicit Clients(uint32_t seed) {
    for (int i = 0; i < kClients; ++i) {
      threads_.emplace_back([this, i, seed] { Run(i, seed + static_cast<uint32_t>(i)); });
    }
  }
  ~Clients() { Stop(); }

  // There is a server at the address, or none when it is empty.
  void SetServer(const std::string& address, int life) {
    MutexLock lock(&mutex_);
    address_ = address;
    life_ = life;
    if (!address.empty()) allowed_ = kPublishedPerLife * (life + 1);
    changed_.SignalAll();
  }

  // Returns when nobody publishes any more.
  void Stop() {
    {
      MutexLock lock(&mutex_);
      stopped_ = true;
      changed_.SignalAll();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  std::vector<Publication> publications() const {
    MutexLock lock(&mutex_);
    std::vector<Publication> all;
    for (const auto& [body, publication] : by_body_) all.push_back(publication);
    return all;
  }
  int acknowledged() const { return acknowledged_; }
  // They wait for the next life.
  bool AllowanceUsed() const {
    MutexLock lock(&mutex_);
    return begun_ >= allowed_ && busy_ == 0;
  }
  // How often a key of a former life was used again.
  int repeated() const { return repeated_; }

 private:
  // What one client knows. Its thread's own.
  struct Client {
    int index;
    std::mt19937 random;
    int last_number = 0;
    int life = -1;
    std::unique_ptr<ApiClient> api;
    // Acknowledged with a key.
    std::vector<Publication> keyed;
    // With a key, and not acknowledged: they are tried again.
    std::vector<Publication> open;
  };

  void Run(int index, uint32_t seed) {
    Client client{index, std::mt19937(seed)};
    while (AwaitTurn(client)) {
      std::vector<Publication> batch = Choose(client);
      Publish(client, batch);
      MutexLock lock(&mutex_);
      --busy_;
    }
  }

  // Waits for a server and for leave to publish. False when it is time to stop.
  bool AwaitTurn(Client& client) {
    MutexLock lock(&mutex_);
    while (!stopped_ && (address_.empty() || begun_ >= allowed_)) {
      changed_.WaitFor(&mutex_, absl::Seconds(1));
    }
    if (stopped_) return false;
    if (client.life != life_) {
      client.life = life_;
      client.api = std::make_unique<ApiClient>(address_);
    }
    ++busy_;
    return true;
  }

  std::vector<Publication> Choose(Client& client) {
    if (!client.open.empty()) return std::exchange(client.open, {});
    std::vector<Publication> batch;
    if (!client.keyed.empty() && client.random() % 8 == 0) {
      const Publication& old = client.keyed[client.random() % client.keyed.size()];
      if (old.acknowledged_in_life < client.life) return {old};
    }
    const size_t count = client.random() % 3 == 0 ? 1 + client.random() % kMaxBatch : 1;
    while (batch.size() < count) {
      Publication& added = batch.emplace_back();
      added.client = client.index;
      added.number = ++client.last_number;
      added.type = kTypes[client.random() % std::size(kTypes)];
      added.payload = absl::StrCat(R"({"client": )", added.client, R"(, "number":)", added.number,
                                   R"(, "exact": 9007199254740993, "pad": ")",
                                   std::string(client.random() % 2000, 'x'), "\"}");
      if (client.random() % 2 == 0) added.key = absl::StrCat(added.client, "-", added.number);
    }
    MutexLock lock(&mutex_);
    begun_ += static_cast<int>(count);
    for (const Publication& one : batch) by_body_[one.body()] = one;
    return batch;
  }

  static v1::PublishNotificationRequest RequestFor(const Publication& one) {
    v1::PublishNotificationRequest request;
    request.set_idempotency_key(one.key);
    v1::Notification& notification = *request.mutable_notification();
    notification.set_notification_type(one.type);
    notification.set_model_name("test");
    notification.set_model_id(28740);
    notification.set_json_payload(one.payload);
    return request;
  }

  void Publish(Client& client, std::vector<Publication>& batch) {
    if (batch.size() == 1 && client.random() % 4 != 0) {
      v1::PublishNotificationResponse response;
      const RpcResult result = client.api->Call(&v1::NotificationService::Stub::PublishNotification,
                                                RequestFor(batch[0]), &response);
      if (!Ended(client, result, batch)) return;
      Acknowledged(client, batch[0], response);
      return;
    }
    v1::BatchPublishNotificationsRequest request;
    for (const Publication& one : batch) *request.add_requests() = RequestFor(one);
    v1::BatchPublishNotificationsResponse response;
    const RpcResult result = client.api->Call(
        &v1::NotificationService::Stub::BatchPublishNotifications, request, &response);
    if (!Ended(client, result, batch)) return;
    ASSERT_EQ(response.results_size(), static_cast<int>(batch.size()));
    for (size_t i = 0; i < batch.size(); ++i) {
      const auto& one = response.results(static_cast<int>(i));
      ASSERT_TRUE(one.has_response()) << one.ShortDebugString();
      Acknowledged(client, batch[i], one.response());
    }
  }

  // False when the server died under the call: then it may be stored or not.
  bool Ended(Client& client, const RpcResult& result, const std::vector<Publication>& batch) {
    if (result.ok()) return true;
    EXPECT_EQ(result.code, grpc::StatusCode::UNAVAILABLE) << result;
    for (const Publication& one : batch) {
      if (!one.key.empty() && one.id.empty()) client.open.push_back(one);
    }
    MutexLock lock(&mutex_);
    // Not again before the next server, or none, is announced.
    while (!stopped_ && life_ == client.life && !address_.empty()) {
      changed_.WaitFor(&mutex_, absl::Seconds(1));
    }
    return false;
  }

  void Acknowledged(Client& client, Publication& one,
                    const v1::PublishNotificationResponse& response) {
    EXPECT_FALSE(response.notification_id().empty());
    if (!one.id.empty()) {
      EXPECT_EQ(response.notification_id(), one.id) << "for key " << one.key;
      EXPECT_TRUE(response.duplicate());
      ++repeated_;
      return;
    }
    int wanted_by = 0;
    for (const Receiver& receiver : kReceivers) wanted_by += Wants(receiver, one.type) ? 1 : 0;
    EXPECT_EQ(response.delivery_count(), wanted_by);
    EXPECT_FALSE(one.key.empty() && response.duplicate());
    one.id = response.notification_id();
    one.acknowledged_in_life = client.life;
    if (!one.key.empty()) client.keyed.push_back(one);
    ++acknowledged_;
    MutexLock lock(&mutex_);
    by_body_[one.body()] = one;
  }

  mutable Mutex mutex_;
  CondVar changed_;
  std::string address_ ABSL_GUARDED_BY(mutex_);
  int life_ ABSL_GUARDED_BY(mutex_) = 0;
  int allowed_ ABSL_GUARDED_BY(mutex_) = 0;
  int begun_ ABSL_GUARDED_BY(mutex_) = 0;
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  // Also those that were never acknowledged.
  std::map<std::string, Publication> by_body_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int> acknowledged_{0};
  std::atomic<int> repeated_{0};
  std::vector<std::thread> threads_;
};

}  // namespace postrider::kill
