#include "src/http/curl_handle.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/http/transport_harness.h"
#include "tests/support/http_sink.h"

namespace postrider {
namespace {

using testing::HasSubstr;

class NoLoop final : public CurlSocketOwner {
 public:
  bool IsAllowed(int) override { return true; }
  void OnSocketOpened(int, void*) override {}
  void OnSocketClosed(int) override {}
};

class CurlHandleTest : public testing::Test {
 protected:
  std::unique_ptr<CurlHandle> Handle(const AddressPolicy& policy) {
    return std::make_unique<CurlHandle>(policy, "", absl::Seconds(30), no_loop_, nullptr);
  }

  void Prepare(CurlHandle& handle, absl::Duration time_left = absl::Seconds(60)) const {
    TransferRequest request = TransportHarness::Request(sink_.Url());
    handle.Prepare(std::make_shared<CurlTarget>(request.target), request);
    handle.Route("::127.0.0.1:", time_left, false);
  }

  NoLoop no_loop_;
  HttpSink sink_;
  const AddressPolicy closed_{{}};
  const AddressPolicy open_{{Cidr::Parse("127.0.0.0/8").value()}};
};

// ---- The second line: the transport judges addresses before libcurl hears of them. These tests
// leave that out, and see whether the handle's own judgement holds by itself.

TEST_F(CurlHandleTest, NoSocketIsOpenedToABlockedAddress) {
  const std::unique_ptr<CurlHandle> handle = Handle(closed_);
  Prepare(*handle);
  const TransferResult result = handle->Finish(curl_easy_perform(handle->easy()));
  EXPECT_EQ(result.error, TransferError::kBlockedAddress);
  EXPECT_THAT(result.message, HasSubstr("127.0.0.1 is a loopback address"));
  EXPECT_EQ(sink_.connection_count(), 0u);
}

TEST_F(CurlHandleTest, NothingIsSentOverAConnectionToABlockedAddress) {
  // They share their connections, as all handles of a transport do.
  CURLM* const multi = curl_multi_init();
  const std::unique_ptr<CurlHandle> opens = Handle(open_);
  const std::unique_ptr<CurlHandle> reuses = Handle(closed_);
  const auto perform = [&](CurlHandle& handle) {
    Prepare(handle);
    EXPECT_EQ(curl_multi_add_handle(multi, handle.easy()), CURLM_OK);
    int running = 0;
    while (curl_multi_perform(multi, &running) == CURLM_OK && running > 0) {
      curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
    }
    int left = 0;
    const CURLMsg* const message = curl_multi_info_read(multi, &left);
    const CURLcode code = message != nullptr ? message->data.result : CURLE_FAILED_INIT;
    EXPECT_EQ(curl_multi_remove_handle(multi, handle.easy()), CURLM_OK);
    return handle.Finish(code);
  };
  EXPECT_EQ(perform(*opens).http_status, 200);
  const TransferResult result = perform(*reuses);
  EXPECT_FALSE(reuses->opened_connection());
  EXPECT_EQ(result.error, TransferError::kBlockedAddress) << result.message;
  EXPECT_THAT(result.message, HasSubstr("127.0.0.1 is a loopback address"));
  EXPECT_EQ(sink_.request_count(), 1u);
  EXPECT_EQ(curl_multi_cleanup(multi), CURLM_OK);
}

// ---- What came of a transfer

TEST_F(CurlHandleTest, AReusedConnectionThatHangsIsNotAFailureToConnect) {
  const std::unique_ptr<CurlHandle> handle = Handle(open_);
  Prepare(*handle);
  EXPECT_EQ(handle->Finish(curl_easy_perform(handle->easy())).http_status, 200);
  sink_.SetScript([](const SinkRequest&) {
    SinkAnswer answer;
    answer.way = SinkAnswer::Way::kHang;
    return answer;
  });
  Prepare(*handle, absl::Seconds(1));
  const CURLcode code = curl_easy_perform(handle->easy());
  EXPECT_EQ(code, CURLE_OPERATION_TIMEDOUT);
  EXPECT_FALSE(handle->opened_connection());
  EXPECT_FALSE(handle->FailedToConnect(code)) << "or it would be sent to the next address, too";
  EXPECT_FALSE(handle->WasStale(code));
  EXPECT_THAT(handle->Finish(code).message, HasSubstr("was connected, but its answer"));
  EXPECT_EQ(sink_.connection_count(), 1u);
}

// ---- What this process lacks

// Its socket is bound to an end that another connection to the same receiver has.
class TakenPort final : public CurlSocketOwner {
 public:
  explicit TakenPort(int port) : other_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    // Of an address that nobody else connects from.
    taken_.sin_family = AF_INET;
    taken_.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (getpid() << 1));
    BindTo(other_);
    socklen_t size = sizeof taken_;
    EXPECT_EQ(getsockname(other_, reinterpret_cast<sockaddr*>(&taken_), &size), 0);
    sockaddr_in receiver{};
    receiver.sin_family = AF_INET;
    receiver.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    receiver.sin_port = htons(static_cast<uint16_t>(port));
    EXPECT_EQ(connect(other_, reinterpret_cast<sockaddr*>(&receiver), sizeof receiver), 0);
  }
  ~TakenPort() override { close(other_); }

  bool IsAllowed(int) override { return true; }
  void OnSocketOpened(int fd, void*) override { BindTo(fd); }
  void OnSocketClosed(int) override {}

 private:
  void BindTo(int fd) const {
    const int on = 1;
    EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&taken_), sizeof taken_), 0);
  }

  const int other_;
  sockaddr_in taken_{};
};

TEST_F(CurlHandleTest, WantOfLocalPortsIsNotTheReceiversFault) {
  TakenPort taken(sink_.port());
  CurlHandle handle(open_, "", absl::Seconds(30), taken, nullptr);
  Prepare(handle);
  const CURLcode code = curl_easy_perform(handle.easy());
  EXPECT_EQ(code, CURLE_COULDNT_CONNECT);
  const TransferResult result = handle.Finish(code);
  EXPECT_EQ(result.error, TransferError::kNoResources) << result.message;
  EXPECT_THAT(result.message, HasSubstr("no local port left"));
}

TEST_F(CurlHandleTest, WantOfMemoryIsNotTheReceiversFault) {
  const std::unique_ptr<CurlHandle> handle = Handle(open_);
  Prepare(*handle);
  // As when libcurl cannot make what it needs to connect.
  const TransferResult result = handle->Finish(CURLE_OUT_OF_MEMORY);
  EXPECT_EQ(result.error, TransferError::kNoResources);
  EXPECT_THAT(result.message, HasSubstr("short of memory"));
}

// ---- Targets

TEST_F(CurlHandleTest, ATargetKnowsItsHost) {
  const auto target = [](const std::string& url) {
    return CurlTarget(std::make_shared<HttpTarget>(HttpTarget{url}));
  };
  EXPECT_EQ(target("http://Receiver.test/x").host_and_port, "Receiver.test:80");
  EXPECT_FALSE(target("http://receiver.test/x").https);
  EXPECT_TRUE(target("HTTPS://receiver.test").https);
  EXPECT_EQ(target("https://receiver.test").host_and_port, "receiver.test:443");
  EXPECT_EQ(target("http://[2001:db8::1]:81/").host, "2001:db8::1");
  EXPECT_EQ(target("http://[2001:db8::1]:81/").host_and_port, "[2001:db8::1]:81");
  EXPECT_EQ(target("no url").host, "");
}

}  // namespace
}  // namespace postrider
