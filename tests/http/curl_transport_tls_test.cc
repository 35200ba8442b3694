#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/pem_file.h"
#include "tests/http/scripted_receiver.h"
#include "tests/http/tls_server.h"
#include "tests/http/transport_harness.h"
#include "tests/support/black_hole.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

// Takes connections, as far as the kernel does by itself, and never says anything.
class SilentListener {
 public:
  ~SilentListener() {
    if (fd_ >= 0) close(fd_);
  }
  // False when the port is taken.
  bool Listen(const char* address, int port) {
    if (fd_ < 0) fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(static_cast<uint16_t>(port));
    EXPECT_EQ(inet_pton(AF_INET, address, &in.sin_addr), 1);
    return bind(fd_, reinterpret_cast<sockaddr*>(&in), sizeof in) == 0 && listen(fd_, 8) == 0;
  }

 private:
  int fd_ = -1;
};

TransportHarness::Options Trusting(const std::string& ca_file) {
  TransportHarness::Options options;
  options.transport.ca_file = ca_file;
  return options;
}

std::string UrlOf(const std::string& host, const TlsServer& server) {
  return absl::StrCat("https://", host, ":", server.port(), "/");
}

TEST(CurlTransportTlsTest, ACertificateThatNobodyVouchesForIsRefused) {
  TlsServer server("127.0.0.1");
  TransportHarness h;
  const TransferResult result = h.Send(UrlOf("127.0.0.1", server));
  EXPECT_EQ(result.error, TransferError::kTls) << result.message;
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message,
              AllOf(HasSubstr(absl::StrCat("no secure connection to 127.0.0.1:", server.port())),
                    HasSubstr("self-signed certificate"),
                    HasSubstr("from an authority that this machine trusts")));
  EXPECT_EQ(server.request_count(), 0);
}

TEST(CurlTransportTlsTest, AnAddressBesideADeadOneIsReachedOverTls) {
  std::unique_ptr<TlsServer> server;
  std::unique_ptr<BlackHole> hole;
  // Another test may have the port at the other address.
  do {
    server = std::make_unique<TlsServer>("receiver.test");
    hole = std::make_unique<BlackHole>("127.0.0.2", server->port());
  } while (!hole->open());
  const PemFile ca(server->certificate());
  TransportHarness h(Trusting(ca.path()));
  h.thread.Call([&] { h.resolver.hosts["receiver.test"] = {"127.0.0.2", "127.0.0.1"}; });
  const TransferResult result =
      h.Send(TransportHarness::Request(UrlOf("receiver.test", *server), absl::Seconds(30)));
  EXPECT_EQ(result.http_status, 200) << result.message;
  EXPECT_EQ(h.metrics.address_fallbacks.value(), 1u);
}

TEST(CurlTransportTlsTest, ACertificateOfATrustedAuthorityIsAccepted) {
  TlsServer server("receiver.test");
  const PemFile ca(server.certificate());
  TransportHarness h(Trusting(ca.path()));
  h.thread.Call([&] { h.resolver.hosts["receiver.test"] = {"127.0.0.2", "127.0.0.1"}; });
  TransferRequest request = TransportHarness::Request(UrlOf("receiver.test", server));
  request.capture = true;
  const TransferResult result = h.Send(request);
  EXPECT_EQ(result.error, TransferError::kNone) << result.message;
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.sent_headers.at(0),
            (HttpHeader{"Host", absl::StrCat("receiver.test:", server.port())}));
  EXPECT_EQ(server.request_count(), 1);
}

TEST(CurlTransportTlsTest, AnAddressCanBeCertified) {
  TlsServer server("127.0.0.1");
  const PemFile ca(server.certificate());
  TransportHarness h(Trusting(ca.path()));
  EXPECT_EQ(h.Send(UrlOf("127.0.0.1", server)).http_status, 200);
}

TEST(CurlTransportTlsTest, ACertificateForAnotherHostIsRefused) {
  TlsServer server("other.test");
  const PemFile ca(server.certificate());
  TransportHarness h(Trusting(ca.path()));
  h.thread.Call([&] { h.resolver.hosts["receiver.test"] = {"127.0.0.1"}; });
  const TransferResult result = h.Send(UrlOf("receiver.test", server));
  EXPECT_EQ(result.error, TransferError::kTls) << result.message;
  EXPECT_THAT(result.message, HasSubstr("receiver.test"));
  EXPECT_EQ(server.request_count(), 0);
}

TEST(CurlTransportTlsTest, AuthoritiesThatCannotBeReadAreNamed) {
  TlsServer server("127.0.0.1");
  TransportHarness h(Trusting("/nowhere/authorities.pem"));
  const TransferResult result = h.Send(UrlOf("127.0.0.1", server));
  EXPECT_EQ(result.error, TransferError::kTls) << result.message;
  EXPECT_THAT(result.message, AllOf(HasSubstr("/nowhere/authorities.pem"),
                                    HasSubstr("give the server a readable")));
}

TEST(CurlTransportTlsTest, HttpToAPortOfTlsSaysSo) {
  // Most say so by an alert.
  ScriptedReceiver alerts([](ScriptedReceiver::Connection& connection) {
    connection.ReadSome();
    connection.Write(std::string("\x15\x03\x01\x00\x02\x02\x46", 7));
  });
  TransportHarness h;
  TransferResult result = h.Send(alerts.Url());
  EXPECT_EQ(result.error, TransferError::kBadAnswer) << result.message;
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message, AllOf(HasSubstr(absl::StrCat("127.0.0.1:", alerts.port(),
                                                           " speaks TLS at this port")),
                                    HasSubstr("write https:// in the URL")));
  // OpenSSL's say nothing.
  TlsServer server("127.0.0.1");
  result = h.Send(absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  EXPECT_EQ(result.error, TransferError::kConnectionLost) << result.message;
  EXPECT_THAT(result.message,
              HasSubstr("write https:// in the URL if it speaks TLS at this port"));
  EXPECT_EQ(server.request_count(), 0);
}

TEST(CurlTransportTlsTest, HttpsToAPortOfPlainHttpSaysSo) {
  ScriptedReceiver plain([](ScriptedReceiver::Connection& connection) {
    connection.ReadSome();
    connection.Write("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
  });
  TransportHarness h;
  const TransferResult result = h.Send(absl::StrCat("https://127.0.0.1:", plain.port(), "/"));
  EXPECT_EQ(result.error, TransferError::kTls) << result.message;
  EXPECT_THAT(result.message, AllOf(HasSubstr("what it speaks at this port is not TLS"),
                                    HasSubstr("write http:// in the URL")));

  // Some just end the connection.
  ScriptedReceiver silent([](ScriptedReceiver::Connection& connection) { connection.ReadSome(); });
  const TransferResult ended = h.Send(absl::StrCat("https://127.0.0.1:", silent.port(), "/"));
  EXPECT_EQ(ended.error, TransferError::kTls) << ended.message;
  EXPECT_THAT(ended.message, HasSubstr("write http:// in the URL if it does not speak TLS"));
}

TEST(CurlTransportTlsTest, AReceiverThatWantsAClientCertificateSaysSo) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const Certificate certificate("127.0.0.1");
    const PemFile ca(certificate.pem());
    ScriptedReceiver::Tls tls{&certificate, version};
    tls.wants_client_certificate = true;
    ScriptedReceiver receiver([](ScriptedReceiver::Connection&) {}, tls);
    TransportHarness h(Trusting(ca.path()));
    for (int i = 0; i < 10; ++i) {
      const TransferResult result = h.Send(receiver.Url());
      EXPECT_EQ(result.error, TransferError::kTls) << result.message;
      EXPECT_EQ(result.http_status, 0);
      // Its alert is lost now and then: the reset that follows it comes before the request.
      EXPECT_THAT(result.message, AnyOf(HasSubstr("wants a client certificate"),
                                        HasSubstr("asked for a client certificate")));
    }
    EXPECT_EQ(receiver.connection_count(), 10);
  }
}

TEST(CurlTransportTlsTest, OneThatAsksForACertificateAndBreaksOffSaysSo) {
  for (const bool asks : {false, true}) {
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      const Certificate certificate("127.0.0.1");
      const PemFile ca(certificate.pem());
      ScriptedReceiver::Tls tls{&certificate, version};
      tls.asks_for_client_certificate = asks;
      ScriptedReceiver receiver(
          [](ScriptedReceiver::Connection& connection) {
            connection.ReadSome();
            connection.Reset();
          },
          tls);
      TransportHarness h(Trusting(ca.path()));
      const TransferResult result = h.Send(receiver.Url());
      // Before TLS 1.3 a handshake that has ended says that it needs none.
      const bool perhaps = asks && version == TLS1_3_VERSION;
      EXPECT_EQ(result.error, perhaps ? TransferError::kTls : TransferError::kConnectionLost)
          << result.message;
      EXPECT_EQ(absl::StrContains(result.message, "asked for a client certificate"), perhaps)
          << result.message;
    }
  }
}

TEST(CurlTransportTlsTest, AReceiverThatOnlyAsksForACertificateIsDeliveredTo) {
  const Certificate certificate("127.0.0.1");
  const PemFile ca(certificate.pem());
  ScriptedReceiver::Tls tls{&certificate, TLS1_3_VERSION};
  tls.asks_for_client_certificate = true;
  ScriptedReceiver receiver(
      [](ScriptedReceiver::Connection& connection) {
        while (connection.ReadRequest()) {
          connection.Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
      },
      tls);
  TransportHarness h(Trusting(ca.path()));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(h.Send(receiver.Url()).http_status, 200);
  EXPECT_EQ(receiver.connection_count(), 1);
}

TEST(CurlTransportTlsTest, AServerThatSpeaksHttp2AloneSaysSo) {
  const Certificate certificate("127.0.0.1");
  const PemFile ca(certificate.pem());
  ScriptedReceiver::Tls tls{&certificate, TLS1_3_VERSION};
  tls.http2_only = true;
  ScriptedReceiver refuses([](ScriptedReceiver::Connection&) {}, tls);
  // It does not ask what the client offers, and begins as HTTP/2 does.
  const auto settings = [](ScriptedReceiver::Connection& connection) {
    connection.ReadSome();
    connection.Write(std::string("\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64", 15));
  };
  ScriptedReceiver insists(settings, {&certificate, TLS1_3_VERSION});
  ScriptedReceiver plain(settings);
  TransportHarness h(Trusting(ca.path()));
  for (const std::string& url : {refuses.Url(), insists.Url(), plain.Url()}) {
    const TransferResult result = h.Send(url);
    EXPECT_EQ(result.error,
              url == refuses.Url() ? TransferError::kTls : TransferError::kBadAnswer);
    EXPECT_THAT(result.message, HasSubstr("speaks HTTP/2 alone, and Postrider speaks HTTP/1.1"));
  }
}

TEST(CurlTransportTlsTest, WantOfADescriptorForTheAuthoritiesIsNotTheReceiversFault) {
  TlsServer server("127.0.0.1");
  const PemFile ca(server.certificate());
  TransportHarness h(Trusting(ca.path()));
  // The lowest number that is free: what the connection gets, and nothing else.
  const int next = dup(0);
  ASSERT_GE(next, 0);
  close(next);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit one_more{static_cast<rlim_t>(next) + 1, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &one_more), 0);
  const TransferResult refused = h.Send(UrlOf("127.0.0.1", server));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(refused.error, TransferError::kNoResources) << refused.message;
  EXPECT_THAT(refused.message, HasSubstr("open files"));
  EXPECT_EQ(h.Send(UrlOf("127.0.0.1", server)).http_status, 200);
}

TEST(CurlTransportTlsTest, AHandshakeThatDoesNotEndRunsIntoTheTimeout) {
  // The sink waits for the end of a request that it cannot read.
  HttpSink sink;
  TransportHarness h;
  const TransferResult result = h.Send(TransportHarness::Request(
      absl::StrCat("https://127.0.0.1:", sink.port(), "/"), absl::Seconds(2)));
  EXPECT_EQ(result.error, TransferError::kTimeout);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message, HasSubstr("the TLS handshake was not over"));
  EXPECT_EQ(sink.connection_count(), 1u);
}

TEST(CurlTransportTlsTest, AnAddressThatDoesNotShakeHandsIsFollowedByTheNext) {
  std::unique_ptr<TlsServer> server;
  SilentListener silent;
  // The port that is free at one address may be taken at the other.
  do {
    server = std::make_unique<TlsServer>("receiver.test");
  } while (!silent.Listen("127.0.0.2", server->port()));
  const PemFile ca(server->certificate());
  TransportHarness::Options options = Trusting(ca.path());
  options.transport.connect_timeout = absl::Seconds(2);
  TransportHarness h(options);
  h.thread.Call([&] { h.resolver.hosts["receiver.test"] = {"127.0.0.2", "127.0.0.1"}; });
  const TransferResult result = h.Send(UrlOf("receiver.test", *server));
  EXPECT_EQ(result.http_status, 200) << result.message;
  EXPECT_EQ(server->request_count(), 1);
  EXPECT_GE(result.latency, absl::Milliseconds(1990)) << "the first address was tried";
}

}  // namespace
}  // namespace postrider
