#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "src/http/resolver.h"
#include "tests/http/dns_server.h"
#include "tests/http/loop_thread.h"
#include "tests/support/fake_clock.h"

namespace postrider {

// A busy machine's name server takes its time.
inline ResolverOptions Patient() {
  ResolverOptions options;
  options.timeout = absl::Minutes(1);
  options.second_family_wait = absl::Minutes(1);
  return options;
}

// A copy whose status shares nothing with the answer's: ThreadSanitizer does not see how Debian's
// abseil counts the references to one, and takes the last release for a race.
inline Resolver::Answer Unshared(const Resolver::Answer& answer) {
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

inline std::vector<std::string> Texts(const Resolver::Answer& answer) {
  EXPECT_TRUE(answer.ok()) << answer.status();
  std::vector<std::string> texts;
  if (!answer.ok()) return texts;
  for (const IpAddress& address : *answer) texts.push_back(address.ToString());
  return texts;
}

inline DnsRecords Addresses(std::vector<std::string> addresses, uint32_t ttl_seconds = 60) {
  return {DnsRecords::Way::kAnswer, std::move(addresses), ttl_seconds};
}

}  // namespace postrider
