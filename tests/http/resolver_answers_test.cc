#include "src/http/resolver.h"

#include <sys/resource.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/dns_server.h"
#include "tests/http/resolver_harness.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

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

}  // namespace
}  // namespace postrider
