#include "src/http/server/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/http/server/http_server_harness.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class HttpServerTest : public HttpServerHarness {};

TEST_F(HttpServerTest, AnswersByRoute) {
  HttpRoute below;
  below.path = "/below/";
  below.prefix = true;
  below.handle = [](const HttpRequest& request, HttpReply reply) {
    reply.Send(TextResponse(200, "below " + request.path));
  };
  options_.routes.push_back(below);
  Start();
  EXPECT_THAT(Get("/health"), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("\r\nDate: "),
                                    EndsWith("\r\n\r\nwell\n")));
  EXPECT_THAT(Get("/below/a/b?c"), EndsWith("below /below/a/b\n"));
  EXPECT_THAT(Get("/echo?a=/b"), HasSubstr("GET /echo?a=/b "));
  EXPECT_THAT(Get("http://example.com/health"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get("/healthy"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get("/below"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(HttpCall(port(), "DELETE", "/health", {}, ""),
              AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("\r\nAllow: GET\r\n")));
  EXPECT_THAT(HttpCall(port(), "HEAD", "/health", {}, ""),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Content-Length: 5\r\n"),
                    EndsWith("\r\n\r\n")));
}

TEST_F(HttpServerTest, TakesBodiesOfEitherKind) {
  Start();
  EXPECT_THAT(HttpCall(port(), "POST", "/echo", {{"A", "1"}}, "body"),
              HasSubstr("POST /echo body|Host=x|Connection=close|A=1|Content-Length=4\n"));
  const std::string chunked = Exchange(
      port(),
      "PUT /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;a=b\r\nbod\r\n1\r\ny\r\n0\r\nX-Trailer: 1\r\n\r\n");
  EXPECT_THAT(chunked, AllOf(HasSubstr("PUT /echo body|"), Not(HasSubstr("X-Trailer"))));
}

TEST_F(HttpServerTest, AsksForABodyThatWaitsForThat) {
  Start();
  RawConnection client(port());
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 100"));
  client.Send("hi");
  EXPECT_THAT(client.ReadAnswer(), HasSubstr("POST /echo hi|"));
}

TEST_F(HttpServerTest, KeepsConnectionsAndAnswersInOrder) {
  Start();
  RawConnection client(port());
  client.Send("GET /echo?1 HTTP/1.1\r\n\r\nPOST /echo?2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
              "GET /none HTTP/1.1\r\n\r\nGET /echo?3 HTTP/1.1\r\n");
  EXPECT_THAT(client.ReadAnswer(), HasSubstr("GET /echo?1 "));
  EXPECT_THAT(client.ReadAnswer(), HasSubstr("POST /echo?2 abc"));
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 404"));
  client.Send("\r\n");
  EXPECT_THAT(client.ReadAnswer(), AllOf(HasSubstr("GET /echo?3 "), HasSubstr("keep-alive")));
  client.Send("GET /echo HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.ReadToEnd(), HasSubstr("Connection: close\r\n"));
}

TEST_F(HttpServerTest, RefusesWhatIsNoRequest) {
  Start();
  const std::pair<std::string, std::string> cases[] = {
      {"nonsense\r\n\r\n", "400"},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello, TLS", "400"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
      {"GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
      {"GET /echo HTTP/1.1\r\nbad header\r\n\r\n", "400"},
      {"GET /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
      {"GET /echo HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
      // Else the body would be taken for the next request.
      {"GET /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nGET /health HTTP/1.1\r\n\r\n", "501"},
      {"GET /echo HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "501"},
      {"GET /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "400"},
      {"GET /echo HTTP/1.1\r\nExpect: wonders\r\n\r\n", "417"},
  };
  for (const auto& [bytes, status] : cases) {
    const std::string answer = Exchange(port(), bytes);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + status)) << bytes;
    EXPECT_THAT(answer, HasSubstr("Connection: close\r\n")) << bytes;
    EXPECT_EQ(answer.find("well"), std::string::npos) << bytes;
  }
}

TEST_F(HttpServerTest, AnAnswerMayComeFromAnotherThread) {
  Start();
  std::string answer;
  std::thread client([&] { answer = Get("/held"); });
  HttpReply reply = TakeHeld();
  // Nobody waits for it.
  EXPECT_THAT(Get("/health"), StartsWith("HTTP/1.1 200"));
  reply.Send(TextResponse(201, "at last"));
  client.join();
  EXPECT_THAT(answer, AllOf(StartsWith("HTTP/1.1 201 Created\r\n"), EndsWith("\r\n\r\nat last\n")));
}

TEST_F(HttpServerTest, ARequestThatIsLetGoIsAnswered500) {
  Start();
  std::string answer;
  std::thread client([&] { answer = Get("/held"); });
  { const HttpReply reply = TakeHeld(); }
  client.join();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 500"));
}

TEST_F(HttpServerTest, AReplyMayOutliveItsClientAndTheServer) {
  Start();
  {
    RawConnection client(port());
    client.Send("GET /held HTTP/1.1\r\n\r\n");
    TakeHeld().Send(TextResponse(200, "for nobody"));
  }
  RawConnection client(port());
  client.Send("GET /held HTTP/1.1\r\n\r\n");
  HttpReply reply = TakeHeld();
  server_.reset();
  reply.Send(TextResponse(200, "too late"));
  EXPECT_EQ(client.ReadToEnd(), "");
}

TEST_F(HttpServerTest, AStopWaitsForAnswersForSoLong) {
  Start();
  RawConnection idle(port());
  RawConnection client(port());
  client.Send("GET /held HTTP/1.1\r\n\r\n");
  HttpReply reply = TakeHeld();
  server_->BeginStop(absl::Hours(1));
  EXPECT_EQ(idle.ReadToEnd(), "");
  EXPECT_EQ(Get("/health"), "");
  std::thread stop([this] { server_.reset(); });
  reply.Send(TextResponse(200, "the last one"));
  EXPECT_THAT(client.ReadToEnd(), AllOf(HasSubstr("Connection: close"), HasSubstr("the last one")));
  stop.join();
}

TEST_F(HttpServerTest, AStopDoesNotWaitForClients) {
  limits().request_timeout = absl::Hours(1);
  limits().idle_timeout = absl::Hours(1);
  Start();
  RawConnection idle(port());
  RawConnection slow_writer(port());
  slow_writer.Send("GET /health HTTP/1.1\r\nA:");
  RawConnection slow_reader(port());
  slow_reader.Send("GET /large HTTP/1.1\r\n\r\n");
  RawConnection unanswered(port());
  unanswered.Send("GET /held HTTP/1.1\r\n\r\n");
  const HttpReply reply = TakeHeld();
  ASSERT_TRUE(Eventually([&] { return server_->metrics().held_bytes.value() > 0; }));
  server_->BeginStop(absl::Milliseconds(50));
  server_.reset();
}

TEST_F(HttpServerTest, StartsAndStops) {
  for (int i = 0; i < 20; ++i) {
    Start();
    server_.reset();
    auto unused = HttpServer::Listen(options_);
    EXPECT_TRUE(unused.ok());
  }
}

TEST_F(HttpServerTest, SaysWhyItCannotListen) {
  Start();
  options_.port = port();
  auto second = HttpServer::Listen(options_);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use"));
  options_.host = "no.such.host.invalid";
  EXPECT_FALSE(HttpServer::Listen(options_).ok());
}

}  // namespace
}  // namespace postrider
