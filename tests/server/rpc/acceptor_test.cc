#include "src/server/rpc/acceptor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "src/base/mutex.h"
#include "src/server/rpc/caller_connections.h"
#include "tests/server/rpc/raw_http2.h"

namespace postrider {
namespace {

// Holds what it is handed, as gRPC would.
class AcceptorTest : public ::testing::Test {
 protected:
  ~AcceptorTest() override {
    acceptor_.reset();
    MutexLock lock(&mutex_);
    for (const int fd : taken_) close(fd);
  }

  void Start(const CallerConnections::Limits& limits) {
    table_ = CallerConnections::Create(limits);
    auto acceptor = Acceptor::Listen({"127.0.0.1", 0}, table_);
    ASSERT_TRUE(acceptor.ok()) << acceptor.status();
    acceptor_ = *std::move(acceptor);
    acceptor_->Start(
        [this](int fd) {
          MutexLock lock(&mutex_);
          taken_.push_back(fd);
          changed_.SignalAll();
        },
        nullptr);
  }

  bool WaitForTaken(size_t count) {
    MutexLock lock(&mutex_);
    while (taken_.size() < count) {
      if (!changed_.WaitFor(&mutex_, absl::Seconds(60))) return false;
    }
    return taken_.size() == count;
  }
  void CloseOne() {
    MutexLock lock(&mutex_);
    close(taken_.back());
    taken_.pop_back();
  }
  int port() const { return acceptor_->address().port; }

  std::shared_ptr<CallerConnections> table_;
  std::unique_ptr<Acceptor> acceptor_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<int> taken_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(AcceptorTest, CountsUntilTheSocketIsClosedByWhoeverHasIt) {
  Start({});
  RawHttp2 one(port());
  RawHttp2 other(port());
  ASSERT_TRUE(WaitForTaken(2));
  EXPECT_EQ(table_->metrics().open.value(), 2);
  CloseOne();
  EXPECT_EQ(table_->metrics().open.value(), 1);
  CloseOne();
  EXPECT_EQ(table_->metrics().open.value(), 0);
}

TEST_F(AcceptorTest, WhatIsTooManyOfOnePeerIsClosedAtOnce) {
  Start({.in_all = 10, .per_peer = 2});
  RawHttp2 one(port());
  RawHttp2 two(port());
  ASSERT_TRUE(WaitForTaken(2));
  RawHttp2 three(port());
  EXPECT_TRUE(three.WaitForEnd());
  EXPECT_EQ(table_->metrics().refused_of_peer.value(), 1);
  // Another peer would get in.
  EXPECT_TRUE(acceptor_->CanAccept());
  CloseOne();
  RawHttp2 four(port());
  EXPECT_TRUE(WaitForTaken(2));
}

TEST_F(AcceptorTest, SaysWhenThereIsNoRoom) {
  Start({.in_all = 1, .per_peer = 1});
  EXPECT_TRUE(acceptor_->CanAccept());
  RawHttp2 one(port());
  ASSERT_TRUE(WaitForTaken(1));
  EXPECT_FALSE(acceptor_->CanAccept());
  RawHttp2 two(port());
  EXPECT_TRUE(two.WaitForEnd());
  EXPECT_EQ(table_->metrics().refused.value(), 1);
  CloseOne();
  EXPECT_TRUE(acceptor_->CanAccept());
}

// The whole process runs out, so nothing else may want a descriptor meanwhile.
TEST_F(AcceptorTest, GoesOnAfterDescriptorsHaveRunOut) {
  Start({});
  RawHttp2 first(port());
  ASSERT_TRUE(WaitForTaken(1));
  RawHttp2 second_made_before(port());
  ASSERT_TRUE(WaitForTaken(2));
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_FALSE(acceptor_->CanAccept());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // It waits in the listener's queue.
  EXPECT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_TRUE(WaitForTaken(3));
  // Its thread notices a moment later that there are some again.
  while (!acceptor_->CanAccept()) absl::SleepFor(absl::Milliseconds(1));
  close(client);
}

TEST_F(AcceptorTest, APortThatIsTakenIsSaid) {
  Start({});
  const auto second = Acceptor::Listen(acceptor_->address(), table_);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), ::testing::HasSubstr("Address already in use"));
}

TEST_F(AcceptorTest, StopIsIdempotent) {
  Start({});
  acceptor_->Stop();
  acceptor_->Stop();
}

}  // namespace
}  // namespace postrider
