#include "src/http/curl_transport.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/scripted_receiver.h"
#include "tests/http/sink_answers.h"
#include "tests/http/transport_harness.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

using Way = SinkAnswer::Way;

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

}  // namespace
}  // namespace postrider
