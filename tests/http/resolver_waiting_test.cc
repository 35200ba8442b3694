#include "src/http/resolver.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/dns_server.h"
#include "tests/http/resolver_harness.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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

}  // namespace
}  // namespace postrider
