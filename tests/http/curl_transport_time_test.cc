#include "src/http/curl_transport.h"

#include <sys/resource.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/sink_answers.h"
#include "tests/http/transport_harness.h"
#include "tests/support/black_hole.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Way = SinkAnswer::Way;

TEST(CurlTransportTest, WhoDoesNotAnswerRunsIntoTheTimeout) {
  HttpSink sink(Always(By(Way::kHang)));
  TransportHarness h;
  const TransferResult result = h.Send(TransportHarness::Request(sink.Url(), absl::Seconds(2)));
  EXPECT_EQ(result.error, TransferError::kTimeout);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_GE(result.latency, absl::Milliseconds(1990));
  EXPECT_THAT(result.message,
              AllOf(HasSubstr("was connected"), HasSubstr("raise the webhook's timeout")));
  EXPECT_EQ(sink.request_count(), 1u) << "it is not sent again";
}

// libcurl closes the sockets of connections that never came about without telling: their numbers
// are used again by those that do.
TEST(CurlTransportTest, WhoCannotBeConnectedLeavesNothingBehind) {
  BlackHole hole;
  SinkAnswer close;
  close.close = true;
  HttpSink sink(Always(close));
  TransportHarness h;
  constexpr size_t kRequests = 20;
  for (size_t round = 1; round <= 3; ++round) {
    for (size_t i = 0; i < kRequests; ++i) {
      h.Start(TransportHarness::Request(hole.Url(), absl::Milliseconds(50)));
    }
    const auto results = h.results.WaitFor(round * kRequests);
    ASSERT_EQ(results.size(), round * kRequests);
    EXPECT_EQ(results.back().error, TransferError::kTimeout);
    EXPECT_THAT(results.back().message, HasSubstr("no connection to"));
    // Each on a connection of its own.
    Mailbox<TransferResult> answers;
    h.thread.Call([&] {
      for (size_t i = 0; i < kRequests; ++i) {
        h.transport->Send(TransportHarness::Request(sink.Url()),
                          [&](TransferResult result) { answers.Put(std::move(result)); });
      }
    });
    for (const TransferResult& answer : answers.WaitFor(kRequests)) {
      EXPECT_EQ(answer.http_status, 200) << answer.message;
    }
    ASSERT_EQ(answers.size(), kRequests);
  }
}

TEST(CurlTransportTest, WantOfDescriptorsIsNotTheReceiversFault) {
  HttpSink sink;
  TransportHarness h;
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const TransferResult refused = h.Send(sink.Url());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(refused.error, TransferError::kNoResources);
  EXPECT_THAT(refused.message, HasSubstr("open files"));
  EXPECT_EQ(h.Send(sink.Url()).http_status, 200);
}

TEST(CurlTransportTest, TimeoutsAreThoseOfEachTarget) {
  HttpSink sink(Always(By(Way::kHang)));
  TransportHarness h;
  h.Start(TransportHarness::Request(sink.Url(), absl::Minutes(5)));
  ASSERT_TRUE(sink.WaitForRequests(1));
  const TransferResult result =
      h.Send(TransportHarness::Request(sink.Url(), absl::Milliseconds(100)));
  EXPECT_EQ(result.error, TransferError::kTimeout);
  EXPECT_EQ(h.results.size(), 0u);
}

TEST(CurlTransportTest, ResolvingCountsTowardsTheTimeout) {
  HttpSink sink;
  TransportHarness h;
  h.thread.Call([&] {
    h.resolver.hosts["slow.test"] = {"127.0.0.1"};
    h.resolver.holds = true;
  });
  const TransferResult result =
      h.Send(TransportHarness::Request(UrlOf("slow.test", sink), absl::Milliseconds(100)));
  EXPECT_EQ(result.error, TransferError::kTimeout);
  EXPECT_THAT(result.message, AllOf(HasSubstr("slow.test"), HasSubstr("within 100ms")));
  EXPECT_GE(result.latency, absl::Milliseconds(100));
  h.thread.Call([&] { h.resolver.Tell(); });
  h.thread.Turn();
  EXPECT_EQ(sink.connection_count(), 0u) << "what comes later is not sent";
  EXPECT_EQ(h.metrics.resolve_failures.value(), 1u);
}

TEST(CurlTransportTest, ALookupThatCannotBeHadIsNotTheReceiversFault) {
  TransportHarness h;
  h.thread.Call([&] {
    h.resolver.failures["full.test"] = absl::ResourceExhaustedError("too many wait");
    h.resolver.hosts["slow.test"] = {"127.0.0.1"};
  });
  TransferRequest request = TransportHarness::Request("http://full.test/");
  request.share = 17;
  const TransferResult refused = h.Send(std::move(request));
  EXPECT_EQ(refused.error, TransferError::kNoResources);
  EXPECT_EQ(refused.message, "too many wait");
  h.thread.Call([&] {
    EXPECT_EQ(h.resolver.share, 17u);
    h.resolver.holds = true;
    h.resolver.waits_for_turn = true;
  });
  const TransferResult late =
      h.Send(TransportHarness::Request("http://slow.test/", absl::Milliseconds(100)));
  EXPECT_EQ(late.error, TransferError::kNoResources) << "no name server was asked yet";
  EXPECT_THAT(late.message, HasSubstr("other lookups wait"));
  EXPECT_EQ(h.metrics.resolve_failures.value(), 0u);
}

TEST(CurlTransportTest, WhoLooksOnHasANameAskedAgain) {
  HttpSink sink;
  TransportHarness h;
  h.thread.Call([&] {
    h.resolver.known["mended.test"] = absl::NotFoundError("remembered");
    h.resolver.hosts["mended.test"] = {"127.0.0.1"};
  });
  const std::string url = UrlOf("mended.test", sink);
  EXPECT_EQ(h.Send(url).message, "remembered");
  TransferRequest request = TransportHarness::Request(url);
  request.capture = true;
  const TransferResult result = h.Send(std::move(request));
  EXPECT_EQ(result.error, TransferError::kNone) << result.message;
}

}  // namespace
}  // namespace postrider
