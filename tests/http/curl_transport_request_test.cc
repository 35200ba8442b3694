#include "src/http/curl_transport.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/sink_answers.h"
#include "tests/http/transport_harness.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

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

}  // namespace
}  // namespace postrider
