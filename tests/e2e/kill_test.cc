#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "src/base/ids.h"
#include "src/base/mutex.h"
#include "src/delivery/signing.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/server_process.h"
#include "tests/support/http_client.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

// The server is killed with -9 and started again while clients publish and receivers receive. What
// is checked, precisely:
//
// After each kill, on a copy of the files as the dead process left them:
//   1. PRAGMA integrity_check says ok.
//   2. Every notification that was acknowledged is there.
// At the end, when all that is owed has arrived:
//   3. Every acknowledged notification has reached each webhook that wants its type: it arrived
//      there and was answered with 200, its body is byte for byte what was published, and its
//      webhook-id is the id that the publisher was given.
//   4. Every request holds a body that a client has published, for a webhook that wants its type;
//      all requests for one body have one webhook-id; every signature verifies.
//   5. A request that comes after one for the same delivery was answered with 200 is a duplicate.
//      It is legal only if a kill lies between the two, and if the delivery was still PENDING on
//      disk at every kill that lies between them: its outcome was under way, or not recorded yet,
//      when the process died. So within one life of the process nothing arrives twice, and nothing
//      that was recorded as delivered ever comes again. Which life sent a request is known exactly,
//      see AwaitSilence.
//   6. At the ordered webhook first arrivals stand in the order of publishing, and a duplicate is
//      only ever the last request of the life before: it waits for each record before it sends the
//      next.
//   7. When nothing was PENDING at a kill, according to the API, nothing is on disk either:
//      outcomes are not kept back until somebody asks for a stop.

constexpr int kKills = 25;
constexpr int kClients = 4;
// How many notifications the clients may publish in each life of the server.
constexpr int kPublishedPerLife = 40 * POSTRIDER_TEST_SCALE;
constexpr int kMaxBatch = 12;

struct Receiver {
  const char* name;
  const char* path;
  // Empty: all.
  std::string type;
  bool ordered;
};
const Receiver kReceivers[] = {
    {"all", "/all", "", false},
    {"ordered", "/ordered", "", true},
    {"runs", "/runs", "RUN_COMPLETED", false},
    {"others", "/others", "OTHER", false},
};
const char* const kTypes[] = {"RUN_COMPLETED", "OTHER", "THIRD"};

bool Wants(const Receiver& receiver, const std::string& type) {
  return receiver.type.empty() || receiver.type == type;
}

uint32_t Seed() {
  const char* const given = std::getenv("KILL_TEST_SEED");
  uint32_t seed = 0;
  if (given != nullptr && absl::SimpleAtoi(given, &seed)) return seed;
  return std::random_device()();
}

// ---- What the receivers got

struct Arrival {
  std::string path;
  std::string id;
  std::string body;
  SignatureHeaders signature;
  absl::Time time;
  // The life of the server that sent it.
  int life = 0;
  bool answered_200 = false;
};

// All receivers behind one socket. Most requests are answered with 200, some after a while, and a
// few fail or are dropped. Thread-safe.
class Receivers {
 public:
  explicit Receivers(uint32_t seed)
      : random_(seed), sink_([this](const SinkRequest& r) { return Answer(r); }) {}

  std::string Url(const std::string& path) const { return sink_.Url(path); }

  // Waits until everything that the dead server has sent was taken in: then what comes is the next
  // life's. The kernel hands connections over in the order in which they were made, so when a later
  // one of our own was served, all of the dead server's are known; and a connection is closed when
  // its last byte was read.
  void AwaitSilence() {
    const std::string answer = HttpCall(sink_.port(), "POST", "/barrier", {}, "");
    EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200")) << answer;
    EXPECT_TRUE(Eventually([this] { return sink_.open_connections() == 0; }))
        << sink_.open_connections() << " connections outlive the server";
    MutexLock lock(&mutex_);
    ++life_;
  }

  std::vector<Arrival> arrivals() const {
    MutexLock lock(&mutex_);
    return arrivals_;
  }
  size_t count() const {
    MutexLock lock(&mutex_);
    return arrivals_.size();
  }

 private:
  SinkAnswer Answer(const SinkRequest& request) {
    SinkAnswer answer;
    if (request.target == "/barrier") {
      answer.close = true;
      return answer;
    }
    Arrival arrival;
    arrival.path = request.target;
    arrival.id = request.Header("webhook-id").value_or("");
    if (absl::StartsWith(arrival.id, "test_")) return answer;
    arrival.body = request.body;
    arrival.signature = {arrival.id, request.Header("webhook-timestamp").value_or(""),
                         request.Header("webhook-signature").value_or("")};
    arrival.time = request.time;
    const auto dice = random_() % 100;
    if (dice < 2) {
      answer.status = 503;
    } else if (dice < 3) {
      answer.way = SinkAnswer::Way::kDrop;
    } else if (dice < 40) {
      answer.delay = absl::Milliseconds(static_cast<int>(random_() % 8));
    }
    arrival.answered_200 = dice >= 3;
    MutexLock lock(&mutex_);
    arrival.life = life_;
    arrivals_.push_back(std::move(arrival));
    return answer;
  }

  std::mt19937 random_;
  mutable Mutex mutex_;
  int life_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Arrival> arrivals_ ABSL_GUARDED_BY(mutex_);
  // Its thread uses the rest.
  HttpSink sink_;
};

// ---- What the clients published

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

// ---- What a dead server left on disk

// A delivery by its webhook's name and its notification's id.
using DeliveryName = std::pair<std::string, std::string>;

struct Remains {
  std::string integrity;
  std::set<std::string> notifications;
  std::set<DeliveryName> pending;
};

std::vector<std::vector<std::string>> Query(sqlite3* db, const char* sql) {
  std::vector<std::vector<std::string>> rows;
  const auto take = [](void* to, int count, char** values, char**) {
    auto& row = static_cast<std::vector<std::vector<std::string>>*>(to)->emplace_back();
    for (int i = 0; i < count; ++i) row.emplace_back(values[i] == nullptr ? "" : values[i]);
    return 0;
  };
  char* error = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql, take, &rows, &error), SQLITE_OK) << sql << ": " << error;
  sqlite3_free(error);
  return rows;
}

int64_t Number(const std::string& text) {
  int64_t number = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << text;
  return number;
}

// Looks at a copy: opening the file itself would let SQLite repair what the next start shall find.
Remains Inspect(const std::string& database) {
  const ScratchDir scratch;
  const std::string copy = scratch.File("copy.db");
  std::filesystem::copy_file(database, copy);
  if (std::filesystem::exists(database + "-wal")) {
    std::filesystem::copy_file(database + "-wal", copy + "-wal");
  }
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(copy.c_str(), &db), SQLITE_OK);
  Remains remains;
  for (const auto& row : Query(db, "PRAGMA integrity_check")) {
    absl::StrAppend(&remains.integrity, remains.integrity.empty() ? "" : "\n", row[0]);
  }
  const auto meta = Query(db, "SELECT instance FROM meta");
  if (meta.size() == 1) {
    const IdCodec ids(static_cast<uint64_t>(Number(meta[0][0])));
    for (const auto& row : Query(db, "SELECT id FROM notification")) {
      remains.notifications.insert(ids.Format(NotificationId{Number(row[0])}));
    }
    for (const auto& row : Query(db,
                                 "SELECT w.name, d.notification_id FROM delivery d JOIN webhook w"
                                 " ON w.id = d.webhook_id WHERE d.state = 0")) {
      remains.pending.emplace(row[0], ids.Format(NotificationId{Number(row[1])}));
    }
  } else {
    ADD_FAILURE() << "meta has " << meta.size() << " rows";
  }
  sqlite3_close(db);
  return remains;
}

// ---- The test

class KillTest : public testing::Test {
 protected:
  KillTest() : seed_(Seed()), random_(seed_), receivers_(seed_) {
    std::printf("KILL_TEST_SEED=%u\n", seed_);
  }

  void ConfigureReceivers() {
    const ApiClient api(server_.grpc_address());
    for (const Receiver& receiver : kReceivers) {
      v1::Webhook webhook = WebhookAt(receiver.name, receivers_.Url(receiver.path));
      webhook.set_max_concurrency(8);
      if (!receiver.type.empty()) webhook.add_notification_types(receiver.type);
      if (receiver.ordered) webhook.set_delivery_order(v1::DELIVERY_ORDER_ORDERED);
      const absl::StatusOr<std::string> key = ParseSecret(api.Configure(webhook));
      ASSERT_TRUE(key.ok()) << key.status();
      keys_[receiver.path] = *key;
    }
  }

  absl::Duration RandomUpTo(absl::Duration bound) {
    return bound * std::uniform_real_distribution<double>(0, 1)(random_);
  }

  // Returns when the moment for the nth kill of a running server has come. True when nothing was
  // PENDING then.
  bool AwaitMoment(int n, const Clients& clients) {
    switch (n % 4) {
      case 0: {
        // Somewhere in the middle of it all.
        absl::SleepFor(RandomUpTo(absl::Milliseconds(150)));
        return false;
      }
      case 1: {
        // Just when publications were acknowledged.
        const int wanted =
            clients.acknowledged() + static_cast<int>(random_() % (kPublishedPerLife / 4)) + 1;
        EXPECT_TRUE(Eventually(
            [&] { return clients.acknowledged() >= wanted || clients.AllowanceUsed(); }));
        return false;
      }
      case 2: {
        // Just when requests have arrived.
        const size_t wanted = receivers_.count() + random_() % kPublishedPerLife + 1;
        EXPECT_TRUE(
            Eventually([&] { return receivers_.count() >= wanted || clients.AllowanceUsed(); }));
        return false;
      }
      default:
        // When all is done.
        EXPECT_TRUE(Eventually([&] { return clients.AllowanceUsed(); }));
        const ApiClient api(server_.grpc_address());
        for (const Receiver& receiver : kReceivers) {
          api.WaitForDeliveries(receiver.name, v1::DELIVERY_STATE_PENDING, 0);
        }
        return true;
    }
  }

  // After a kill.
  void ExamineRemains(const Clients& clients, bool nothing_pending) {
    receivers_.AwaitSilence();
    Remains remains = Inspect(server_.database());
    EXPECT_EQ(remains.integrity, "ok");
    for (const Publication& one : clients.publications()) {
      if (one.id.empty()) continue;
      EXPECT_TRUE(remains.notifications.count(one.id) > 0)
          << one.id << " was acknowledged and is not on disk";
    }
    EXPECT_TRUE(!nothing_pending || remains.pending.empty()) << remains.pending.size();
    remains_.push_back(std::move(remains));
  }

  // Waits until all that was acknowledged has arrived, as far as it can be seen without looking at
  // each: nothing is pending.
  void AwaitAllDelivered() {
    const ApiClient api(server_.grpc_address());
    for (const Receiver& receiver : kReceivers) {
      api.WaitForDeliveries(receiver.name, v1::DELIVERY_STATE_PENDING, 0);
      EXPECT_EQ(api.ListDeliveries(receiver.name, v1::DELIVERY_STATE_DEAD).size(), 0u);
      EXPECT_EQ(api.ListDeliveries(receiver.name, v1::DELIVERY_STATE_CANCELLED).size(), 0u);
    }
  }

  void CheckAll(const Clients& clients) {
    const std::vector<Publication> publications = clients.publications();
    std::map<std::string, const Publication*> by_body;
    for (const Publication& one : publications) by_body[one.body()] = &one;
    const std::vector<Arrival> arrivals = receivers_.arrivals();
    for (const Receiver& receiver : kReceivers) {
      std::vector<const Arrival*> own;
      for (const Arrival& arrival : arrivals) {
        if (arrival.path == receiver.path) own.push_back(&arrival);
      }
      CheckContents(receiver, own, by_body);
      CheckCompleteness(receiver, own, publications);
      CheckDuplicates(receiver, own);
      if (receiver.ordered) CheckOrder(own, by_body);
    }
  }

  void CheckContents(const Receiver& receiver, const std::vector<const Arrival*>& own,
                     const std::map<std::string, const Publication*>& by_body) {
    std::map<std::string, std::string> id_of_body;
    std::map<std::string, std::string> body_of_id;
    for (const Arrival* arrival : own) {
      const auto found = by_body.find(arrival->body);
      ASSERT_TRUE(found != by_body.end()) << "nobody has published " << arrival->body;
      const Publication& one = *found->second;
      EXPECT_TRUE(Wants(receiver, one.type)) << one.type << " at " << receiver.name;
      EXPECT_TRUE(one.id.empty() || arrival->id == one.id) << one.id << " " << arrival->id;
      EXPECT_EQ(id_of_body.emplace(arrival->body, arrival->id).first->second, arrival->id)
          << "stored twice: " << arrival->body;
      EXPECT_EQ(body_of_id.emplace(arrival->id, arrival->body).first->second, arrival->body);
      const absl::Status verified =
          VerifySignature(keys_[receiver.path], arrival->signature, arrival->body, arrival->time);
      EXPECT_TRUE(verified.ok()) << verified;
    }
  }

  void CheckCompleteness(const Receiver& receiver, const std::vector<const Arrival*>& own,
                         const std::vector<Publication>& publications) {
    std::set<std::pair<std::string, std::string>> taken;
    for (const Arrival* arrival : own) {
      if (arrival->answered_200) taken.emplace(arrival->id, arrival->body);
    }
    size_t owed = 0;
    for (const Publication& one : publications) {
      if (one.id.empty() || !Wants(receiver, one.type)) continue;
      ++owed;
      EXPECT_TRUE(taken.count({one.id, one.body()}) > 0)
          << one.id << " was acknowledged and has not arrived at " << receiver.name;
    }
    EXPECT_GT(owed, 0u);
  }

  void CheckDuplicates(const Receiver& receiver, const std::vector<const Arrival*>& own) {
    // The last request of each life.
    std::map<int, const Arrival*> last_of_life;
    for (const Arrival* arrival : own) last_of_life[arrival->life] = arrival;
    // The last request for a delivery that was answered with 200.
    std::map<std::string, const Arrival*> taken;
    for (const Arrival* arrival : own) {
      if (const auto found = taken.find(arrival->id); found != taken.end()) {
        const Arrival& first = *found->second;
        ++duplicates_;
        EXPECT_LT(first.life, arrival->life)
            << arrival->id << " came twice to " << receiver.name << " without a kill between";
        for (int kill = first.life; kill < arrival->life; ++kill) {
          EXPECT_TRUE(
              remains_[static_cast<size_t>(kill)].pending.count({receiver.name, arrival->id}) > 0)
              << arrival->id << " came again to " << receiver.name << " in life " << arrival->life
              << ", although it was recorded as delivered at kill " << kill;
        }
        if (receiver.ordered) {
          EXPECT_EQ(last_of_life[first.life], &first)
              << arrival->id << " was not recorded before the one behind it was sent";
        }
      }
      if (arrival->answered_200) taken[arrival->id] = arrival;
    }
  }

  void CheckOrder(const std::vector<const Arrival*>& own,
                  const std::map<std::string, const Publication*>& by_body) {
    std::set<std::string> seen;
    std::string last_id;
    std::map<int, int> last_number;
    for (const Arrival* arrival : own) {
      if (!seen.insert(arrival->id).second) continue;
      // The text of ids sorts as they were given.
      EXPECT_LT(last_id, arrival->id);
      last_id = arrival->id;
      const Publication& one = *by_body.at(arrival->body);
      EXPECT_LT(last_number[one.client], one.number) << "of client " << one.client;
      last_number[one.client] = one.number;
    }
  }

  const uint32_t seed_;
  std::mt19937 random_;
  Receivers receivers_;
  ServerProcess server_;
  std::map<std::string, std::string> keys_;
  // Of each kill.
  std::vector<Remains> remains_;
  int duplicates_ = 0;
};

TEST_F(KillTest, WhatWasAcknowledgedArrivesAlthoughTheServerIsKilledAgainAndAgain) {
  absl::Time launched = absl::Now();
  ASSERT_TRUE(server_.Start());
  absl::Duration start_takes = absl::Now() - launched;
  ConfigureReceivers();
  ASSERT_FALSE(HasFailure());

  Clients clients(seed_);
  clients.SetServer(server_.grpc_address(), 0);
  for (int kill = 0; kill < kKills; ++kill) {
    bool nothing_pending = false;
    if (kill % 5 == 4) {
      // While it starts: it was killed at the end of the turn before, with deliveries owed.
      absl::SleepFor(RandomUpTo(start_takes));
    } else {
      nothing_pending = AwaitMoment(kill, clients);
    }
    server_.Kill();
    clients.SetServer("", kill);
    ExamineRemains(clients, nothing_pending);
    ASSERT_FALSE(HasFailure()) << "at kill " << kill;

    launched = absl::Now();
    server_.Launch();
    if ((kill + 1) % 5 == 4 && kill + 1 < kKills) continue;
    ASSERT_TRUE(server_.Ready()) << "after kill " << kill;
    start_takes = absl::Now() - launched;
    clients.SetServer(server_.grpc_address(), kill + 1);
  }
  EXPECT_TRUE(Eventually([&] { return clients.AllowanceUsed(); }));
  clients.Stop();
  AwaitAllDelivered();
  EXPECT_EQ(server_.Terminate(), 0);
  EXPECT_EQ(Inspect(server_.database()).integrity, "ok");

  CheckAll(clients);
  EXPECT_GT(clients.repeated(), 0);
  std::printf("%d acknowledged, %zu requests, %d duplicates, %d keys used again\n",
              clients.acknowledged(), receivers_.count(), duplicates_, clients.repeated());
}

TEST_F(KillTest, AServerThatIsKilledWhileItMakesItsDatabaseStartsTheNextTime) {
  // How long a start takes from nothing.
  absl::Duration start_takes;
  {
    ServerProcess other;
    const absl::Time launched = absl::Now();
    ASSERT_TRUE(other.Start());
    start_takes = absl::Now() - launched;
  }
  for (int i = 0; i < 8; ++i) {
    ServerProcess fresh;
    fresh.Launch();
    absl::SleepFor(RandomUpTo(start_takes));
    fresh.Kill();
    ASSERT_TRUE(fresh.Start());
    EXPECT_EQ(fresh.Terminate(), 0);
    EXPECT_EQ(Inspect(fresh.database()).integrity, "ok");
  }
}

}  // namespace
}  // namespace postrider
