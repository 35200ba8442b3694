#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <list>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "src/http/server/http_server.h"
#include "tests/http/server/http_server_harness.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class HttpServerBoundsTest : public HttpServerHarness {
 protected:
  // A connection that the server has taken, and that says nothing.
  RawConnection& Idle(const std::string& from = "127.0.0.1") {
    const uint64_t before = server_->metrics().accepted.value();
    idle_.emplace_back(port(), from);
    EXPECT_TRUE(Eventually([&] { return server_->metrics().accepted.value() > before; }));
    return idle_.back();
  }

  std::list<RawConnection> idle_;
};

TEST_F(HttpServerBoundsTest, AnEndlessHeaderIsRefused) {
  Start();
  for (const std::string& part :
       {std::string(1000, 'a'), std::string("a: b\r\n"), std::string("\r\n ")}) {
    std::string request = "GET /health HTTP/1.1\r\nX: y";
    while (request.size() < 40'000) request += part;
    EXPECT_THAT(Exchange(port(), request), ::testing::AnyOf(StartsWith("HTTP/1.1 431"),
                                                            StartsWith("HTTP/1.1 400")))
        << part;
  }
  EXPECT_THAT(Exchange(port(), "GET /" + std::string(20'000, 'a')), StartsWith("HTTP/1.1 431"));
}

TEST_F(HttpServerBoundsTest, HeaderLinesAreCounted) {
  Start();
  const auto with_lines = [this](int lines) {
    std::string request = "GET /health HTTP/1.0\r\n";
    for (int i = 0; i < lines; ++i) request += "a:\r\n";
    return Exchange(port(), request + "\r\n");
  };
  EXPECT_THAT(with_lines(100), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(with_lines(101), StartsWith("HTTP/1.1 431"));
  // Those behind the body, too.
  std::string trailers = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  for (int i = 0; i < 100; ++i) trailers += "a:\r\n";
  EXPECT_THAT(Exchange(port(), trailers + "\r\n"), StartsWith("HTTP/1.1 431"));
}

TEST_F(HttpServerBoundsTest, BodiesAreBounded) {
  Start();
  const std::string head = "POST /echo HTTP/1.1\r\nConnection: close\r\n";
  const std::string fits(100, 'x');
  EXPECT_THAT(Exchange(port(), head + "Content-Length: 100\r\n\r\n" + fits), HasSubstr(fits + "|"));
  EXPECT_THAT(Exchange(port(), head + "Content-Length: 101\r\n\r\n"), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Exchange(port(), head + "Content-Length: 99999999999999999999\r\n\r\n"),
              StartsWith("HTTP/1.1 400"));
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n64\r\n" + fits + "\r\n";
  EXPECT_THAT(Exchange(port(), chunked + "0\r\n\r\n"), HasSubstr(fits + "|"));
  EXPECT_THAT(Exchange(port(), chunked + "1\r\nx\r\n0\r\n\r\n"), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Exchange(port(), head + "Transfer-Encoding: chunked\r\n\r\n1;" +
                                   std::string(40'000, 'x')),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(HttpCall(port(), "GET", "/health", {}, "body"), StartsWith("HTTP/1.1 413"));
}

TEST_F(HttpServerBoundsTest, ASlowRequestEndsAtItsDeadline) {
  limits().request_timeout = absl::Milliseconds(200);
  Start();
  RawConnection client(port());
  client.Send("GET /health HTTP/1.1\r\n");
  // However often something comes.
  ASSERT_TRUE(Eventually([&] {
    client.Send("a: b\r\n");
    return client.Readable();
  }));
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 408"));
  RawConnection silent(port());
  EXPECT_EQ(silent.ReadToEnd(), "");
}

TEST_F(HttpServerBoundsTest, ASlowReaderEndsAtItsDeadline) {
  limits().request_timeout = absl::Milliseconds(200);
  Start();
  RawConnection client(port());
  client.Send("GET /large HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(Eventually([&] { return server_->metrics().timeouts.value() == 1; }));
  EXPECT_TRUE(Eventually([&] { return server_->metrics().connections.value() == 0; }));
  EXPECT_EQ(server_->metrics().held_bytes.value(), 0);
}

TEST_F(HttpServerBoundsTest, TheHandlersTimeIsItsOwn) {
  limits().request_timeout = absl::Milliseconds(100);
  Start();
  RawConnection client(port());
  client.Send("GET /held HTTP/1.1\r\n\r\n");
  HttpReply reply = TakeHeld();
  // The time of one that came later is over.
  EXPECT_EQ(RawConnection(port()).ReadToEnd(), "");
  reply.Send(TextResponse(200, "in its own time"));
  EXPECT_THAT(client.ReadAnswer(), HasSubstr("in its own time"));
}

TEST_F(HttpServerBoundsTest, AnIdleConnectionIsClosed) {
  limits().idle_timeout = absl::Milliseconds(100);
  Start();
  RawConnection client(port());
  client.Send("GET /health HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.ReadToEnd(), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("keep-alive")));
}

TEST_F(HttpServerBoundsTest, TheReserveAnswersHealthWhenAllElseIsTaken) {
  limits().max_connections = 3;
  limits().reserved_connections = 2;
  Start();
  for (int i = 0; i < 3; ++i) Idle();
  EXPECT_THAT(Get("/health"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get("/echo"), AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("Retry-After: 1\r\n")));
  // Those that sit in the reserve and say nothing make room, the oldest first.
  RawConnection& oldest = Idle();
  RawConnection& newer = Idle();
  EXPECT_THAT(Get("/health"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(oldest.ReadToEnd(), "");
  newer.Send("GET /health HTTP/1.1\r\n\r\n");
  EXPECT_THAT(newer.ReadToEnd(), AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Connection: close")));
  // As soon as one goes, there is room for all.
  idle_.pop_front();
  EXPECT_TRUE(Eventually([&] { return Get("/echo").rfind("HTTP/1.1 200", 0) == 0; }));
}

TEST_F(HttpServerBoundsTest, OneAddressDoesNotTakeWhatAnotherOneNeeds) {
  limits().max_peer_connections = 2;
  Start();
  Idle();
  Idle();
  EXPECT_THAT(Get("/echo"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(Get("/health"), StartsWith("HTTP/1.1 200"));
  RawConnection other(port(), "127.0.0.2");
  other.Send("GET /echo HTTP/1.0\r\n\r\n");
  EXPECT_THAT(other.ReadToEnd(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerBoundsTest, AnswersCountUntilTheyAreOnTheWire) {
  Start();
  RawConnection first(port());
  first.Send("GET /large HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(Eventually([&] { return server_->metrics().held_bytes.value() > 0; }));
  RawConnection second(port());
  second.Send("GET /large HTTP/1.1\r\n\r\n");
  // Two and their headers are more than fit.
  EXPECT_THAT(second.ReadAnswer(), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(Get("/health"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(first.ReadAnswer().substr(0, 12), "HTTP/1.1 200");
  EXPECT_TRUE(Eventually([&] { return server_->metrics().held_bytes.value() == 0; }));
  EXPECT_EQ(Get("/large").substr(0, 12), "HTTP/1.1 200");
}

// Lowers the limit of descriptors to those that are open, for as long as it lives.
class NoDescriptors {
 public:
  explicit NoDescriptors(int next) {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(next);
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(HttpServerBoundsTest, WithoutDescriptorsItAcceptsAgainWhenThereAreSome) {
  Start();
  RawConnection client(port());
  ASSERT_TRUE(Eventually([&] { return server_->metrics().connections.value() == 1; }));
  client.Send("GET /held HTTP/1.1\r\n\r\n");
  HttpReply reply = TakeHeld();
  // One for the client, none for the server.
  const int next = dup(0);
  close(next);
  std::optional<NoDescriptors> none(std::in_place, next + 1);
  RawConnection waiting(port());
  ASSERT_EQ(waiting.fd(), next);
  waiting.Send("GET /health HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(Eventually([&] { return server_->metrics().accept_failures.value() > 2; }));
  none.reset();
  EXPECT_THAT(waiting.ReadAnswer(), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Troubles(), ElementsAre(HasSubstr("open files"), ""));
}

TEST_F(HttpServerBoundsTest, WithoutDescriptorsAnIdleConnectionMakesRoom) {
  Start();
  RawConnection& idle = Idle();
  const int next = dup(0);
  close(next);
  const NoDescriptors none(next + 1);
  RawConnection client(port());
  client.Send("GET /health HTTP/1.1\r\n\r\n");
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(idle.ReadToEnd(), "");
}

}  // namespace
}  // namespace postrider
