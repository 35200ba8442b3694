#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/tls_server.h"
#include "tests/http/transport_harness.h"
#include "tests/support/black_hole.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A PEM file of the test's own, removed with it.
class PemFile {
 public:
  explicit PemFile(const std::string& content) : path_(testing::TempDir() + "/pem-XXXXXX") {
    const int fd = mkstemp(path_.data());
    if (fd < 0) std::abort();
    close(fd);
    std::ofstream(path_) << content;
  }
  ~PemFile() { std::remove(path_.c_str()); }
  PemFile(const PemFile&) = delete;
  PemFile& operator=(const PemFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

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

TEST(CurlTransportTlsTest, AServerThatExpectsTlsIsNoHttpServer) {
  TlsServer server("127.0.0.1");
  TransportHarness h;
  const TransferResult result = h.Send(absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  EXPECT_NE(result.error, TransferError::kNone);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_EQ(server.request_count(), 0);
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
