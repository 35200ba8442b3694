#include "src/http/resolver.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
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
