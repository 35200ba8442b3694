#include "src/http/curl_transport.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/http/resolver.h"
#include "tests/http/dns_server.h"
#include "tests/http/sink_answers.h"
#include "tests/http/transport_harness.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Way = SinkAnswer::Way;

TEST(CurlTransportTest, ABlockedAddressIsNeverConnectedTo) {
  HttpSink sink;
  TransportHarness::Options options;
  options.allow = {"10.0.0.0/8"};
  TransportHarness h(options);
  const TransferResult result = h.Send(sink.Url());
  EXPECT_EQ(result.error, TransferError::kBlockedAddress);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message, AllOf(HasSubstr("127.0.0.1 is a loopback address"),
                                    HasSubstr("--allow-network 127.0.0.1/32")));
  EXPECT_EQ(h.metrics.blocked.value(), 1u);
  EXPECT_EQ(sink.connection_count(), 0u);
}

TEST(CurlTransportTest, AHostNameThatLeadsToABlockedAddressIsBlocked) {
  HttpSink sink;
  TransportHarness::Options options;
  options.allow = {};
  TransportHarness h(options);
  h.thread.Call([&] {
    h.resolver.hosts["inside.test"] = {"127.0.0.1"};
    h.resolver.hosts["mapped.test"] = {"::ffff:127.0.0.1"};
    h.resolver.hosts["metadata.test"] = {"169.254.169.254", "10.0.0.1"};
  });
  for (const char* host : {"inside.test", "mapped.test"}) {
    const TransferResult result = h.Send(UrlOf(host, sink));
    EXPECT_EQ(result.error, TransferError::kBlockedAddress);
    EXPECT_THAT(result.message, HasSubstr("127.0.0.1 is a loopback address"));
  }
  const TransferResult result = h.Send("http://metadata.test/latest/meta-data/");
  EXPECT_EQ(result.error, TransferError::kBlockedAddress);
  EXPECT_THAT(result.message, HasSubstr("169.254.169.254 is a cloud metadata address"));
  EXPECT_EQ(sink.connection_count(), 0u);
}

TEST(CurlTransportTest, OddSpellingsOfABlockedAddressAreBlocked) {
  HttpSink sink;
  TransportHarness::Options options;
  options.allow = {};
  TransportHarness h(options);
  for (const char* host : {"0x7f.1", "2130706433", "017700000001", "127.1", "[::ffff:127.0.0.1]",
                           "[::1]", "[0:0:0:0:0:0:0:1]", "0", "0.0.0.0"}) {
    const TransferResult result = h.Send(UrlOf(host, sink));
    EXPECT_EQ(result.error, TransferError::kBlockedAddress) << host << ": " << result.message;
  }
  EXPECT_EQ(sink.connection_count(), 0u);
}

TEST(CurlTransportTest, ABlockedAddressAmongOthersIsLeftOut) {
  HttpSink sink;
  TransportHarness h;
  h.thread.Call([&] { h.resolver.hosts["mixed.test"] = {"10.0.0.1", "127.0.0.1"}; });
  EXPECT_EQ(h.Send(UrlOf("mixed.test", sink)).http_status, 200);
  EXPECT_EQ(sink.requests()[0].Header("Host"), absl::StrCat("mixed.test:", sink.port()));
}

TEST(CurlTransportTest, NamesAndAddressesTakeTurns) {
  HttpSink sink;
  HttpSink other;
  TransportHarness h;
  h.thread.Call([&] {
    h.resolver.hosts["one.test"] = {"127.0.0.1"};
    h.resolver.hosts["two.test"] = {"127.0.0.1"};
  });
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(h.Send(UrlOf("one.test", sink)).http_status, 200);
    EXPECT_EQ(h.Send(other.Url()).http_status, 200);
    EXPECT_EQ(h.Send(UrlOf("two.test", sink)).http_status, 200);
  }
  ASSERT_EQ(sink.request_count(), 4u);
  ASSERT_EQ(other.request_count(), 2u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(sink.requests()[i].Header("Host"),
              absl::StrCat(i % 2 == 0 ? "one.test:" : "two.test:", sink.port()));
  }
  EXPECT_EQ(other.requests()[0].Header("Host"), absl::StrCat("127.0.0.1:", other.port()));
}

TEST(CurlTransportTest, AHostWithoutAnAddressIsAResolveError) {
  TransportHarness h;
  TransferResult result = h.Send("http://missing.test/");
  EXPECT_EQ(result.error, TransferError::kResolve);
  EXPECT_THAT(result.message, HasSubstr("missing.test"));
  EXPECT_EQ(h.metrics.resolve_failures.value(), 1u);
  result = h.Send("not a URL");
  EXPECT_EQ(result.error, TransferError::kResolve);
  EXPECT_THAT(result.message, HasSubstr("names no host"));
}

TEST(CurlTransportTest, AddressesAreTriedInTurn) {
  // Only 127.0.0.1 listens at the port.
  HttpSink sink;
  TransportHarness h;
  h.thread.Call([&] {
    h.resolver.hosts["many.test"] = {"127.0.0.3", "127.0.0.2", "127.0.0.1"};
    h.resolver.hosts["none.test"] = {"127.0.0.3", "127.0.0.2"};
  });
  EXPECT_EQ(h.Send(UrlOf("many.test", sink)).http_status, 200);
  EXPECT_EQ(h.Send(UrlOf("many.test", sink)).http_status, 200);
  EXPECT_EQ(sink.connection_count(), 1u) << "the address that answered is tried first";
  EXPECT_EQ(h.Send(UrlOf("none.test", sink)).error, TransferError::kConnect);
}

TEST(CurlTransportTest, TheAddressThatAnsweredIsTriedFirst) {
  HttpSink second({}, "127.0.0.2");
  TransportHarness h;
  h.thread.Call([&] { h.resolver.hosts["moves.test"] = {"127.0.0.1", "127.0.0.2"}; });
  const TransferRequest request = TransportHarness::Request(UrlOf("moves.test", second));
  EXPECT_EQ(h.Send(request).http_status, 200);
  EXPECT_EQ(h.Send(request).http_status, 200);
  second.SetScript(Always(By(Way::kDrop)));
  EXPECT_EQ(h.Send(request).error, TransferError::kConnectionLost)
      << "nothing is sent to another address that may have arrived at the first";
}

TEST(CurlTransportTest, AnIpv6AddressInTheUrl) {
  // Where there is no IPv6, the failure must be that of the right address.
  const int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  const bool has_ipv6 =
      probe >= 0 && bind(probe, reinterpret_cast<sockaddr*>(&loopback), sizeof loopback) == 0;
  if (probe >= 0) close(probe);

  TransportHarness h;
  if (!has_ipv6) {
    const TransferResult result = h.Send("http://[::1]:9/");
    EXPECT_EQ(result.error, TransferError::kConnect);
    EXPECT_THAT(result.message, HasSubstr("[::1]:9"));
    return;
  }
  HttpSink sink({}, "::1");
  const TransferResult result = h.Send(sink.Url());
  EXPECT_EQ(result.http_status, 200) << result.message;
  EXPECT_EQ(sink.requests()[0].Header("Host"), absl::StrCat("[::1]:", sink.port()));
}

TEST(CurlTransportTest, WorksWithTheRealResolver) {
  HttpSink sink;
  DnsServer dns;
  dns.Set("receiver.test", {DnsRecords::Way::kAnswer, {"127.0.0.1"}, 60});
  dns.Set("private.test", {DnsRecords::Way::kAnswer, {"10.0.0.1"}, 60});
  ResolverOptions options;
  options.servers = dns.Address();
  options.timeout = absl::Minutes(1);
  ResolverMetrics resolver_metrics;
  TransportMetrics metrics;
  Mailbox<TransferResult> results;
  LoopThread thread;
  auto resolver = MakeAresResolver(options, SystemClock(), thread.loop(), resolver_metrics);
  ASSERT_TRUE(resolver.ok()) << resolver.status();
  std::unique_ptr<Transport> transport =
      MakeCurlTransport({}, SystemClock(), thread.loop(), **resolver,
                        AddressPolicy({Cidr::Parse("127.0.0.0/8").value()}), metrics);
  thread.Start();
  const auto send = [&](const std::string& url) {
    const size_t before = results.size();
    thread.Call([&] {
      transport->Send(TransportHarness::Request(url),
                      [&](TransferResult result) { results.Put(std::move(result)); });
    });
    return results.WaitFor(before + 1).at(before);
  };
  EXPECT_EQ(send(UrlOf("receiver.test", sink)).http_status, 200);
  EXPECT_EQ(send(UrlOf("localhost", sink)).http_status, 200);
  EXPECT_EQ(send(UrlOf("2130706433", sink)).http_status, 200);
  EXPECT_EQ(send(UrlOf("private.test", sink)).error, TransferError::kBlockedAddress);
  EXPECT_EQ(send(UrlOf("missing.test", sink)).error, TransferError::kResolve);
  EXPECT_EQ(dns.questions("receiver.test"), 2u);
  thread.Stop();
  transport.reset();
  resolver->reset();
}

}  // namespace
}  // namespace postrider
