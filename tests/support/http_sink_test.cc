#include "tests/support/http_sink.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;
using testing::StartsWith;

constexpr char kGet[] = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

// A client that knows bytes alone.
class RawClient {
 public:
  explicit RawClient(const HttpSink& sink) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(sink.port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{60, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~RawClient() { close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // What comes until `end` has come; less when the connection ends before.
  std::string ReadUntil(const std::string& end) const {
    std::string text;
    char byte;
    while (!text.ends_with(end) && recv(fd_, &byte, 1, 0) == 1) text += byte;
    return text;
  }
  // Whether the server closed, with nothing left to read.
  bool Ended() const {
    char byte;
    const ssize_t size = recv(fd_, &byte, 1, 0);
    return size == 0 || (size < 0 && errno == ECONNRESET);
  }

 private:
  const int fd_;
};

TEST(HttpSinkTest, RecordsWhatComesAndAnswers) {
  HttpSink sink([](const SinkRequest&) {
    SinkAnswer answer;
    answer.status = 503;
    answer.headers = {{"Retry-After", "7"}};
    answer.body = "no";
    return answer;
  });
  EXPECT_EQ(sink.Url("/x"), absl::StrCat("http://127.0.0.1:", sink.port(), "/x"));
  const absl::Time before = absl::Now();
  const RawClient client(sink);
  client.Send("POST /hook?a=b HTTP/1.1\r\nHost: x\r\nContent-");
  client.Send("Length: 5\r\nX-A:  1 \r\n\r\nhe");
  client.Send("llo");
  EXPECT_EQ(client.ReadUntil("no"),
            "HTTP/1.1 503 Status\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno");
  const std::vector<SinkRequest> requests = sink.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].target, "/hook?a=b");
  EXPECT_THAT(requests[0].headers,
              ElementsAre(Pair("Host", "x"), Pair("Content-Length", "5"), Pair("X-A", "1")));
  EXPECT_EQ(requests[0].Header("x-a"), "1");
  EXPECT_EQ(requests[0].Header("x-b"), std::nullopt);
  EXPECT_EQ(requests[0].body, "hello");
  EXPECT_EQ(requests[0].connection, 0);
  EXPECT_GE(requests[0].time, before);
}

TEST(HttpSinkTest, KeepsConnectionsAndTakesPipelinedRequests) {
  HttpSink sink;
  const RawClient client(sink);
  client.Send(absl::StrCat(kGet, kGet, kGet));
  for (int i = 0; i < 3; ++i) EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(sink.request_count(), 3u);
  EXPECT_EQ(sink.connection_count(), 1u);
  EXPECT_EQ(sink.open_connections(), 1u);
  const RawClient another(sink);
  another.Send(kGet);
  EXPECT_TRUE(sink.WaitForRequests(4));
  EXPECT_EQ(sink.requests()[3].connection, 1);
}

TEST(HttpSinkTest, WaitingForRequestsEndsWithTheTimeout) {
  HttpSink sink;
  EXPECT_TRUE(sink.WaitForRequests(0, absl::ZeroDuration()));
  EXPECT_FALSE(sink.WaitForRequests(1, absl::Milliseconds(1)));
}

TEST(HttpSinkTest, AHangingRequestKeepsNobodyElseWaiting) {
  HttpSink sink([](const SinkRequest& request) {
    SinkAnswer answer;
    if (request.connection == 0) answer.way = SinkAnswer::Way::kHang;
    if (request.connection == 1) answer.delay = absl::Milliseconds(20);
    return answer;
  });
  const RawClient hangs(sink);
  hangs.Send(kGet);
  ASSERT_TRUE(sink.WaitForRequests(1));
  const RawClient waits(sink);
  waits.Send(kGet);
  ASSERT_TRUE(sink.WaitForRequests(2));
  const RawClient quick(sink);
  quick.Send(kGet);
  EXPECT_THAT(quick.ReadUntil("\r\n\r\n"), HasSubstr(" 200 "));
  EXPECT_THAT(waits.ReadUntil("\r\n\r\n"), HasSubstr(" 200 "));
  EXPECT_EQ(sink.open_connections(), 3u);
}

TEST(HttpSinkTest, ClosesAsItIsTold) {
  HttpSink sink;
  SinkAnswer answer;
  const auto use_answer = [&] { sink.SetScript([answer](const SinkRequest&) { return answer; }); };
  answer.close = true;
  use_answer();
  {
    const RawClient client(sink);
    client.Send(kGet);
    EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("Connection: close\r\n"));
    EXPECT_TRUE(client.Ended());
  }
  answer = SinkAnswer();
  answer.way = SinkAnswer::Way::kDrop;
  use_answer();
  {
    const RawClient client(sink);
    client.Send(kGet);
    EXPECT_TRUE(client.Ended());
  }
  answer.way = SinkAnswer::Way::kRaw;
  answer.body = "garbage";
  use_answer();
  {
    const RawClient client(sink);
    client.Send(kGet);
    EXPECT_EQ(client.ReadUntil("garbage"), "garbage");
    EXPECT_TRUE(client.Ended());
  }
  EXPECT_EQ(sink.request_count(), 3u);
  answer.way = SinkAnswer::Way::kCloseSilently;
  answer.body = "kept?";
  use_answer();
  const RawClient client(sink);
  client.Send(kGet);
  EXPECT_THAT(client.ReadUntil("kept?"), Not(HasSubstr("close")));
  client.Send(kGet);
  EXPECT_TRUE(client.Ended());
  EXPECT_EQ(sink.request_count(), 4u) << "the one that was not read does not count";
}

TEST(HttpSinkTest, AnEndlessBodyStopsWithTheClient) {
  HttpSink sink([](const SinkRequest& request) {
    SinkAnswer answer;
    if (request.connection == 0) answer.way = SinkAnswer::Way::kEndless;
    return answer;
  });
  {
    const RawClient client(sink);
    client.Send(kGet);
    EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("chunked"));
    for (int i = 0; i < 20; ++i) EXPECT_EQ(client.ReadUntil("x\r\n").size(), 6u + 4096u + 2u);
  }
  const RawClient quick(sink);
  quick.Send(kGet);
  EXPECT_THAT(quick.ReadUntil("\r\n\r\n"), HasSubstr(" 200 "));
}

}  // namespace
}  // namespace postrider
