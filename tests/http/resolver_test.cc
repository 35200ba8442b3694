#include "src/http/resolver.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

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
  ~ResolverTest() override {
    // The loop knows the resolver, and the resolver the loop.
    thread_->Stop();
    resolver_.reset();
  }

  void Start(ResolverOptions options = Patient(), const Clock& clock = SystemClock()) {
    options.servers = dns_.Address();
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
      if (const Resolver::Answer* const answer = resolver_->Lookup(host)) known = *answer;
    });
    return known;
  }

  // Asks; the answer comes into `answers_`.
  void Ask(const std::string& host) {
    thread_->Call([&] {
      resolver_->Resolve(
          host, [this](const Resolver::Answer& answer) { answers_.Put(Unshared(answer)); });
    });
  }

  // Asks, and waits for the answer.
  Resolver::Answer Resolve(const std::string& host) {
    const auto told = std::make_shared<Mailbox<Resolver::Answer>>();
    thread_->Call([&] {
      resolver_->Resolve(host,
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
      resolver_->Resolve("shared.test", [this](const Resolver::Answer& answer) {
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
    resolver_->Resolve("first.test", [this](const Resolver::Answer&) {
      resolver_->Resolve("second.test", [this](const Resolver::Answer& answer) {
        answers_.Put(Unshared(answer));
      });
    });
  });
  EXPECT_THAT(Texts(answers_.WaitFor(1).at(0)), ElementsAre("192.0.2.2"));
}

TEST_F(ResolverTest, TooManyLookupsAreRefusedAtOnce) {
  ResolverOptions options = Patient();
  options.timeout = absl::Minutes(5);
  Start(options);
  for (int i = 0; i < 1024; ++i) {
    dns_.Set("silent" + std::to_string(i) + ".test", {DnsRecords::Way::kSilence, {}, 0});
  }
  thread_->Call([&] {
    for (int i = 0; i < 1024; ++i) {
      resolver_->Resolve("silent" + std::to_string(i) + ".test",
                         [](const Resolver::Answer&) { FAIL(); });
    }
  });
  const Resolver::Answer answer = Resolve("onemore.test");
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("1024 other lookups"));
  EXPECT_EQ(dns_.questions("onemore.test"), 0u);
}

TEST_F(ResolverTest, IsDestroyedWhileLookupsArePending) {
  dns_.Set("silent.test", {DnsRecords::Way::kSilence, {}, 0});
  Start(Patient(), clock_);
  const auto alive = std::make_shared<int>();
  thread_->Call(
      [&] { resolver_->Resolve("silent.test", [alive](const Resolver::Answer&) { FAIL(); }); });
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
