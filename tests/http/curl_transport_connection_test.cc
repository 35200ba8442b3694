#include "src/http/curl_transport.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/sink_answers.h"
#include "tests/http/transport_harness.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Way = SinkAnswer::Way;

// A port of 127.0.0.1 at which nobody listens, and nobody will while this is there.
class ClosedPort {
 public:
  ClosedPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~ClosedPort() { close(fd_); }
  ClosedPort(const ClosedPort&) = delete;
  ClosedPort& operator=(const ClosedPort&) = delete;

  std::string Url() const { return absl::StrCat("http://127.0.0.1:", port_, "/"); }

 private:
  const int fd_;
  int port_ = 0;
};

TEST(CurlTransportTest, ConnectionsAreUsedAgain) {
  HttpSink sink;
  TransportHarness h;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(h.Send(sink.Url()).http_status, 200);
  EXPECT_EQ(sink.connection_count(), 1u);
  EXPECT_EQ(h.metrics.connections_opened.value(), 1u);
  EXPECT_EQ(h.metrics.connections_reused.value(), 9u);
}

TEST(CurlTransportTest, ConnectionsOfOneHostServeAllItsTargets) {
  HttpSink sink;
  TransportHarness h;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(h.Send(sink.Url(absl::StrCat("/", i))).http_status, 200);
  EXPECT_EQ(sink.connection_count(), 1u);
  EXPECT_EQ(sink.requests()[3].target, "/3");
}

TEST(CurlTransportTest, AnAnnouncedCloseIsObeyed) {
  SinkAnswer answer;
  answer.close = true;
  HttpSink sink(Always(answer));
  TransportHarness h;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(h.Send(sink.Url()).http_status, 200);
  EXPECT_EQ(sink.connection_count(), 3u);
  EXPECT_EQ(h.metrics.stale_resends.value(), 0u);
}

TEST(CurlTransportTest, IdleConnectionsAreBounded) {
  TransportHarness::Options options;
  options.transport.max_kept_connections = 2;
  SinkAnswer answer;
  answer.delay = absl::Milliseconds(50);
  HttpSink sink(Always(answer));
  TransportHarness h(options);
  h.thread.Call([&] {
    for (int i = 0; i < 10; ++i) {
      h.transport->Send(TransportHarness::Request(sink.Url()),
                        [&](TransferResult result) { h.results.Put(std::move(result)); });
    }
  });
  EXPECT_EQ(h.results.WaitFor(10).size(), 10u);
  EXPECT_EQ(sink.connection_count(), 10u) << "each had its own while under way";
  const absl::Duration deadline = SystemClock().Monotonic() + absl::Minutes(1);
  while (sink.open_connections() > 2 && SystemClock().Monotonic() < deadline) h.thread.Turn();
  EXPECT_LE(sink.open_connections(), 2u);
}

// As many as one webhook may have.
TEST(CurlTransportTest, AHostMayKeepAThousandConnections) {
  constexpr size_t kRequests = 1024;
  SinkAnswer answer;
  answer.delay = absl::Milliseconds(500);
  HttpSink sink(Always(answer));
  TransportHarness h;
  for (const size_t round : {1, 2}) {
    h.thread.Call([&] {
      for (size_t i = 0; i < kRequests; ++i) {
        h.transport->Send(TransportHarness::Request(sink.Url()),
                          [&](TransferResult result) { h.results.Put(std::move(result)); });
      }
    });
    ASSERT_EQ(h.results.WaitFor(round * kRequests).size(), round * kRequests);
  }
  EXPECT_EQ(sink.request_count(), 2 * kRequests);
  EXPECT_EQ(h.metrics.connections_opened.value() + h.metrics.connections_reused.value(),
            2 * kRequests);
  EXPECT_LE(sink.connection_count(), kRequests) << "none was closed and opened again";
}

TEST(CurlTransportTest, ARefusedConnectionIsAConnectError) {
  ClosedPort port;
  TransportHarness h;
  const TransferResult result = h.Send(port.Url());
  EXPECT_EQ(result.error, TransferError::kConnect);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message, AllOf(HasSubstr("no connection to 127.0.0.1:"),
                                    HasSubstr("start the receiver, or correct the host and port")));
  EXPECT_EQ(h.metrics.connections_opened.value(), 0u);
  EXPECT_EQ(h.metrics.connections_reused.value(), 0u);
}

TEST(CurlTransportTest, AFreshConnectionThatIsDroppedIsAFailureAndNotResent) {
  HttpSink sink(Always(By(Way::kDrop)));
  TransportHarness h;
  const TransferResult result = h.Send(sink.Url());
  EXPECT_EQ(result.error, TransferError::kConnectionLost);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message, HasSubstr("broke the connection off"));
  EXPECT_EQ(sink.request_count(), 1u);
  EXPECT_EQ(sink.connection_count(), 1u);
  EXPECT_EQ(h.metrics.stale_resends.value(), 0u);
}

TEST(CurlTransportTest, AStaleConnectionCostsNothing) {
  HttpSink sink(Always(By(Way::kCloseSilently)));
  TransportHarness h;
  EXPECT_EQ(h.Send(sink.Url()).http_status, 200);
  for (int i = 0; i < 5; ++i) {
    const TransferResult result = h.Send(sink.Url());
    EXPECT_EQ(result.error, TransferError::kNone) << result.message;
    EXPECT_EQ(result.http_status, 200);
  }
  EXPECT_EQ(sink.request_count(), 6u) << "each arrives once";
  EXPECT_EQ(sink.connection_count(), 6u);
}

// libcurl 7.88.1 remembers the text of a handle's first URL when it is given others taken apart.
TEST(CurlTransportTest, AStaleConnectionIsReplacedByOneToTheSameReceiver) {
  HttpSink first;
  HttpSink second(Always(By(Way::kCloseSilently)));
  TransportHarness h;
  EXPECT_EQ(h.Send(first.Url("/first")).http_status, 200);
  for (int i = 0; i < 3; ++i) {
    const TransferResult result = h.Send(second.Url("/second/./../path"));
    EXPECT_EQ(result.http_status, 200) << result.message;
  }
  EXPECT_EQ(first.request_count(), 1u);
  ASSERT_EQ(second.request_count(), 3u);
  for (const SinkRequest& request : second.requests()) {
    EXPECT_EQ(request.target, "/second/./../path");
    EXPECT_EQ(request.Header("Host"), absl::StrCat("127.0.0.1:", second.port()));
  }
}

// libcurl itself gives up after five stale connections; the transport then asks for a fresh one.
TEST(CurlTransportTest, ManyStaleConnectionsCostNothing) {
  constexpr int kConnections = 20;
  SinkAnswer stale = By(Way::kCloseSilently);
  stale.delay = absl::Milliseconds(100);
  HttpSink sink(Always(stale));
  TransportHarness h;
  h.thread.Call([&] {
    for (int i = 0; i < kConnections; ++i) {
      h.transport->Send(TransportHarness::Request(sink.Url()),
                        [&](TransferResult result) { h.results.Put(std::move(result)); });
    }
  });
  ASSERT_EQ(h.results.WaitFor(kConnections).size(), size_t{kConnections});
  ASSERT_EQ(sink.connection_count(), size_t{kConnections});
  sink.SetScript({});
  TransferRequest request = TransportHarness::Request(sink.Url());
  request.capture = true;
  const TransferResult result = h.Send(request);
  EXPECT_EQ(result.error, TransferError::kNone) << result.message;
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.sent_headers.size(), 2u) << "those of the last sending alone";
  EXPECT_EQ(sink.request_count(), size_t{kConnections} + 1) << "it arrives once";
  EXPECT_EQ(h.metrics.stale_resends.value(), 1u);
}

TEST(CurlTransportTest, TwoHundredRequestsAtOnce) {
  constexpr int kRequests = 200;
  std::atomic<int> count{0};
  HttpSink sink([&](const SinkRequest&) {
    SinkAnswer answer;
    answer.body = absl::StrCat(++count);
    answer.delay = absl::Milliseconds(100);
    return answer;
  });
  TransportHarness h;
  h.thread.Call([&] {
    for (int i = 0; i < kRequests; ++i) {
      TransferRequest request = TransportHarness::Request(sink.Url());
      request.headers = {{"X-Number", absl::StrCat(i)}};
      h.transport->Send(std::move(request),
                        [&](TransferResult result) { h.results.Put(std::move(result)); });
    }
  });
  const std::vector<TransferResult> results = h.results.WaitFor(kRequests);
  ASSERT_EQ(results.size(), size_t{kRequests});
  std::set<std::string> bodies;
  for (const TransferResult& result : results) {
    EXPECT_EQ(result.http_status, 200) << result.message;
    bodies.insert(result.body);
  }
  EXPECT_EQ(bodies.size(), size_t{kRequests}) << "each has the answer of its own";
  std::set<std::string> numbers;
  for (const SinkRequest& request : sink.requests()) numbers.insert(*request.Header("X-Number"));
  EXPECT_EQ(numbers.size(), size_t{kRequests});
}

TEST(CurlTransportTest, ADoneMaySendAgain) {
  HttpSink sink;
  TransportHarness h;
  int left = 20;
  absl::AnyInvocable<void()> send = [&] {
    h.transport->Send(TransportHarness::Request(sink.Url()), [&](TransferResult result) {
      h.results.Put(std::move(result));
      if (--left > 0) send();
    });
  };
  h.thread.Call([&] { send(); });
  EXPECT_EQ(h.results.WaitFor(20).size(), 20u);
  EXPECT_EQ(sink.connection_count(), 1u);
}

}  // namespace
}  // namespace postrider
