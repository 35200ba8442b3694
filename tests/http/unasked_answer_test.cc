#include <curl/curl.h>
#include <openssl/ssl.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/http/shared_transport.h"
#include "tests/http/pem_file.h"
#include "tests/http/scripted_receiver.h"
#include "tests/http/transport_harness.h"

namespace postrider {
namespace {

using testing::HasSubstr;

using Connection = ScriptedReceiver::Connection;

constexpr char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
// Nobody's answer.
constexpr char kUnasked[] = "HTTP/1.1 299 Unasked\r\nContent-Length: 0\r\n\r\n";
constexpr char kGivesUp[] =
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

// The same without TLS (0), with 1.2 and with 1.3.
class UnaskedAnswerTest : public testing::TestWithParam<int> {
 protected:
  UnaskedAnswerTest() : certificate_("127.0.0.1"), ca_(certificate_.pem()) {
    TransportHarness::Options options;
    options.transport.ca_file = ca_.path();
    h_ = std::make_unique<TransportHarness>(options);
  }

  // The first connection's requests go to `first`, those of the others are answered.
  void Listen(ScriptedReceiver::Script first) {
    ScriptedReceiver::Tls tls;
    if (GetParam() != 0) tls = {&certificate_, GetParam()};
    receiver_ = std::make_unique<ScriptedReceiver>(
        [this, first = std::move(first)](Connection& connection) {
          if (connection.number() == 0) return first(connection);
          while (connection.ReadRequest().has_value()) connection.Write(kAnswer);
        },
        tls);
  }

  // Answers one request, then does what nobody asked for, and closes when the next request comes.
  void ListenAndThen(std::function<void(Connection&)> unasked) {
    Listen([this, unasked = std::move(unasked)](Connection& connection) {
      connection.ReadRequest();
      connection.Write(kAnswer);
      unasked(connection);
      done_.Put(true);
      if (connection.ReadRequest().has_value()) wasted_.Put(true);
    });
  }

  TransferResult Send(bool capture = false) {
    TransferRequest request = TransportHarness::Request(receiver_->Url());
    request.capture = capture;
    return h_->Send(std::move(request));
  }

  void ExpectAnswered(const TransferResult& result) {
    EXPECT_EQ(result.error, TransferError::kNone) << result.message;
    EXPECT_EQ(result.http_status, 200);
  }

  const Certificate certificate_;
  const PemFile ca_;
  std::unique_ptr<TransportHarness> h_;
  // The first connection has said all that it says.
  Mailbox<bool> done_;
  // Requests that came over it afterwards.
  Mailbox<bool> wasted_;
  std::unique_ptr<ScriptedReceiver> receiver_;
};

class UnaskedTlsAnswerTest : public UnaskedAnswerTest {};

std::string NameOf(const testing::TestParamInfo<int>& version) {
  if (version.param == 0) return "Plain";
  return version.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
}

INSTANTIATE_TEST_SUITE_P(Connections, UnaskedAnswerTest,
                         testing::Values(0, TLS1_2_VERSION, TLS1_3_VERSION), NameOf);
INSTANTIATE_TEST_SUITE_P(Connections, UnaskedTlsAnswerTest,
                         testing::Values(TLS1_2_VERSION, TLS1_3_VERSION), NameOf);

TEST_P(UnaskedAnswerTest, ASecondAnswerIsNotTheNextRequests) {
  for (const bool capture : {false, true}) {
    for (const int millis : {0, 1, 5, 50}) {
      Mailbox<bool> said;
      std::atomic<int> answered{0};
      std::atomic<int> wasted{0};
      ScriptedReceiver::Tls tls;
      if (GetParam() != 0) tls = {&certificate_, GetParam()};
      ScriptedReceiver receiver(
          [&](Connection& connection) {
            if (!connection.ReadRequest().has_value()) return;
            ++answered;
            connection.Write(kAnswer);
            std::this_thread::sleep_for(std::chrono::milliseconds(millis));
            connection.Write(kUnasked);
            said.Put(true);
            if (connection.ReadRequest().has_value()) ++wasted;
          },
          tls);
      constexpr int kRequests = 8;
      for (int i = 1; i <= kRequests; ++i) {
        TransferRequest request = TransportHarness::Request(receiver.Url());
        request.capture = capture;
        ExpectAnswered(h_->Send(std::move(request)));
        ASSERT_EQ(said.WaitFor(i).size(), static_cast<size_t>(i));
      }
      EXPECT_EQ(answered, kRequests);
      EXPECT_EQ(wasted, 0) << "sent over a connection that had spoken unasked";
    }
  }
}

TEST_P(UnaskedAnswerTest, AnUnasked408IsNoAttempt) {
  ListenAndThen([](Connection& connection) {
    connection.Write(kGivesUp);
    connection.Shutdown();
  });
  ExpectAnswered(Send());
  ASSERT_EQ(done_.WaitFor(1).size(), 1u);
  ExpectAnswered(Send());
  EXPECT_EQ(wasted_.size(), 0u);
}

// It had our request, as far as its kernel is concerned, when it gave up waiting.
TEST_P(UnaskedAnswerTest, A408ThatCrossesTheRequestIsNoAttempt) {
  Listen([this](Connection& connection) {
    connection.ReadRequest();
    connection.Write(kAnswer);
    connection.ReadRequest();
    connection.Write(kGivesUp);
    done_.Put(true);
  });
  ExpectAnswered(Send());
  ExpectAnswered(Send());
  EXPECT_EQ(done_.size(), 1u);
  EXPECT_EQ(receiver_->connection_count(), 2);
  EXPECT_EQ(h_->metrics.stale_resends.value(), 1u);
}

TEST_P(UnaskedAnswerTest, A408OnAFreshConnectionIsAnAnswer) {
  Listen([this](Connection& connection) {
    connection.ReadRequest();
    connection.Write(kGivesUp);
    done_.Put(true);
  });
  EXPECT_EQ(Send().http_status, 408);
  EXPECT_EQ(receiver_->connection_count(), 1);
}

TEST_P(UnaskedAnswerTest, ACloseIsNoAttempt) {
  ListenAndThen([](Connection& connection) { connection.Shutdown(); });
  ExpectAnswered(Send());
  ASSERT_EQ(done_.WaitFor(1).size(), 1u);
  ExpectAnswered(Send());
  EXPECT_EQ(wasted_.size(), 0u);
}

TEST_P(UnaskedAnswerTest, AResetIsNoAttempt) {
  Mailbox<bool> reset;
  Listen([&](Connection& connection) {
    connection.ReadRequest();
    connection.Write(kAnswer);
    done_.WaitFor(1);
    connection.Reset();
    reset.Put(true);
  });
  ExpectAnswered(Send());
  done_.Put(true);
  ASSERT_EQ(reset.WaitFor(1).size(), 1u);
  ExpectAnswered(Send());
}

TEST_P(UnaskedAnswerTest, AFewBytesAreEnough) {
  for (const char* bytes : {"\r\n", "HTTP/1.1 2", "HTTP/1.1 103 Early\r\n\r\n"}) {
    const auto before = static_cast<size_t>(done_.size());
    ListenAndThen([&](Connection& connection) { connection.Write(bytes); });
    ExpectAnswered(Send());
    ASSERT_EQ(done_.WaitFor(before + 1).size(), before + 1);
    ExpectAnswered(Send());
    EXPECT_EQ(wasted_.size(), 0u) << bytes;
  }
}

// libcurl reads it with the answer, and would use the connection again.
TEST_P(UnaskedAnswerTest, WhatStandsBehindAnAnswerEndsTheConnection) {
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  struct Case {
    std::string answer;
    size_t body = 0;
  };
  for (const Case& c :
       {Case{kAnswer}, Case{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 2},
        Case{"HTTP/1.1 204 No Content\r\n\r\n"}, Case{chunked + "2\r\nok\r\n0\r\n\r\n", 2},
        Case{chunked + "2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n", 2}, Case{chunked + "0\r\n\r\n"},
        Case{"HTTP/1.1 103 Early\r\n\r\n" + std::string(kAnswer)},
        Case{"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + std::string(9000, 'b'), 9000}}) {
    for (const std::string& behind :
         {std::string(kUnasked), std::string("\r\n"), std::string("HTTP/1.1 29"),
          absl::StrCat("HTTP/1.1 299 Unasked\r\nContent-Length: 20000\r\n\r\n",
                       std::string(20'000, 'u'))}) {
      const auto before = static_cast<size_t>(done_.size());
      Listen([&](Connection& connection) {
        connection.ReadRequest();
        connection.Write(c.answer + behind);
        done_.Put(true);
        if (connection.ReadRequest().has_value()) wasted_.Put(true);
      });
      const TransferResult first = Send();
      ASSERT_EQ(done_.WaitFor(before + 1).size(), before + 1);
      EXPECT_EQ(first.error, TransferError::kNone) << first.message;
      EXPECT_LT(first.http_status, 299) << c.answer;
      EXPECT_EQ(first.body.size(), std::min<size_t>(c.body, 4096));
      ExpectAnswered(Send());
      ExpectAnswered(Send());
      EXPECT_EQ(wasted_.size(), 0u) << c.answer << behind;
      EXPECT_EQ(receiver_->connection_count(), 2);
    }
  }
}

TEST_P(UnaskedAnswerTest, ConnectionsWithoutAnythingUnaskedAreUsedAgain) {
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  Listen([&](Connection& connection) {
    for (int i = 0; connection.ReadRequest().has_value(); ++i) {
      connection.Write(i % 2 == 0 ? kAnswer : chunked + "2\r\nok\r\n0\r\n\r\n");
    }
  });
  for (int i = 0; i < 20; ++i) ExpectAnswered(Send(i % 3 == 0));
  EXPECT_EQ(receiver_->connection_count(), 1);
  EXPECT_EQ(h_->metrics.connections_reused.value(), 19u);
}

// The answer was on its way before the request was: it came when the receiver had not had one byte
// of it. Nothing lay on the connection when the request was written.
TEST_P(UnaskedAnswerTest, AnAnswerWrittenBeforeTheRequestArrivedIsNotItsAnswer) {
  uint64_t round = 0;
  for (const size_t size : {2, 100'000}) {
    ++round;
    Mailbox<bool> sent;
    Listen([&](Connection& connection) {
      connection.ReadRequest();
      connection.DropData();
      connection.Write(kAnswer);
      sent.WaitFor(1);
      connection.Write(kUnasked);
      // Until the client ends it; what it sends is dropped.
      connection.ReadRequest();
    });
    ExpectAnswered(Send());
    TransferRequest request = TransportHarness::Request(receiver_->Url());
    request.body = std::make_shared<std::string>(size, 'b');
    h_->Start(std::move(request));
    // It is written by then.
    for (int i = 0; i < 5; ++i) h_->thread.Turn();
    sent.Put(true);
    const std::vector<TransferResult> results = h_->results.WaitFor(round);
    ASSERT_EQ(results.size(), round);
    ExpectAnswered(results.back());
    EXPECT_EQ(receiver_->connection_count(), 2);
    EXPECT_EQ(h_->metrics.unasked.value(), round);
    EXPECT_EQ(h_->metrics.stale_resends.value(), round);
    receiver_.reset();
  }
}

TEST_P(UnaskedAnswerTest, ALargeRequestMayBeAnsweredBeforeItIsThere) {
  Listen([this](Connection& connection) {
    connection.ReadSome();
    connection.Write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    while (!connection.ReadSome().empty()) continue;
    done_.Put(true);
  });
  TransferRequest request = TransportHarness::Request(receiver_->Url());
  request.body = std::make_shared<std::string>(size_t{8} << 20, 'b');
  EXPECT_EQ(h_->Send(std::move(request)).http_status, 413);
  EXPECT_EQ(h_->metrics.unasked.value(), 0u);
}

TEST(UnaskedTest, AServerThatSpeaksFirstIsNoWebServer) {
  // Requests are lost, so that what it says cannot be an answer.
  ScriptedReceiver receiver(
      [](Connection& connection) {
        connection.Write(kUnasked);
        connection.ReadSome();
      },
      ScriptedReceiver::DropsData());
  TransportHarness h;
  const TransferResult result = h.Send(receiver.Url());
  EXPECT_EQ(result.error, TransferError::kBadAnswer) << result.message;
  EXPECT_EQ(result.http_status, 0);
  EXPECT_THAT(result.message, HasSubstr("spoke before it was asked"));
  EXPECT_EQ(receiver.connection_count(), 1) << "one attempt";
}

// Another thread's transport has connections of its own, and the same rule.
TEST_P(UnaskedAnswerTest, RequestsThatAreHandedOverKeepTheRule) {
  TransportHarness::Options options;
  options.transport.ca_file = ca_.path();
  TransportHarness other(options);
  Counter handed_over;
  SharedTransport busy(h_->thread.loop(), [] { return 1.0F; }, *h_->transport, handed_over);
  SharedTransport helper(other.thread.loop(), [] { return 0.0F; }, *other.transport, handed_over);
  SharedTransport::Connect({&busy, &helper});

  constexpr int kRequests = 32;
  Mailbox<bool> said;
  std::atomic<int> wasted{0};
  ScriptedReceiver::Tls tls;
  if (GetParam() != 0) tls = {&certificate_, GetParam()};
  ScriptedReceiver receiver(
      [&](Connection& connection) {
        if (!connection.ReadRequest().has_value()) return;
        connection.Write(kAnswer);
        connection.Write(kUnasked);
        said.Put(true);
        if (connection.ReadRequest().has_value()) ++wasted;
      },
      tls);
  const auto target = TransportHarness::Request(receiver.Url()).target;
  for (size_t round = 1; round <= 3; ++round) {
    h_->thread.Call([&] {
      for (int i = 0; i < kRequests; ++i) {
        TransferRequest request = TransportHarness::Request(receiver.Url());
        request.target = target;
        busy.Send(std::move(request),
                  [this](TransferResult result) { h_->results.Put(std::move(result)); });
      }
      busy.OnTurn();
    });
    // The helper gives back at the end of its turns.
    while (h_->results.size() < round * kRequests) {
      other.thread.Call([&] { helper.OnTurn(); });
      other.thread.Turn();
    }
    ASSERT_EQ(said.WaitFor(round * kRequests).size(), round * kRequests);
  }
  for (const TransferResult& result : h_->results.WaitFor(1)) ExpectAnswered(result);
  EXPECT_GT(handed_over.value(), 0u);
  EXPECT_EQ(wasted, 0);
  h_->thread.Stop();
  other.thread.Stop();
}

// ---- Tickets are no answers

TEST_P(UnaskedTlsAnswerTest, ATicketOnAnIdleConnectionIsNoAnswer) {
  // 1.2 has them in its handshake alone.
  const bool tickets = GetParam() == TLS1_3_VERSION;
  ListenAndThen([tickets](Connection& connection) {
    for (int i = 0; tickets && i < 3; ++i) connection.WriteTicket();
    connection.Write(kUnasked);
  });
  ExpectAnswered(Send());
  ASSERT_EQ(done_.WaitFor(1).size(), 1u);
  ExpectAnswered(Send());
  EXPECT_EQ(wasted_.size(), 0u);

  std::atomic<int> requests{0};
  Mailbox<bool> given;
  ScriptedReceiver gives(
      [&](Connection& connection) {
        while (connection.ReadRequest().has_value()) {
          ++requests;
          connection.Write(kAnswer);
          if (tickets) connection.WriteTicket();
          given.Put(true);
        }
      },
      {&certificate_, GetParam()});
  for (size_t i = 1; i <= 5; ++i) {
    ExpectAnswered(h_->Send(gives.Url()));
    ASSERT_EQ(given.WaitFor(i).size(), i);
  }
  EXPECT_EQ(requests, 5) << "each was sent once";
  // Later ones give up a connection on which anything lies before we are asked.
  if (curl_version_info(CURLVERSION_NOW)->version_num < 0x080000) {
    EXPECT_EQ(gives.connection_count(), 1) << "a ticket is no reason to give it up";
  }
}

TEST_P(UnaskedTlsAnswerTest, TicketsWithoutEndAreNotReadToTheirEnd) {
  const bool tickets = GetParam() == TLS1_3_VERSION;
  ListenAndThen([tickets](Connection& connection) {
    for (int i = 0; tickets && i < 100; ++i) connection.WriteTicket();
    connection.Shutdown();
  });
  ExpectAnswered(Send());
  ASSERT_EQ(done_.WaitFor(1).size(), 1u);
  ExpectAnswered(Send());
  EXPECT_EQ(receiver_->connection_count(), 2);
}

TEST_P(UnaskedTlsAnswerTest, APartOfAMessageIsNotClean) {
  ListenAndThen([](Connection& connection) {
    // The rest may be an answer.
    connection.WriteBelowTls(std::string("\x17\x03\x03\x00\x40\x01\x02", 7));
  });
  ExpectAnswered(Send());
  ASSERT_EQ(done_.WaitFor(1).size(), 1u);
  ExpectAnswered(Send());
  EXPECT_EQ(wasted_.size(), 0u);
}

}  // namespace
}  // namespace postrider
