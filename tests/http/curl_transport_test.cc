#include "src/http/curl_transport.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/dns_server.h"
#include "tests/http/scripted_receiver.h"
#include "tests/http/transport_harness.h"
#include "tests/support/black_hole.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

using Way = SinkAnswer::Way;

// Answers all in the same way.
HttpSink::Script Always(SinkAnswer answer) {
  return [answer = std::move(answer)](const SinkRequest&) { return answer; };
}

SinkAnswer Status(int status) {
  SinkAnswer answer;
  answer.status = status;
  return answer;
}

SinkAnswer By(Way way, std::string body = "") {
  SinkAnswer answer;
  answer.way = way;
  answer.body = std::move(body);
  return answer;
}

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

std::string UrlOf(const std::string& host, const HttpSink& sink) {
  return absl::StrCat("http://", host, ":", sink.port(), "/hook");
}

// ---- What goes out

TEST(CurlTransportTest, TheRequestGoesOutExactly) {
  HttpSink sink;
  TransportHarness h;
  TransferRequest request;
  request.target = std::make_shared<HttpTarget>(
      HttpTarget{sink.Url("/a%20b/../c?x=1&y=%2F"),
                 {{"User-Agent", "postrider/test"}, {"X-Token", "s3cret"}, {"X-Empty", ""}}});
  request.headers = {{"Content-Type", "application/json"},
                     {"webhook-id", "msg_1"},
                     {"X-Blank", "  "},
                     {"webhook-signature", "v1,abc v1,def"}};
  const std::string body("{\"a\":\"\0\r\n\xc3\xa4\"}", 14);
  request.body = std::make_shared<std::string>(body);
  const TransferResult result = h.Send(request);
  EXPECT_EQ(result.error, TransferError::kNone) << result.message;
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.message, "");
  EXPECT_GT(result.latency, absl::ZeroDuration());
  EXPECT_THAT(result.sent_headers, IsEmpty()) << "nobody looks on";

  ASSERT_EQ(sink.request_count(), 1u);
  const SinkRequest sent = sink.requests()[0];
  EXPECT_EQ(sent.method, "POST");
  EXPECT_EQ(sent.target, "/a%20b/../c?x=1&y=%2F");
  EXPECT_EQ(sent.body, body);
  EXPECT_THAT(sent.headers,
              ElementsAre(Pair("Host", absl::StrCat("127.0.0.1:", sink.port())),
                          Pair("Content-Type", "application/json"), Pair("webhook-id", "msg_1"),
                          Pair("X-Blank", ""), Pair("webhook-signature", "v1,abc v1,def"),
                          Pair("User-Agent", "postrider/test"), Pair("X-Token", "s3cret"),
                          Pair("X-Empty", ""), Pair("Content-Length", absl::StrCat(body.size()))));
}

TEST(CurlTransportTest, ThePathGoesOutAsItIsConfigured) {
  HttpSink sink;
  TransportHarness h;
  for (const char* path : {"/a/./b/../c", "/%2e%2e/x", "//double//slash/", "/a;b=c,d", "/?q=../x",
                           "/a?b?c=d&e=%zz", "/%C3%A4/%2F%2f", "/..", "/a/.."}) {
    EXPECT_EQ(h.Send(sink.Url(path)).http_status, 200) << path;
    EXPECT_EQ(sink.requests().back().target, path);
  }
  h.Send(sink.Url(""));
  EXPECT_EQ(sink.requests().back().target, "/");
  h.Send(sink.Url("?a=1"));
  EXPECT_EQ(sink.requests().back().target, "/?a=1");
  h.Send(sink.Url("/x#fragment"));
  EXPECT_EQ(sink.requests().back().target, "/x") << "a fragment is not for the server";
}

TEST(CurlTransportTest, AcceptAndContentTypeGoOutOnlyWhenGiven) {
  HttpSink sink;
  TransportHarness h;
  h.Send(sink.Url());
  TransferRequest request = TransportHarness::Request(sink.Url());
  request.headers = {{"accept", "text/plain"}};
  h.Send(request);
  request = TransportHarness::Request(sink.Url());
  request.target = std::make_shared<HttpTarget>(
      HttpTarget{sink.Url(), {{"ACCEPT", "a/b"}, {"content-type", "c/d"}}});
  h.Send(request);
  h.Send(sink.Url());

  const std::vector<SinkRequest> requests = sink.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[0].Header("Accept"), std::nullopt);
  EXPECT_EQ(requests[0].Header("Content-Type"), std::nullopt);
  EXPECT_EQ(requests[0].Header("User-Agent"), std::nullopt);
  EXPECT_EQ(requests[1].Header("Accept"), "text/plain");
  EXPECT_EQ(requests[1].Header("Content-Type"), std::nullopt);
  EXPECT_EQ(requests[2].Header("Accept"), "a/b");
  EXPECT_EQ(requests[2].Header("Content-Type"), "c/d");
  EXPECT_EQ(requests[3].headers, requests[0].headers) << "nothing is left of the ones before";
}

TEST(CurlTransportTest, BodiesOfAnySizeGoOutWithoutExpect) {
  HttpSink sink;
  TransportHarness h;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100'000}, size_t{3} << 20}) {
    TransferRequest request = TransportHarness::Request(sink.Url());
    request.body = std::make_shared<std::string>(size, 'b');
    EXPECT_EQ(h.Send(request).http_status, 200) << size;
    const SinkRequest sent = sink.requests().back();
    EXPECT_EQ(sent.body.size(), size);
    EXPECT_EQ(sent.body, *request.body);
    EXPECT_EQ(sent.Header("Content-Length"), absl::StrCat(size));
    EXPECT_EQ(sent.Header("Expect"), std::nullopt);
  }
}

TEST(CurlTransportTest, ManyHeadersOfTheRequestKeepTheirOrder) {
  HttpSink sink;
  TransportHarness h;
  // More with each request, so that the buffers grow while they are in use.
  for (int count : {1, 5, 40, 64, 3}) {
    TransferRequest request = TransportHarness::Request(sink.Url());
    for (int i = 0; i < count; ++i) {
      request.headers.push_back({absl::StrCat("X-", i), absl::StrCat("value ", i)});
    }
    EXPECT_EQ(h.Send(request).http_status, 200);
    const SinkRequest sent = sink.requests().back();
    ASSERT_EQ(sent.headers.size(), static_cast<size_t>(count) + 2) << "Host and Content-Length";
    for (int i = 0; i < count; ++i) {
      EXPECT_THAT(sent.headers[i + 1], Pair(absl::StrCat("X-", i), absl::StrCat("value ", i)));
    }
  }
}

TEST(CurlTransportTest, CaptureTellsWhatWentOverTheWire) {
  SinkAnswer answer = Status(202);
  answer.headers = {{"X-Answer", "  yes  "}, {"X-Empty", ""}};
  HttpSink sink(Always(answer));
  TransportHarness h;
  TransferRequest request = TransportHarness::Request(sink.Url());
  request.headers = {{"X-One", "1"}};
  request.capture = true;
  const TransferResult result = h.Send(request);
  EXPECT_THAT(result.sent_headers,
              ElementsAre(HttpHeader{"Host", absl::StrCat("127.0.0.1:", sink.port())},
                          HttpHeader{"X-One", "1"}, HttpHeader{"Content-Length", "2"}));
  EXPECT_THAT(result.response_headers,
              ElementsAre(HttpHeader{"X-Answer", "yes"}, HttpHeader{"X-Empty", ""},
                          HttpHeader{"Content-Length", "0"}));
  const TransferResult next = h.Send(sink.Url());
  EXPECT_THAT(next.sent_headers, IsEmpty());
  EXPECT_THAT(next.response_headers, IsEmpty());
}

TEST(CurlTransportTest, TheEnvironmentsProxiesDoNotApply) {
  HttpSink proxy;
  HttpSink sink;
  const std::vector<std::string> names = {"http_proxy",  "HTTP_PROXY", "https_proxy",
                                          "HTTPS_PROXY", "all_proxy",  "ALL_PROXY"};
  for (const std::string& name : names) setenv(name.c_str(), proxy.Url("").c_str(), 1);
  setenv("no_proxy", "elsewhere.test", 1);
  {
    TransportHarness h;
    EXPECT_EQ(h.Send(sink.Url()).http_status, 200);
  }
  for (const std::string& name : names) unsetenv(name.c_str());
  unsetenv("no_proxy");
  EXPECT_EQ(sink.request_count(), 1u);
  EXPECT_EQ(proxy.connection_count(), 0u);
}

// ---- What comes back

TEST(CurlTransportTest, EachStatusIsAnAnswer) {
  HttpSink elsewhere;
  HttpSink sink;
  TransportHarness h;
  for (const int status : {200, 201, 202, 204, 299, 301, 302, 303, 304, 307, 308, 400,
                           401, 404, 407, 408, 410, 429, 500, 502, 503, 504, 599}) {
    SinkAnswer answer = Status(status);
    answer.headers = {{"Location", elsewhere.Url()}};
    sink.SetScript(Always(answer));
    const TransferResult result = h.Send(sink.Url());
    EXPECT_EQ(result.error, TransferError::kNone) << status << ": " << result.message;
    EXPECT_EQ(result.http_status, status);
    EXPECT_EQ(result.message, "");
  }
  EXPECT_EQ(elsewhere.connection_count(), 0u) << "redirects are not followed";
  EXPECT_EQ(sink.request_count(), 23u) << "nothing is sent twice";
}

TEST(CurlTransportTest, RetryAfterIsTold) {
  SinkAnswer answer = Status(429);
  answer.headers = {{"rEtRy-AfTeR", "  120 "}};
  HttpSink sink(Always(answer));
  TransportHarness h;
  EXPECT_EQ(h.Send(sink.Url()).retry_after, "120");
  sink.SetScript(Always(Status(429)));
  EXPECT_EQ(h.Send(sink.Url()).retry_after, "") << "nothing is left of the one before";
}

TEST(CurlTransportTest, InformationalAnswersAreSkipped) {
  HttpSink sink(Always(By(Way::kRaw,
                          "HTTP/1.1 103 Early Hints\r\nRetry-After: 1\r\nX-Early: 1\r\n\r\n"
                          "HTTP/1.1 201 Created\r\nX-Late: 1\r\nContent-Length: 2\r\n\r\nok")));
  TransportHarness h;
  TransferRequest request = TransportHarness::Request(sink.Url());
  request.capture = true;
  const TransferResult result = h.Send(request);
  EXPECT_EQ(result.http_status, 201);
  EXPECT_EQ(result.body, "ok");
  EXPECT_EQ(result.retry_after, "");
  EXPECT_THAT(result.response_headers,
              ElementsAre(HttpHeader{"X-Late", "1"}, HttpHeader{"Content-Length", "2"}));
}

TEST(CurlTransportTest, TheBodyIsKeptUpToTheLimit) {
  SinkAnswer answer;
  answer.body = "0123456789";
  HttpSink sink(Always(answer));
  TransportHarness h;
  for (const size_t limit : {0u, 1u, 9u, 10u, 11u}) {
    TransferRequest request = TransportHarness::Request(sink.Url());
    request.max_response_bytes = limit;
    const TransferResult result = h.Send(request);
    EXPECT_EQ(result.error, TransferError::kNone);
    EXPECT_EQ(result.body, answer.body.substr(0, limit));
    EXPECT_EQ(result.body_truncated, limit < 10);
  }
  EXPECT_EQ(sink.connection_count(), 1u) << "a short rest is read, so that the connection lives";
}

TEST(CurlTransportTest, AnEndlessBodyIsCutOff) {
  HttpSink sink(Always(By(Way::kEndless, "0123456789")));
  TransportHarness h;
  TransferRequest request = TransportHarness::Request(sink.Url());
  request.max_response_bytes = 25;
  TransferResult result = h.Send(request);
  EXPECT_EQ(result.error, TransferError::kNone) << result.message;
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.body, "0123456789012345678901234");
  EXPECT_TRUE(result.body_truncated);
  // Not the connection that is still full of it.
  sink.SetScript({});
  result = h.Send(sink.Url());
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(sink.connection_count(), 2u);
}

TEST(CurlTransportTest, MoreHeadersThanAnyoneNeedsAreABadAnswer) {
  std::string head = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 300; ++i)
    absl::StrAppend(&head, "X-", i, ": ", std::string(1000, 'x'), "\r\n");
  HttpSink sink(Always(By(Way::kRaw, head + "\r\n")));
  TransportHarness h;
  const TransferResult result = h.Send(sink.Url());
  EXPECT_EQ(result.error, TransferError::kBadAnswer);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message, HasSubstr("more than 256 KiB of headers"));
}

// RFC 2616 knew it; nobody else does, so libcurl 7.88.1 waits for the end of the connection.
TEST(CurlTransportTest, AnAnswerCodedAsIdentityEndsWithItsContentLength) {
  for (const std::string& body : {std::string(), std::string("ok"), std::string(50'000, 'b')}) {
    for (const bool length_first : {false, true}) {
      const std::string length = absl::StrCat("Content-Length: ", body.size(), "\r\n");
      const std::string coding = "Transfer-Encoding: Identity\r\n";
      // Unlike the sink's raw answers it leaves the connection open.
      ScriptedReceiver receiver([&](ScriptedReceiver::Connection& connection) {
        while (connection.ReadRequest().has_value()) {
          connection.Write(absl::StrCat("HTTP/1.1 201 Created\r\n", length_first ? length : coding,
                                        length_first ? coding : length, "\r\n", body));
        }
      });
      TransportHarness h;
      for (int i = 0; i < 2; ++i) {
        TransferRequest request = TransportHarness::Request(receiver.Url());
        request.max_response_bytes = 4;
        const TransferResult result = h.Send(request);
        EXPECT_EQ(result.error, TransferError::kNone) << result.message;
        EXPECT_EQ(result.http_status, 201);
        EXPECT_EQ(result.body, body.substr(0, 4));
        EXPECT_EQ(result.body_truncated, body.size() > 4);
      }
    }
  }
}

TEST(CurlTransportTest, AnEndlessHeaderLineIsABadAnswer) {
  const std::string endless(200'000, 'x');
  HttpSink sink(Always(By(Way::kRaw, "HTTP/1.1 200 OK\r\nX-Endless: " + endless)));
  TransportHarness h;
  const TransferResult result = h.Send(sink.Url());
  EXPECT_EQ(result.error, TransferError::kBadAnswer);
  EXPECT_THAT(result.message, AllOf(HasSubstr("has a header of more than 100 KiB"),
                                    Not(HasSubstr("memory"))));
}

TEST(CurlTransportTest, WhatIsNotHttpIsABadAnswer) {
  HttpSink sink;
  TransportHarness h;
  for (const char* raw : {"SSH-2.0-OpenSSH_9.2\r\n", "garbage\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n",
                          "HTTP/1.1 2x0 OK\r\n\r\n", "\0\1\2\3\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"}) {
    sink.SetScript(Always(By(Way::kRaw, raw)));
    const TransferResult result = h.Send(sink.Url());
    EXPECT_NE(result.error, TransferError::kNone) << raw;
    EXPECT_EQ(result.http_status, 0) << raw;
    EXPECT_THAT(result.message, HasSubstr(absl::StrCat("127.0.0.1:", sink.port()))) << raw;
  }
  sink.SetScript(Always(By(Way::kRaw, "SSH-2.0-OpenSSH_9.2\r\n")));
  const TransferResult result = h.Send(sink.Url());
  EXPECT_EQ(result.error, TransferError::kBadAnswer);
  EXPECT_THAT(result.message, AllOf(HasSubstr("is not HTTP/1.1"), HasSubstr("check that the URL")));
}

TEST(CurlTransportTest, AnAnswerThatBreaksOffIsALostConnection) {
  HttpSink sink(Always(By(Way::kRaw, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")));
  TransportHarness h;
  const TransferResult result = h.Send(sink.Url());
  EXPECT_EQ(result.error, TransferError::kConnectionLost);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.body, "half");
  EXPECT_THAT(result.message, HasSubstr("broke the connection off"));
  EXPECT_EQ(sink.request_count(), 1u);
}

// ---- Time

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

// ---- Connections

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

// ---- Where to

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

// ---- Breaking off

TEST(CurlTransportTest, CancelEndsWhatGoesToOneTargetAndNothingElse) {
  HttpSink sink(Always(By(Way::kHang)));
  TransportHarness h;
  h.thread.Call([&] { h.resolver.holds = true; });
  const TransferRequest sent = TransportHarness::Request(sink.Url());
  const TransferRequest other = TransportHarness::Request(sink.Url());
  const TransferRequest unresolved = TransportHarness::Request(UrlOf("slow.test", sink));
  h.Start(sent);
  h.Start(sent);
  h.Start(other);
  h.Start(unresolved);
  ASSERT_TRUE(sink.WaitForRequests(3));
  h.thread.Call([&] {
    h.transport->Cancel(*sent.target);
    h.transport->Cancel(*unresolved.target);
    h.transport->Cancel(*unresolved.target);
  });
  for (const TransferResult& result : h.results.WaitFor(3)) {
    EXPECT_EQ(result.error, TransferError::kCancelled);
  }
  h.thread.Call([&] { h.resolver.Tell(); });
  h.thread.Turn();
  EXPECT_EQ(h.results.size(), 3u) << "the other one goes on, and each is told once";
  h.CancelAll();
  EXPECT_EQ(h.results.WaitFor(4)[3].error, TransferError::kCancelled);
}

TEST(CurlTransportTest, CancelAllEndsEveryStage) {
  HttpSink sink(Always(By(Way::kHang)));
  TransportHarness h;
  h.thread.Call([&] {
    h.resolver.hosts["slow.test"] = {"127.0.0.1"};
    h.resolver.holds = true;
  });
  h.Start(TransportHarness::Request(UrlOf("slow.test", sink)));
  // The sink waits for the request, the client for the server's part of the handshake.
  h.Start(TransportHarness::Request(absl::StrCat("https://127.0.0.1:", sink.port(), "/")));
  h.Start(TransportHarness::Request(sink.Url()));
  ASSERT_TRUE(sink.WaitForRequests(1));
  EXPECT_EQ(h.results.size(), 0u);
  h.thread.Call([&] {
    // One whose connection was not even begun.
    h.transport->Send(TransportHarness::Request(sink.Url()),
                      [&](TransferResult result) { h.results.Put(std::move(result)); });
    // And one that has ended, but was not told.
    h.transport->Send(TransportHarness::Request("nowhere"),
                      [&](TransferResult result) { h.results.Put(std::move(result)); });
    h.transport->CancelAll();
    EXPECT_EQ(h.results.size(), 5u) << "all are told before it returns";
  });
  size_t cancelled = 0;
  for (const TransferResult& result : h.results.WaitFor(5)) {
    if (result.error != TransferError::kCancelled) continue;
    ++cancelled;
    EXPECT_EQ(result.http_status, 0);
    EXPECT_NE(result.message, "");
  }
  EXPECT_EQ(cancelled, 4u);
  h.thread.Call([&] { h.resolver.Tell(); });
  h.thread.Turn();
  EXPECT_EQ(h.results.size(), 5u) << "each is told once";

  h.CancelAll();
  sink.SetScript({});
  EXPECT_EQ(h.Send(sink.Url()).http_status, 200) << "the transport goes on";
}

TEST(CurlTransportTest, ADoneMayCancelAll) {
  HttpSink sink;
  TransportHarness h;
  std::vector<TransferError> errors;
  h.thread.Call([&] {
    for (int i = 0; i < 3; ++i) {
      h.transport->Send(TransportHarness::Request("nowhere"), [&](TransferResult result) {
        errors.push_back(result.error);
        if (errors.size() == 1) h.transport->CancelAll();
      });
    }
    h.transport->Send(TransportHarness::Request(sink.Url()), [&](TransferResult result) {
      errors.push_back(result.error);
      h.results.Put(std::move(result));
    });
  });
  h.results.WaitFor(1);
  h.thread.Turn();
  h.thread.Stop();
  EXPECT_THAT(errors,
              testing::UnorderedElementsAre(TransferError::kResolve, TransferError::kResolve,
                                            TransferError::kResolve, TransferError::kCancelled));
}

TEST(CurlTransportTest, DestructionTellsWhatIsUnderWay) {
  HttpSink sink(Always(By(Way::kHang)));
  Mailbox<TransferResult> results;
  {
    TransportHarness h;
    h.thread.Call([&] {
      h.transport->Send(TransportHarness::Request(sink.Url()),
                        [&](TransferResult result) { results.Put(std::move(result)); });
    });
    ASSERT_TRUE(sink.WaitForRequests(1));
  }
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results.WaitFor(1)[0].error, TransferError::kCancelled);
}

}  // namespace
}  // namespace postrider
