#include "src/http/resolver.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/dns_server.h"
#include "tests/http/loop_thread.h"
#include "tests/support/fake_clock.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

// A busy machine's name server takes its time.
ResolverOptions Patient() {
  ResolverOptions options;
  options.timeout = absl::Minutes(1);
  options.second_family_wait = absl::Minutes(1);
  return options;
}

// A copy whose status shares nothing with the answer's: ThreadSanitizer does not see how Debian's
// abseil counts the references to one, and takes the last release for a race.
Resolver::Answer Unshared(const Resolver::Answer& answer) {
  if (answer.ok()) return answer;
  return absl::Status(answer.status().code(), answer.status().message());
}

class ResolverTest : public testing::Test {
 protected:
  static constexpr uint64_t kShare = 1;

  ~ResolverTest() override {
    // The loop knows the resolver, and the resolver the loop.
    thread_->Stop();
    resolver_.reset();
  }

  void Start(ResolverOptions options = Patient(), const Clock& clock = SystemClock()) {
    if (options.servers.empty() && options.port == 0) options.servers = dns_.Address();
    thread_ = std::make_unique<LoopThread>(clock);
    absl::StatusOr<std::unique_ptr<Resolver>> resolver =
        MakeAresResolver(options, clock, thread_->loop(), metrics_);
    ASSERT_TRUE(resolver.ok()) << resolver.status();
    resolver_ = *std::move(resolver);
    thread_->Start();
  }

  // What is known without asking.
  std::optional<Resolver::Answer> Known(const std::string& host) {
    std::optional<Resolver::Answer> known;
    thread_->Call([&] {
      if (const Resolver::Answer* const answer = resolver_->Lookup(host)) {
        known = Unshared(*answer);
      }
    });
    return known;
  }

  // Asks; the answer comes into `answers_`.
  void Ask(const std::string& host) {
    thread_->Call([&] {
      resolver_->Resolve(host, kShare, [this](const Resolver::Answer& answer) {
        answers_.Put(Unshared(answer));
      });
    });
  }

  // Asks, and waits for the answer.
  Resolver::Answer Resolve(const std::string& host, uint64_t share = kShare) {
    const auto told = std::make_shared<Mailbox<Resolver::Answer>>();
    thread_->Call([&] {
      resolver_->Resolve(host, share,
                         [told](const Resolver::Answer& answer) { told->Put(Unshared(answer)); });
      EXPECT_EQ(told->size(), 0u) << "the answer came inside the call";
    });
    const std::vector<Resolver::Answer> answers = told->WaitFor(1);
    // The loop has let go of `told` then.
    thread_->Turn();
    return answers.empty() ? absl::UnknownError("no answer") : answers[0];
  }

  DnsServer dns_;
  FakeClock clock_;
  ResolverMetrics metrics_;
  std::unique_ptr<LoopThread> thread_;
  std::unique_ptr<Resolver> resolver_;
  Mailbox<Resolver::Answer> answers_;
};

std::vector<std::string> Texts(const Resolver::Answer& answer) {
  EXPECT_TRUE(answer.ok()) << answer.status();
  std::vector<std::string> texts;
  if (!answer.ok()) return texts;
  for (const IpAddress& address : *answer) texts.push_back(address.ToString());
  return texts;
}

DnsRecords Addresses(std::vector<std::string> addresses, uint32_t ttl_seconds = 60) {
  return {DnsRecords::Way::kAnswer, std::move(addresses), ttl_seconds};
}

// ---- Without asking

TEST_F(ResolverTest, LiteralsAreKnown) {
  Start();
  EXPECT_THAT(Texts(Known("192.0.2.1").value()), ElementsAre("192.0.2.1"));
  EXPECT_THAT(Texts(Known("2001:db8::1").value()), ElementsAre("2001:db8::1"));
  EXPECT_THAT(Texts(Known("::ffff:127.0.0.1").value()), ElementsAre("::ffff:127.0.0.1"));
  EXPECT_EQ(metrics_.lookups.value(), 0u);
}

TEST_F(ResolverTest, OddSpellingsAreWhatOtherSoftwareTakesThemFor) {
  Start();
  for (const char* host :
       {"0x7f.1", "2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "127.0.1"}) {
    const std::optional<Resolver::Answer> known = Known(host);
    ASSERT_TRUE(known.has_value()) << host;
    EXPECT_THAT(Texts(*known), ElementsAre("127.0.0.1")) << host;
  }
  EXPECT_EQ(Known("127.0.0.1.example.test"), std::nullopt);
  EXPECT_EQ(Known("4294967296"), std::nullopt) << "more than an address has room for";
}

TEST_F(ResolverTest, KnowsTheHostsFile) {
  Start();
  const std::vector<std::string> addresses = Texts(Resolve("localhost"));
  EXPECT_THAT(addresses, testing::Contains("127.0.0.1"));
  EXPECT_EQ(dns_.questions("localhost"), 0u);
}

// ---- Answers

TEST_F(ResolverTest, AsksForBothFamilies) {
  dns_.Set("both.test", Addresses({"192.0.2.1", "192.0.2.2", "2001:db8::1"}));
  dns_.Set("v4.test", Addresses({"192.0.2.3"}));
  dns_.Set("v6.test", Addresses({"2001:db8::3"}));
  Start();
  EXPECT_EQ(Known("both.test"), std::nullopt);
  EXPECT_THAT(Texts(Resolve("both.test")),
              UnorderedElementsAre("192.0.2.1", "192.0.2.2", "2001:db8::1"));
  EXPECT_THAT(Texts(Resolve("v4.test")), ElementsAre("192.0.2.3"));
  EXPECT_THAT(Texts(Resolve("v6.test")), ElementsAre("2001:db8::3"));
  EXPECT_EQ(metrics_.lookups.value(), 3u);
  EXPECT_EQ(metrics_.failures.value(), 0u);
}

TEST_F(ResolverTest, AnAddressThatIsToldTwiceCountsOnce) {
  dns_.Set("twice.test", Addresses({"192.0.2.1", "192.0.2.1"}));
  Start();
  EXPECT_THAT(Texts(Resolve("twice.test")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, TheOrderIsThatOfTheNameServer) {
  // c-ares would put first what this machine can reach.
  dns_.Set("a.test", Addresses({"240.0.0.1", "127.0.0.1", "240.0.0.2"}));
  Start();
  EXPECT_THAT(Texts(Resolve("a.test")), ElementsAre("240.0.0.1", "127.0.0.1", "240.0.0.2"));
}

TEST_F(ResolverTest, OfManyAddressesTheFirstAreKept) {
  std::vector<std::string> many;
  for (int i = 0; i < 30; ++i) many.push_back(absl::StrCat("192.0.2.", i));
  dns_.Set("a.test", Addresses(many));
  Start();
  const std::vector<std::string> kept = Texts(Resolve("a.test"));
  many.resize(24);
  EXPECT_EQ(kept, many);
}

TEST_F(ResolverTest, AHostThatIsNotThereIsNotFound) {
  dns_.Set("empty.test", Addresses({}));
  Start();
  for (const std::string host : {"missing.test", "empty.test"}) {
    const Resolver::Answer answer = Resolve(host);
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(answer.status().message()),
                testing::AllOf(HasSubstr(host), HasSubstr("correct the URL")));
  }
  EXPECT_EQ(metrics_.failures.value(), 2u);
}

TEST_F(ResolverTest, NamesThatDnsCannotCarryAreNotFound) {
  Start();
  for (const std::string& host : {std::string(64, 'a') + ".test", std::string("a..test")}) {
    const Resolver::Answer answer = Resolve(host);
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kNotFound) << answer.status();
  }
}

TEST_F(ResolverTest, AServerThatFailsIsUnavailable) {
  dns_.Set("fails.test", {DnsRecords::Way::kServerFailure, {}, 0});
  Start();
  const Resolver::Answer answer = Resolve("fails.test");
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable) << answer.status();
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("fails.test"));
}

TEST_F(ResolverTest, EachFailureHasASentenceOfItsOwn) {
  // Also where the second server is asked after the first: c-ares 1.18 says then that none can be
  // reached.
  DnsServer second;
  for (DnsServer* dns : {&dns_, &second}) {
    dns->Set("fails.test", {DnsRecords::Way::kServerFailure, {}, 0});
    dns->Set("refused.test", {DnsRecords::Way::kRefusal, {}, 0});
    dns->Set("empty.test", Addresses({}));
  }
  for (const std::string& servers :
       {dns_.Address(), absl::StrCat(dns_.Address(), ",", second.Address())}) {
    ResolverOptions options = Patient();
    options.servers = servers;
    Start(options);
    const auto message = [this](const std::string& host) {
      return std::string(Resolve(host).status().message());
    };
    EXPECT_THAT(message("fails.test"), HasSubstr("SERVFAIL"));
    EXPECT_THAT(message("refused.test"), HasSubstr("REFUSED"));
    EXPECT_THAT(message("missing.test"), HasSubstr("NXDOMAIN"));
    EXPECT_THAT(message("empty.test"), HasSubstr("neither A nor AAAA"));
    thread_->Stop();
    resolver_.reset();
  }
}

TEST_F(ResolverTest, WithoutAnyNameServerThatIsSaid) {
  ResolverOptions options = Patient();
  // Nobody listens at another loopback address.
  options.servers = absl::StrCat("127.0.0.9:", dns_.port());
  Start(options);
  const Resolver::Answer answer = Resolve("any.test");
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("no name server can be reached"));
}

TEST_F(ResolverTest, WantOfDescriptorsIsNotTheHostsFault) {
  dns_.Set("there.test", Addresses({"192.0.2.1"}));
  Start();
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  // What is open stays usable: with less than its two, poll fails in the name server.
  const int next = dup(STDERR_FILENO);
  close(next);
  const rlimit none{static_cast<rlim_t>(next), limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const Resolver::Answer answer = Resolve("there.test");
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kResourceExhausted) << answer.status();
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("limit of open files"));
  EXPECT_EQ(Known("there.test"), std::nullopt);
  EXPECT_THAT(Texts(Resolve("there.test")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, AServerThatFailsForOneFamilyOnlyIsGoodEnough) {
  dns_.Set("half.test",
           {DnsRecords::Way::kAnswer, {"192.0.2.1"}, 60, DnsRecords::Way::kServerFailure});
  dns_.Set("wrong.test",
           {DnsRecords::Way::kAnswer, {"192.0.2.2"}, 60, DnsRecords::Way::kNoSuchName});
  Start();
  EXPECT_THAT(Texts(Resolve("half.test")), ElementsAre("192.0.2.1"));
  EXPECT_THAT(Texts(Resolve("wrong.test")), ElementsAre("192.0.2.2"));
}

// ---- One family does not come

TEST_F(ResolverTest, AServerThatDropsAaaaTellsTheRest) {
  // Each of the servers that c-ares could go on to does.
  DnsServer second;
  DnsServer third;
  for (DnsServer* dns : {&dns_, &second, &third}) {
    dns->Set("half.test",
             {DnsRecords::Way::kAnswer, {"192.0.2.1"}, 60, DnsRecords::Way::kSilence});
  }
  ResolverOptions options = Patient();
  options.servers = absl::StrCat(dns_.Address(), ",", second.Address(), ",", third.Address());
  options.second_family_wait = absl::Milliseconds(50);
  Start(options);
  EXPECT_THAT(Texts(Resolve("half.test")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, TheFamilyThatComesLateIsKept) {
  dns_.Set("late.test", {DnsRecords::Way::kAnswer, {"192.0.2.1"}, 60, DnsRecords::Way::kHeld});
  ResolverOptions options = Patient();
  options.second_family_wait = absl::Milliseconds(50);
  Start(options);
  EXPECT_THAT(Texts(Resolve("late.test")), ElementsAre("192.0.2.1"));
  dns_.Set("late.test", Addresses({"192.0.2.1", "2001:db8::1"}));
  dns_.Release();
  const absl::Duration deadline = SystemClock().Monotonic() + absl::Minutes(1);
  std::vector<std::string> known;
  while (known.size() != 2 && SystemClock().Monotonic() < deadline) {
    const std::optional<Resolver::Answer> answer = Known("late.test");
    ASSERT_TRUE(answer.has_value());
    known = Texts(*answer);
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_THAT(known, UnorderedElementsAre("192.0.2.1", "2001:db8::1"));
}

TEST_F(ResolverTest, WhatComesLateDoesNotReplaceALaterLookup) {
  dns_.Set("late.test", {DnsRecords::Way::kAnswer, {"192.0.2.1"}, 1, DnsRecords::Way::kHeld});
  ResolverOptions options = Patient();
  options.timeout = absl::Hours(10);
  options.second_family_wait = absl::Seconds(1);
  options.max_ttl = absl::Hours(1);
  Start(options, clock_);
  Ask("late.test");
  ASSERT_TRUE(dns_.WaitForQuestions("late.test", 2));
  // Until the wait for the other family is over, which begins with the first one's answer.
  const absl::Duration deadline = SystemClock().Monotonic() + absl::Minutes(1);
  while (answers_.size() == 0 && SystemClock().Monotonic() < deadline) {
    clock_.Advance(absl::Seconds(1));
    thread_->Turn();
    absl::SleepFor(absl::Milliseconds(1));
  }
  ASSERT_EQ(answers_.size(), 1u);
  clock_.Advance(absl::Seconds(2));
  dns_.Set("late.test", Addresses({"192.0.2.9"}, 3600));
  EXPECT_THAT(Texts(Resolve("late.test")), ElementsAre("192.0.2.9"));
  dns_.Set("late.test", Addresses({"192.0.2.1", "2001:db8::1"}));
  dns_.Release();
  EXPECT_FALSE(Resolve("other.test").ok()) << "its answer comes after the one that was held";
  EXPECT_THAT(Texts(Known("late.test").value()), ElementsAre("192.0.2.9"));
}

TEST_F(ResolverTest, ANameThatDoesNotExistIsNotWaitedForLong) {
  dns_.Set("gone.test", {DnsRecords::Way::kNoSuchName, {}, 0, DnsRecords::Way::kSilence});
  ResolverOptions options = Patient();
  options.second_family_wait = absl::Milliseconds(50);
  Start(options);
  EXPECT_THAT(std::string(Resolve("gone.test").status().message()), HasSubstr("NXDOMAIN"));
}

// ---- Silence

TEST_F(ResolverTest, SilenceEndsWithTheTimeout) {
  dns_.Set("silent.test", {DnsRecords::Way::kSilence, {}, 0});
  ResolverOptions options = Patient();
  options.timeout = absl::Milliseconds(300);
  Start(options);
  const Resolver::Answer answer = Resolve("silent.test");
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded) << answer.status();
  EXPECT_THAT(std::string(answer.status().message()),
              testing::AllOf(HasSubstr("silent.test"), HasSubstr("/etc/resolv.conf")));
  EXPECT_EQ(metrics_.failures.value(), 1u);
}

TEST_F(ResolverTest, TheTimeoutIsThatOfTheWholeLookup) {
  // The fake clock passes it long before c-ares gives up.
  dns_.Set("silent.test", {DnsRecords::Way::kSilence, {}, 0});
  ResolverOptions options = Patient();
  options.timeout = absl::Hours(1);
  Start(options, clock_);
  Ask("silent.test");
  Ask("silent.test");
  ASSERT_TRUE(dns_.WaitForQuestions("silent.test", 1));
  thread_->Turn();
  EXPECT_EQ(answers_.size(), 0u);
  clock_.Advance(absl::Hours(1));
  thread_->Turn();
  const std::vector<Resolver::Answer> answers = answers_.WaitFor(2);
  ASSERT_EQ(answers.size(), 2u);
  for (const Resolver::Answer& answer : answers) {
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
  }
}

TEST_F(ResolverTest, ASlowNameDelaysNoOther) {
  dns_.Set("silent.test", {DnsRecords::Way::kSilence, {}, 0});
  dns_.Set("quick.test", Addresses({"192.0.2.1"}));
  ResolverOptions options = Patient();
  options.timeout = absl::Minutes(5);
  Start(options);
  Ask("silent.test");
  ASSERT_TRUE(dns_.WaitForQuestions("silent.test", 1));
  EXPECT_THAT(Texts(Resolve("quick.test")), ElementsAre("192.0.2.1"));
  EXPECT_EQ(answers_.size(), 0u);
}

TEST_F(ResolverTest, WhoAsksForTheSameNameSharesTheLookup) {
  dns_.Set("shared.test", Addresses({"192.0.2.1"}));
  Start();
  thread_->Call([&] {
    for (int i = 0; i < 10; ++i) {
      resolver_->Resolve("shared.test", kShare, [this](const Resolver::Answer& answer) {
        answers_.Put(Unshared(answer));
      });
    }
  });
  EXPECT_EQ(answers_.WaitFor(10).size(), 10u);
  EXPECT_EQ(metrics_.lookups.value(), 1u);
  EXPECT_EQ(dns_.questions("shared.test"), 2u) << "one for each family";
}

TEST_F(ResolverTest, WhoIsToldMayAskAgain) {
  dns_.Set("first.test", Addresses({"192.0.2.1"}));
  dns_.Set("second.test", Addresses({"192.0.2.2"}));
  Start();
  thread_->Call([&] {
    resolver_->Resolve("first.test", kShare, [this](const Resolver::Answer&) {
      resolver_->Resolve("second.test", kShare, [this](const Resolver::Answer& answer) {
        answers_.Put(Unshared(answer));
      });
    });
  });
  EXPECT_THAT(Texts(answers_.WaitFor(1).at(0)), ElementsAre("192.0.2.2"));
}

// ---- Fair shares

// Names whose name server is silent.
std::string Dead(int number) { return absl::StrCat("dead", number, ".test"); }

class FairResolverTest : public ResolverTest {
 protected:
  // Each of `count` dead names is asked on behalf of the share; what comes of it into `answers_`.
  void AskDead(uint64_t share, int first, int count) {
    for (int i = first; i < first + count; ++i) {
      dns_.Set(Dead(i), {DnsRecords::Way::kSilence, {}, 0});
    }
    thread_->Call([&] {
      for (int i = first; i < first + count; ++i) {
        resolver_->Resolve(Dead(i), share, [this](const Resolver::Answer& answer) {
          answers_.Put(Unshared(answer));
        });
      }
    });
  }
  bool Waits(const std::string& host) {
    bool waits = false;
    thread_->Call([&] { waits = resolver_->WaitsForTurn(host); });
    return waits;
  }
};

TEST_F(FairResolverTest, DeadNamesOfOneDoNotKeepAnotherFromAsking) {
  dns_.Set("alive.test", Addresses({"192.0.2.1"}));
  ResolverOptions options = Patient();
  options.timeout = absl::Minutes(5);
  Start(options);
  AskDead(1, 0, 3000);
  EXPECT_TRUE(Waits(Dead(2999)));
  EXPECT_THAT(Texts(Resolve("alive.test", 2)), ElementsAre("192.0.2.1"));
  EXPECT_EQ(answers_.size(), 0u);
}

TEST_F(FairResolverTest, AnothersTurnIsNotWaitedFor) {
  // The name that a tenant needs stands at the end of another's queue.
  dns_.Set("alive.test", Addresses({"192.0.2.1"}));
  ResolverOptions options = Patient();
  options.timeout = absl::Minutes(5);
  Start(options);
  AskDead(1, 0, 3000);
  thread_->Call([&] { resolver_->Resolve("alive.test", 1, [](const Resolver::Answer&) {}); });
  EXPECT_TRUE(Waits("alive.test"));
  EXPECT_THAT(Texts(Resolve("alive.test", 2)), ElementsAre("192.0.2.1"));
}

TEST_F(FairResolverTest, WhoWaitsTooLongForATurnIsToldThatItIsOurs) {
  ResolverOptions options = Patient();
  options.timeout = absl::Hours(1);
  Start(options, clock_);
  AskDead(1, 0, 1024);
  EXPECT_TRUE(Waits(Dead(1023)));
  clock_.Advance(absl::Hours(1));
  thread_->Turn();
  const std::vector<Resolver::Answer> answers = answers_.WaitFor(1024);
  ASSERT_EQ(answers.size(), 1024u);
  size_t refused = 0;
  for (const Resolver::Answer& answer : answers) {
    if (answer.status().code() == absl::StatusCode::kResourceExhausted) ++refused;
  }
  EXPECT_GT(refused, 0u);
  EXPECT_LT(refused, 256u) << "one that is alone may have nearly all";
  EXPECT_EQ(metrics_.refused.value(), refused);
  EXPECT_EQ(Known(Dead(1023)), std::nullopt) << "a want of ours is not remembered";
}

TEST_F(FairResolverTest, AFullQueueGivesWayToANewcomer) {
  ResolverOptions options = Patient();
  options.timeout = absl::Minutes(5);
  Start(options);
  AskDead(1, 0, 1024 + 4096);
  const std::vector<Resolver::Answer> answers = answers_.WaitFor(1);
  ASSERT_GE(answers.size(), 1u);
  EXPECT_EQ(answers[0].status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(answers[0].status().message()), HasSubstr("other lookups wait"));
  // Free places for the newcomer, until he has his part of them; then his names wait in the queue.
  AskDead(2, 10'000, 200);
  thread_->Turn();
  EXPECT_FALSE(Waits(Dead(10'000)));
  EXPECT_TRUE(Waits(Dead(10'199)));
}

TEST_F(ResolverTest, IsDestroyedWhileLookupsArePending) {
  dns_.Set("silent.test", {DnsRecords::Way::kSilence, {}, 0});
  Start(Patient(), clock_);
  const auto alive = std::make_shared<int>();
  thread_->Call([&] {
    resolver_->Resolve("silent.test", kShare, [alive](const Resolver::Answer&) { FAIL(); });
  });
  ASSERT_TRUE(dns_.WaitForQuestions("silent.test", 1));
  thread_->Stop();
  resolver_.reset();
  EXPECT_EQ(alive.use_count(), 1);
  EXPECT_EQ(metrics_.failures.value(), 0u) << "nothing is said of what nobody waits for";
}

TEST_F(ResolverTest, IsDestroyedWhileCAresStillHoldsALookupThatWasGivenUp) {
  dns_.Set("silent.test", {DnsRecords::Way::kSilence, {}, 0});
  ResolverOptions options = Patient();
  options.timeout = absl::Hours(1);
  Start(options, clock_);
  Ask("silent.test");
  ASSERT_TRUE(dns_.WaitForQuestions("silent.test", 1));
  clock_.Advance(absl::Hours(1));
  thread_->Turn();
  ASSERT_EQ(answers_.WaitFor(1).size(), 1u);
  thread_->Stop();
  resolver_.reset();
  EXPECT_EQ(answers_.size(), 1u);
}

// ---- The cache

TEST_F(ResolverTest, AnswersAreKeptForAsLongAsDnsSays) {
  dns_.Set("kept.test", Addresses({"192.0.2.1"}, 30));
  Start(Patient(), clock_);
  EXPECT_TRUE(Resolve("kept.test").ok());
  clock_.Advance(absl::Seconds(29));
  EXPECT_THAT(Texts(Known("kept.test").value()), ElementsAre("192.0.2.1"));
  EXPECT_EQ(metrics_.cache_hits.value(), 1u);
  dns_.Set("kept.test", Addresses({"192.0.2.2"}, 30));
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Known("kept.test"), std::nullopt);
  EXPECT_EQ(metrics_.cache_hits.value(), 1u);
  EXPECT_THAT(Texts(Resolve("kept.test")), ElementsAre("192.0.2.2"));
}

TEST_F(ResolverTest, TheTimeIsBounded) {
  dns_.Set("short.test", Addresses({"192.0.2.1"}, 0));
  dns_.Set("long.test", Addresses({"192.0.2.1"}, 86400));
  dns_.Set("absurd.test", Addresses({"192.0.2.1"}, 0xffffffff));
  ResolverOptions options = Patient();
  options.min_ttl = absl::Seconds(5);
  options.max_ttl = absl::Seconds(20);
  Start(options, clock_);
  EXPECT_TRUE(Resolve("short.test").ok());
  EXPECT_TRUE(Resolve("long.test").ok());
  EXPECT_TRUE(Resolve("absurd.test").ok());
  clock_.Advance(absl::Seconds(5) - absl::Nanoseconds(1));
  EXPECT_NE(Known("short.test"), std::nullopt);
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Known("short.test"), std::nullopt);
  EXPECT_NE(Known("long.test"), std::nullopt);
  clock_.Advance(absl::Seconds(15));
  EXPECT_EQ(Known("long.test"), std::nullopt);
  EXPECT_EQ(Known("absurd.test"), std::nullopt);
}

TEST_F(ResolverTest, FailuresAreKeptForTheShortestTime) {
  Start(Patient(), clock_);
  EXPECT_FALSE(Resolve("missing.test").ok());
  const std::optional<Resolver::Answer> known = Known("missing.test");
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->status().code(), absl::StatusCode::kNotFound);
  dns_.Set("missing.test", Addresses({"192.0.2.1"}));
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Known("missing.test"), std::nullopt);
  EXPECT_THAT(Texts(Resolve("missing.test")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, AFailureThatStaysIsAskedLessAndLess) {
  Start(Patient(), clock_);
  for (int seconds : {1, 2, 4, 8, 16, 30, 30}) {
    EXPECT_FALSE(Resolve("dead.test").ok());
    clock_.Advance(absl::Seconds(seconds) - absl::Nanoseconds(1));
    EXPECT_NE(Known("dead.test"), std::nullopt) << seconds;
    clock_.Advance(absl::Nanoseconds(1));
    EXPECT_EQ(Known("dead.test"), std::nullopt) << seconds;
  }
  dns_.Set("dead.test", Addresses({"192.0.2.1"}, 1));
  EXPECT_TRUE(Resolve("dead.test").ok());
  dns_.Set("dead.test", {DnsRecords::Way::kNoSuchName, {}, 0});
  EXPECT_FALSE(Resolve("dead.test").ok());
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Known("dead.test"), std::nullopt) << "it lived in between";
}

TEST_F(ResolverTest, TheHostThatWasNotUsedForLongestLeavesAFullCache) {
  for (const char* host : {"a.test", "b.test", "c.test"}) dns_.Set(host, Addresses({"192.0.2.1"}));
  ResolverOptions options = Patient();
  options.max_cached_hosts = 2;
  Start(options, clock_);
  EXPECT_TRUE(Resolve("a.test").ok());
  EXPECT_TRUE(Resolve("b.test").ok());
  EXPECT_NE(Known("a.test"), std::nullopt);
  EXPECT_TRUE(Resolve("c.test").ok());
  EXPECT_EQ(Known("b.test"), std::nullopt);
  EXPECT_NE(Known("a.test"), std::nullopt);
  EXPECT_NE(Known("c.test"), std::nullopt);
}

// ---- The machine's configuration

class ConfiguredResolverTest : public ResolverTest {
 protected:
  ConfiguredResolverTest() {
    options_.resolv_conf = absl::StrCat(testing::TempDir(), "/resolv.conf.", getpid());
    options_.port = static_cast<uint16_t>(dns_.port());
    dns_.Set("there.test", Addresses({"192.0.2.1"}));
  }
  ~ConfiguredResolverTest() override { unlink(options_.resolv_conf.c_str()); }

  // As an editor or a DHCP client would: another file takes its place.
  void Write(const std::string& server) {
    const std::string other = options_.resolv_conf + ".new";
    std::ofstream(other) << "nameserver " << server << "\n";
    ASSERT_EQ(rename(other.c_str(), options_.resolv_conf.c_str()), 0);
  }

  ResolverOptions options_ = Patient();
};

TEST_F(ConfiguredResolverTest, ACorrectedFileIsReadWithoutARestart) {
  Write("127.0.0.9");
  Start(options_, clock_);
  EXPECT_THAT(std::string(Resolve("there.test").status().message()),
              HasSubstr("no name server can be reached"));
  clock_.Advance(absl::Seconds(1));
  EXPECT_FALSE(Resolve("there.test").ok());
  Write("127.0.0.1");
  EXPECT_NE(Known("there.test"), std::nullopt) << "it was looked at a moment ago";
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Known("there.test"), std::nullopt) << "the failure is forgotten with the file";
  EXPECT_THAT(Texts(Resolve("there.test")), ElementsAre("192.0.2.1"));
  EXPECT_EQ(metrics_.reloads.value(), 1u);
}

TEST_F(ConfiguredResolverTest, ReloadAsksAnewWhatHasNoAnswerYet) {
  dns_.Set("silent.test", {DnsRecords::Way::kSilence, {}, 0});
  Write("127.0.0.1");
  Start(options_, clock_);
  Ask("silent.test");
  ASSERT_TRUE(dns_.WaitForQuestions("silent.test", 2));
  dns_.Set("silent.test", Addresses({"192.0.2.7"}));
  thread_->Call([&] { resolver_->Reload(); });
  const std::vector<Resolver::Answer> answers = answers_.WaitFor(1);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_THAT(Texts(answers[0]), ElementsAre("192.0.2.7"));
}

TEST_F(ConfiguredResolverTest, ReloadWhileALateFamilyIsWaitedFor) {
  dns_.Set("half.test", {DnsRecords::Way::kAnswer, {"192.0.2.1"}, 60, DnsRecords::Way::kSilence});
  Write("127.0.0.1");
  options_.second_family_wait = absl::Milliseconds(50);
  Start(options_);
  EXPECT_THAT(Texts(Resolve("half.test")), ElementsAre("192.0.2.1"));
  thread_->Call([&] { resolver_->Reload(); });
  EXPECT_THAT(Texts(Known("half.test").value()), ElementsAre("192.0.2.1"));
  EXPECT_THAT(Texts(Resolve("half.test")), ElementsAre("192.0.2.1"));
}

TEST_F(ConfiguredResolverTest, AFileThatIsGoneOrNonsenseHarmsNobody) {
  // c-ares takes 127.0.0.1 when no server is named.
  Write("nonsense");
  Start(options_, clock_);
  EXPECT_THAT(Texts(Resolve("there.test")), ElementsAre("192.0.2.1"));
  ASSERT_EQ(unlink(options_.resolv_conf.c_str()), 0);
  clock_.Advance(absl::Minutes(2));
  EXPECT_THAT(Texts(Resolve("there.test")), ElementsAre("192.0.2.1"));
}

TEST(ResolverOptionsTest, ServersThatAreNoneAreRefused) {
  ResolverOptions options;
  options.servers = "nowhere";
  LoopThread thread;
  ResolverMetrics metrics;
  const auto resolver = MakeAresResolver(options, SystemClock(), thread.loop(), metrics);
  EXPECT_EQ(resolver.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(resolver.status().message()), HasSubstr("'nowhere'"));
}

}  // namespace
}  // namespace postrider
