#include "src/cli/receiver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "src/base/mutex.h"
#include "src/message/signing.h"
#include "tests/support/http_client.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;
using Signature = Receiver::Signature;

const char kBody[] = R"({"model_id":1})";

class ReceiverTest : public ::testing::Test {
 protected:
  ReceiverTest() {
    options_.address = {"127.0.0.1", 0};
    options_.on_request = [this](const Receiver::Request& request) {
      MutexLock lock(&mutex_);
      requests_.push_back(request);
      came_.SignalAll();
    };
  }

  void Start() {
    auto started = Receiver::Start(options_);
    ASSERT_TRUE(std::holds_alternative<std::unique_ptr<Receiver>>(started))
        << std::get<std::string>(started);
    receiver_ = std::move(std::get<std::unique_ptr<Receiver>>(started));
  }

  std::string Post(const std::vector<std::pair<std::string, std::string>>& headers = {},
                   const std::string& body = kBody) {
    return HttpCall(receiver_->port(), "POST", "/hook?a=1", headers, body);
  }

  // The headers of a request that is signed with the key.
  static std::vector<std::pair<std::string, std::string>> Signed(const std::string& key,
                                                                 absl::Time time) {
    Signer signer({{key}});
    return {{"webhook-id", "msg_1"},
            {"webhook-timestamp", std::to_string(absl::ToUnixSeconds(time))},
            {"webhook-signature", signer.Sign("msg_1", time, kBody)}};
  }

  std::vector<Receiver::Request> Requests() const {
    MutexLock lock(&mutex_);
    return requests_;
  }
  void WaitForRequests(size_t count) {
    MutexLock lock(&mutex_);
    while (requests_.size() < count) came_.Wait(&mutex_);
  }

  const std::string key_ = std::string(32, 'k');
  const std::string other_key_ = std::string(32, 'o');
  Receiver::Options options_;

  mutable Mutex mutex_;
  CondVar came_;
  std::vector<Receiver::Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Receiver> receiver_;
};

// How many connections may wait at the socket of this process that listens on the port; -1 when
// there is none.
int BacklogOf(int port) {
  for (int fd = 0; fd < 1024; ++fd) {
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    int listens = 0;
    socklen_t int_size = sizeof(listens);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_size) != 0 || listens == 0 ||
        address.sin_family != AF_INET || ntohs(address.sin_port) != port) {
      continue;
    }
    tcp_info info{};
    socklen_t info_size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_size) != 0) return -1;
    // Of a listening socket this is the bound of its queue (net/ipv4/tcp.c, tcp_get_info).
    return static_cast<int>(info.tcpi_sacked);
  }
  return -1;
}

TEST_F(ReceiverTest, AsManyConnectionsAsAWebhookMayHaveCanComeAtOnce) {
  Start();
  // The kernel lowers it to net.core.somaxconn, which is 4,096 unless somebody has changed it.
  EXPECT_GE(BacklogOf(receiver_->port()), 128);
}

TEST_F(ReceiverTest, ReportsWhatCameAndAnswers) {
  Start();
  EXPECT_THAT(Post({{"X-Team", "billing"}}), StartsWith("HTTP/1.1 200"));
  const std::vector<Receiver::Request> requests = Requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].number, 1);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].target, "/hook?a=1");
  EXPECT_EQ(requests[0].body, kBody);
  EXPECT_EQ(requests[0].status, 200);
  EXPECT_THAT(requests[0].headers, Contains(Pair("X-Team", "billing")));
  for (const auto& [name, value] : requests[0].headers) {
    EXPECT_THAT(name, ::testing::Not(::testing::AnyOf("REMOTE_ADDR", "LOCAL_PORT")));
  }
}

TEST_F(ReceiverTest, TakesEveryMethodAndPath) {
  Start();
  for (const char* method : {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}) {
    EXPECT_THAT(HttpCall(receiver_->port(), method, "/any/path", {}, ""),
                StartsWith("HTTP/1.1 200"))
        << method;
  }
  EXPECT_EQ(Requests().size(), 6u);
}

TEST_F(ReceiverTest, WithoutASecretSignaturesAreNotChecked) {
  Start();
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().at(0).signature, Signature::kNotChecked);
  EXPECT_THAT(Requests().at(0).signature_error, HasSubstr("no secret"));
}

TEST_F(ReceiverTest, ChecksSignatures) {
  options_.secrets = {FormatSecret(key_)};
  Start();
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().at(0).signature, Signature::kValid);
  EXPECT_EQ(Requests().at(0).signature_error, "");

  const auto expect_invalid = [this] {
    EXPECT_EQ(Requests().back().signature, Signature::kInvalid);
    EXPECT_NE(Requests().back().signature_error, "");
  };
  Post(Signed(other_key_, absl::Now()));
  expect_invalid();
  Post(Signed(key_, absl::Now()), R"({"model_id":2})");
  expect_invalid();
  Post(Signed(key_, absl::Now() - absl::Hours(1)));
  expect_invalid();
  Post();
  expect_invalid();
  EXPECT_EQ(Requests().size(), 5u);
}

TEST_F(ReceiverTest, OneOfSeveralSecretsIsEnough) {
  options_.secrets = {FormatSecret(other_key_), FormatSecret(key_)};
  Start();
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().at(0).signature, Signature::kValid);
}

TEST_F(ReceiverTest, TheSecretFileIsReadAtEachRequest) {
  const ScratchDir directory;
  options_.secret_file = directory.File("secret");
  Start();
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().back().signature, Signature::kNotChecked);

  std::ofstream(options_.secret_file) << FormatSecret(key_) << "\r\n";
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().back().signature, Signature::kValid);

  std::ofstream(options_.secret_file) << "\n  " << FormatSecret(other_key_) << "\n";
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().back().signature, Signature::kInvalid);

  std::ofstream(options_.secret_file) << FormatSecret(other_key_) << "\n"
                                      << FormatSecret(key_) << "\n";
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().back().signature, Signature::kValid);

  std::ofstream(options_.secret_file) << "not a secret\n";
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().back().signature, Signature::kInvalid);
  EXPECT_THAT(Requests().back().signature_error,
              AllOf(HasSubstr(options_.secret_file), ::testing::Not(HasSubstr("not a secret"))));

  std::remove(options_.secret_file.c_str());
  Post(Signed(key_, absl::Now()));
  EXPECT_EQ(Requests().back().signature, Signature::kNotChecked);
}

TEST_F(ReceiverTest, FailsTheFirst) {
  options_.fail_first = 2;
  options_.status = 204;
  Start();
  EXPECT_THAT(Post(), StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(Post(), StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(Post(), StartsWith("HTTP/1.1 204"));
  EXPECT_EQ(Requests().at(1).status, 500);
  EXPECT_EQ(Requests().at(2).status, 204);
}

TEST_F(ReceiverTest, DelaysItsAnswersSideBySide) {
  options_.delay = absl::Milliseconds(200);
  Start();
  const absl::Time start = absl::Now();
  std::thread other([this] { Post(); });
  EXPECT_THAT(Post(), StartsWith("HTTP/1.1 200"));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(200));
  other.join();
  EXPECT_EQ(Requests().size(), 2u);
}

TEST_F(ReceiverTest, AStopAnswersThoseThatWait) {
  options_.delay = absl::Hours(10);
  Start();
  std::string answers[3];
  std::vector<std::thread> callers;
  for (std::string& answer : answers) callers.emplace_back([this, &answer] { answer = Post(); });
  // All of them are told of at once: a request that waits is in nobody's way.
  WaitForRequests(3);
  receiver_.reset();
  for (std::thread& caller : callers) caller.join();
  for (const std::string& answer : answers) EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
}

TEST_F(ReceiverTest, StartsAndStops) {
  for (int i = 0; i < 20; ++i) {
    Start();
    receiver_.reset();
  }
}

TEST_F(ReceiverTest, SaysWhenThePortIsTaken) {
  Start();
  options_.address.port = receiver_->port();
  auto second = Receiver::Start(options_);
  ASSERT_TRUE(std::holds_alternative<std::string>(second));
  EXPECT_THAT(std::get<std::string>(second),
              AllOf(HasSubstr("--listen 127.0.0.1:" + std::to_string(receiver_->port())),
                    HasSubstr("Address already in use")));
}

}  // namespace
}  // namespace postrider
