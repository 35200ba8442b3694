#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "src/message/signing.h"
#include "tests/e2e/api_client.h"
#include "tests/e2e/kill_clients.h"
#include "tests/e2e/kill_receivers.h"
#include "tests/e2e/kill_remains.h"
#include "tests/e2e/server_process.h"

namespace postrider::kill {
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

uint32_t Seed() {
  const char* const given = std::getenv("KILL_TEST_SEED");
  uint32_t seed = 0;
  if (given != nullptr && absl::SimpleAtoi(given, &seed)) return seed;
  return std::random_device()();
}

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
}  // namespace postrider::kill
