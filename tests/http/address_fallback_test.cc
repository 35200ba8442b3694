// Of hosts with several addresses, some of which cannot be connected to.

#include <dirent.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/http/connect_race.h"
#include "src/http/target_addresses.h"
#include "tests/http/transport_harness.h"
#include "tests/support/black_hole.h"
#include "tests/support/fake_clock.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(5);

// Receivers at loopback addresses, all with the port of one that works.
class AddressFallbackTest : public testing::Test {
 protected:
  // Beside the sink, which is at 127.0.0.1. False where it cannot be had.
  bool Swallow(const std::string& address) {
    auto hole = std::make_unique<BlackHole>(address, sink_->port());
    if (!hole->open()) return false;
    holes_.push_back(std::move(hole));
    return true;
  }
  // Another test may have the port at another address: then another sink is taken.
  void SwallowAll(const std::vector<std::string>& addresses) {
    for (int tries = 0; tries < 50; ++tries) {
      bool all = true;
      for (const std::string& address : addresses) all = all && Swallow(address);
      if (all) return;
      holes_.clear();
      sink_ = std::make_unique<HttpSink>(script_);
    }
    FAIL() << "no port is free at all of the addresses";
  }
  void UseScript(HttpSink::Script script) {
    script_ = std::move(script);
    sink_ = std::make_unique<HttpSink>(script_);
  }
  void SetHost(TransportHarness& h, const std::string& host, std::vector<std::string> addresses) {
    h.thread.Call([&] { h.resolver.hosts[host] = std::move(addresses); });
  }
  std::string UrlOf(const std::string& host) const {
    return absl::StrCat("http://", host, ":", sink_->port(), "/hook");
  }

  HttpSink::Script script_;
  std::unique_ptr<HttpSink> sink_ = std::make_unique<HttpSink>();
  std::vector<std::unique_ptr<BlackHole>> holes_;
};

size_t OpenDescriptors() {
  size_t count = 0;
  DIR* const directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

TEST_F(AddressFallbackTest, AFirstAddressThatSwallowsPacketsDoesNotKeepAHostFromBeingReached) {
  SwallowAll({"127.0.0.2"});
  TransportHarness h;
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.1"});
  const TransferResult result = h.Send(TransportHarness::Request(UrlOf("dark.test"), kTimeout));
  EXPECT_EQ(result.error, TransferError::kNone) << result.message;
  EXPECT_EQ(result.http_status, 200);
  EXPECT_GE(result.latency, absl::Milliseconds(250));
  EXPECT_EQ(h.metrics.address_fallbacks.value(), 1u);
  EXPECT_EQ(sink_->connection_count(), 1u);
}

TEST_F(AddressFallbackTest, TheNextAttemptDoesNotBeginWithTheDeadAddress) {
  SinkAnswer closing;
  closing.close = true;
  UseScript([closing](const SinkRequest&) { return closing; });
  SwallowAll({"127.0.0.2"});
  TransportHarness h;
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.1"});
  // Another host at the same addresses, too.
  SetHost(h, "alias.test", {"127.0.0.2", "127.0.0.1"});
  const TransferRequest request = TransportHarness::Request(UrlOf("dark.test"), kTimeout);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(h.Send(request).http_status, 200);
  EXPECT_EQ(h.Send(TransportHarness::Request(UrlOf("dark.test"), kTimeout)).http_status, 200);
  EXPECT_EQ(h.Send(TransportHarness::Request(UrlOf("alias.test"), kTimeout)).http_status, 200);
  EXPECT_EQ(h.metrics.address_fallbacks.value(), 1u);
  EXPECT_EQ(sink_->connection_count(), 5u);
}

TEST_F(AddressFallbackTest, AKeptConnectionIsUsedWhateverTheOrderOfTheAddresses) {
  SwallowAll({"127.0.0.2"});
  TransportHarness h;
  // Each request has a target of its own, so that the name is resolved again.
  const auto send = [&] {
    return h.Send(TransportHarness::Request(UrlOf("dark.test"), kTimeout)).http_status;
  };
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.1"});
  EXPECT_EQ(send(), 200);
  EXPECT_EQ(send(), 200);
  SetHost(h, "dark.test", {"127.0.0.1", "127.0.0.2"});
  EXPECT_EQ(send(), 200);
  EXPECT_EQ(sink_->connection_count(), 1u);
  EXPECT_EQ(h.metrics.connections_reused.value(), 2u);
}

TEST_F(AddressFallbackTest, SeveralDeadOnesAreTriedBesideOneAnother) {
  SwallowAll({"127.0.0.2", "127.0.0.3", "127.0.0.4"});
  TransportHarness h;
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"});
  const TransferResult result = h.Send(TransportHarness::Request(UrlOf("dark.test"), kTimeout));
  EXPECT_EQ(result.http_status, 200) << result.message;
  EXPECT_GE(result.latency, absl::Milliseconds(750));
}

TEST_F(AddressFallbackTest, Ipv6ThatDoesNotWorkCostsOneAttempt) {
  // Where there is no IPv6 at all, connecting fails at once.
  Swallow("::1");
  TransportHarness h;
  SetHost(h, "six.test", {"::1", "127.0.0.1"});
  const TransferResult result = h.Send(TransportHarness::Request(UrlOf("six.test"), kTimeout));
  EXPECT_EQ(result.http_status, 200) << result.message;
  EXPECT_EQ(h.metrics.address_fallbacks.value(), 1u);
}

TEST_F(AddressFallbackTest, ARefusalIsFollowedByTheNextAtOnce) {
  TransportHarness h;
  SetHost(h, "many.test", {"127.0.0.4", "127.0.0.3", "127.0.0.2", "127.0.0.1"});
  EXPECT_EQ(h.Send(UrlOf("many.test")).http_status, 200);
  EXPECT_EQ(h.metrics.address_fallbacks.value(), 1u);
}

TEST_F(AddressFallbackTest, AForbiddenAddressIsNeverConnectedTo) {
  SwallowAll({"127.0.0.2"});
  const int forbidden = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_storage storage;
  const socklen_t size = IpAddress::Parse("127.0.0.3")->ToSockaddr(
      static_cast<uint16_t>(sink_->port()), &storage);
  ASSERT_EQ(bind(forbidden, reinterpret_cast<sockaddr*>(&storage), size), 0);
  ASSERT_EQ(listen(forbidden, 8), 0);
  TransportHarness::Options options;
  options.allow = {"127.0.0.1", "127.0.0.2"};
  TransportHarness h(options);
  SetHost(h, "mixed.test", {"127.0.0.3", "127.0.0.2", "127.0.0.3", "127.0.0.1"});
  EXPECT_EQ(h.Send(TransportHarness::Request(UrlOf("mixed.test"), kTimeout)).http_status, 200);
  EXPECT_LT(accept(forbidden, nullptr, nullptr), 0) << "somebody connected";
  close(forbidden);
}

TEST_F(AddressFallbackTest, WhenAllAreDeadTheTimeoutIsThatOfTheWhole) {
  SwallowAll({"127.0.0.2", "127.0.0.3"});
  TransportHarness h;
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.3"});
  const TransferResult result =
      h.Send(TransportHarness::Request(UrlOf("dark.test"), absl::Milliseconds(700)));
  EXPECT_EQ(result.error, TransferError::kTimeout) << result.message;
  EXPECT_THAT(result.message, HasSubstr("no connection to dark.test"));
  EXPECT_GE(result.latency, absl::Milliseconds(700));
}

TEST_F(AddressFallbackTest, WhatWasRefusedIsSaidWhenTheRestIsDead) {
  // libcurl has no part in what is left to wait for.
  SwallowAll({"127.0.0.3"});
  TransportHarness h;
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.3"});
  const TransferResult result =
      h.Send(TransportHarness::Request(UrlOf("dark.test"), absl::Milliseconds(700)));
  EXPECT_EQ(result.error, TransferError::kConnect) << result.message;
  EXPECT_THAT(result.message, AllOf(HasSubstr("start the receiver"),
                                    HasSubstr("none of its other addresses (1)")));
  EXPECT_GE(result.latency, absl::Milliseconds(700));
}

TEST_F(AddressFallbackTest, TheTimeToConnectIsThatOfEachAddress) {
  SwallowAll({"127.0.0.2", "127.0.0.3"});
  TransportHarness::Options options;
  options.transport.connect_timeout = absl::Milliseconds(300);
  TransportHarness h(options);
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.3"});
  const TransferResult result =
      h.Send(TransportHarness::Request(UrlOf("dark.test"), absl::Minutes(1)));
  EXPECT_EQ(result.error, TransferError::kTimeout) << result.message;
  EXPECT_THAT(result.message, HasSubstr("none of its other addresses (1)"));
  EXPECT_GE(result.latency, absl::Milliseconds(550));
}

TEST_F(AddressFallbackTest, WantOfDescriptorsForTheOthersIsOurs) {
  SwallowAll({"127.0.0.2"});
  TransportHarness::Options options;
  options.transport.connect_timeout = absl::Seconds(1);
  TransportHarness h(options);
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.1"});
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  h.thread.Call([&] {
    h.transport->Send(TransportHarness::Request(UrlOf("dark.test"), absl::Minutes(1)),
                      [&h](TransferResult result) { h.results.Put(std::move(result)); });
    // The name is known in the next turn, and libcurl opens its socket at the end of that.
    h.thread.loop().Post([&h, limit] {
      h.thread.loop().Post([limit] {
        const rlimit none{0, limit.rlim_max};
        EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
      });
    });
  });
  const std::vector<TransferResult> results = h.results.WaitFor(1);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].error, TransferError::kNoResources) << results[0].message;
  EXPECT_THAT(results[0].message, HasSubstr("limit of open files"));
}

TEST_F(AddressFallbackTest, DeadAddressesOfOneDoNotKeepAnotherFromHisNext) {
  SwallowAll({"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"});
  TransportHarness::Options options;
  options.transport.connect_timeout = absl::Minutes(5);
  TransportHarness h(options);
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"});
  SetHost(h, "half.test", {"127.0.0.2", "127.0.0.1"});
  const size_t before = OpenDescriptors();
  for (int i = 0; i < 200; ++i) {
    TransferRequest request = TransportHarness::Request(UrlOf("dark.test"), absl::Minutes(5));
    request.share = 1;
    h.Start(std::move(request));
  }
  // Beside libcurl's own, eight ninths of those that there are for other addresses.
  const size_t all_that_it_may = 200 + ConnectRaces::kMaxSockets * 8 / 9;
  const absl::Duration deadline = SystemClock().Monotonic() + absl::Minutes(1);
  while (OpenDescriptors() < before + all_that_it_may && SystemClock().Monotonic() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_GE(OpenDescriptors(), before + all_that_it_may);
  EXPECT_LT(OpenDescriptors(), before + 200 + ConnectRaces::kMaxSockets);
  TransferRequest request = TransportHarness::Request(UrlOf("half.test"), absl::Minutes(1));
  request.share = 2;
  EXPECT_EQ(h.Send(std::move(request)).http_status, 200);
  EXPECT_EQ(h.results.size(), 0u);
  h.CancelAll();
}

TEST_F(AddressFallbackTest, NoDescriptorIsLeftBehind) {
  SwallowAll({"127.0.0.2", "127.0.0.3", "127.0.0.4"});
  TransportHarness h;
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.3", "127.0.0.4"});
  SetHost(h, "half.test", {"127.0.0.2", "127.0.0.3", "127.0.0.1"});
  const size_t before = OpenDescriptors();
  for (int i = 0; i < 40; ++i) {
    h.Start(TransportHarness::Request(UrlOf("dark.test"), absl::Milliseconds(100 + 20 * i)));
  }
  EXPECT_EQ(h.results.WaitFor(40).size(), 40u);
  for (int i = 0; i < 40; ++i) h.Start(TransportHarness::Request(UrlOf("dark.test")));
  for (int i = 0; i < 40; ++i) h.Start(TransportHarness::Request(UrlOf("half.test")));
  EXPECT_GE(h.results.WaitFor(80).size(), 80u);
  h.CancelAll();
  EXPECT_EQ(h.results.WaitFor(120).size(), 120u);
  h.thread.Stop();
  h.transport.reset();
  // The sink closes its ends by and by.
  const absl::Duration deadline = SystemClock().Monotonic() + absl::Minutes(1);
  while (OpenDescriptors() > before && SystemClock().Monotonic() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_LE(OpenDescriptors(), before);
}

TEST_F(AddressFallbackTest, ManyAtOnceAllArrive) {
  SwallowAll({"127.0.0.2"});
  TransportHarness h;
  SetHost(h, "dark.test", {"127.0.0.2", "127.0.0.1"});
  for (int i = 0; i < 200; ++i) h.Start(TransportHarness::Request(UrlOf("dark.test")));
  for (const TransferResult& result : h.results.WaitFor(200)) {
    EXPECT_EQ(result.http_status, 200) << result.message;
  }
  EXPECT_EQ(h.results.size(), 200u);
}

// ---- The memory of what failed

IpAddress Ip(const std::string& text) { return IpAddress::Parse(text).value(); }

TEST(DeadAddressesTest, IsBoundedInTime) {
  DeadAddresses dead;
  dead.Add(Ip("192.0.2.1"), 80, absl::Seconds(7));
  EXPECT_TRUE(dead.Contains(Ip("192.0.2.1"), 80, absl::Seconds(7) + DeadAddresses::kKept / 2));
  EXPECT_FALSE(dead.Contains(Ip("192.0.2.1"), 81, absl::Seconds(7)));
  EXPECT_FALSE(dead.Contains(Ip("192.0.2.1"), 80, absl::Seconds(7) + DeadAddresses::kKept));
  dead.Remove(Ip("192.0.2.1"), 80);
  EXPECT_FALSE(dead.Contains(Ip("192.0.2.1"), 80, absl::Seconds(7)));
}

TEST(DeadAddressesTest, IsBoundedInNumber) {
  DeadAddresses dead;
  const auto port = [](size_t i) { return static_cast<uint16_t>(1 + i); };
  for (size_t i = 0; i <= DeadAddresses::kMax; ++i) dead.Add(Ip("::1"), port(i), absl::Seconds(i));
  const absl::Duration now = absl::Seconds(100);
  EXPECT_FALSE(dead.Contains(Ip("::1"), port(0), now)) << "the oldest goes first";
  EXPECT_TRUE(dead.Contains(Ip("::1"), port(1), now));
  EXPECT_TRUE(dead.Contains(Ip("::1"), port(DeadAddresses::kMax), now));
}

TEST(ConnectRacesTest, DeadAddressesComeLastAndThePreferredOneFirst) {
  FakeClock clock;
  LoopThread thread(clock);
  const AddressPolicy policy({});
  ConnectRaces races(thread.loop(), clock, policy, absl::Seconds(5));
  const AddressList addresses = {{Ip("192.0.2.1"), ""}, {Ip("192.0.2.2"), ""},
                                 {Ip("192.0.2.3"), ""}};
  const auto order = [&](const std::string& preferred) {
    std::string text;
    uint32_t tried = 0;
    while (const auto next = races.Next(addresses, 80, Ip(preferred), tried)) {
      tried |= 1u << *next;
      absl::StrAppend(&text, *next);
    }
    return text;
  };
  EXPECT_EQ(order("0.0.0.0"), "012");
  EXPECT_EQ(order("192.0.2.3"), "201");
  EXPECT_EQ(order("192.0.2.2"), "102");
  races.dead().Add(Ip("192.0.2.1"), 80, clock.Monotonic());
  EXPECT_EQ(order("0.0.0.0"), "120");
  EXPECT_EQ(order("192.0.2.1"), "120");
  clock.Advance(DeadAddresses::kKept);
  EXPECT_EQ(order("0.0.0.0"), "012");
}

// A race whose loop nobody runs, so that a test drives it step by step.
class ConnectRaceTest : public testing::Test {
 protected:
  ConnectRaceTest() { clock_.Advance(absl::Hours(1)); }

  std::unique_ptr<ConnectRace> Begin(const std::vector<std::string>& addresses, uint16_t port,
                                     int first_socket = -1) {
    AddressList list;
    for (const std::string& address : addresses) list.push_back({Ip(address), ""});
    return std::make_unique<ConnectRace>(
        races_,
        ConnectRace::Entrant{std::make_shared<const AddressList>(std::move(list)), port, 1,
                             absl::InfiniteDuration(), nullptr},
        0, first_socket);
  }
  bool IsDead(const std::string& address, uint16_t port) {
    return races_.dead().Contains(Ip(address), port, clock_.Monotonic());
  }
  static TransferResult Failure(TransferError error) {
    TransferResult failure;
    failure.error = error;
    return failure;
  }

  FakeClock clock_;
  LoopThread thread_{clock_};
  const AddressPolicy policy_{{Cidr::Parse("127.0.0.0/8").value()}};
  ConnectRaces races_{thread_.loop(), clock_, policy_, absl::Seconds(5)};
};

TEST_F(ConnectRaceTest, AWantOfOurOwnSaysNothingOfTheAddress) {
  const std::unique_ptr<ConnectRace> wanting = Begin({"127.0.0.2", "127.0.0.3"}, 80);
  wanting->FirstFailed(Failure(TransferError::kNoResources));
  EXPECT_FALSE(IsDead("127.0.0.2", 80));
  const std::unique_ptr<ConnectRace> refused = Begin({"127.0.0.2", "127.0.0.3"}, 80);
  refused->FirstFailed(Failure(TransferError::kConnect));
  EXPECT_TRUE(IsDead("127.0.0.2", 80));
}

TEST_F(ConnectRaceTest, WhatTheFirstPushedAsideIsTriedWhenThatFailsAfterAll) {
  HttpSink sink;
  const BlackHole hole("127.0.0.2");
  const int first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::unique_ptr<ConnectRace> race =
      Begin({"127.0.0.1", "127.0.0.2"}, static_cast<uint16_t>(hole.port()), first);
  const size_t before = OpenDescriptors();
  clock_.Advance(ConnectRaces::kStagger);
  EXPECT_EQ(race->Advance(), ConnectRace::Step::kWait);
  EXPECT_EQ(OpenDescriptors(), before + 1) << "the second is being connected to";
  sockaddr_storage storage;
  const socklen_t size =
      Ip("127.0.0.1").ToSockaddr(static_cast<uint16_t>(sink.port()), &storage);
  ASSERT_EQ(connect(first, reinterpret_cast<const sockaddr*>(&storage), size), 0);
  EXPECT_EQ(race->Advance(), ConnectRace::Step::kWait);
  close(first);
  // As when the handshake of TLS never ends.
  race->FirstFailed(Failure(TransferError::kTimeout));
  EXPECT_EQ(race->Advance(), ConnectRace::Step::kWait) << "given up without the second";
}

}  // namespace
}  // namespace postrider
