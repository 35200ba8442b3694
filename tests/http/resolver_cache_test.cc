#include "src/http/resolver.h"

#include <optional>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/dns_server.h"
#include "tests/http/resolver_harness.h"

namespace postrider {
namespace {

using testing::ElementsAre;

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

}  // namespace
}  // namespace postrider
