#include "src/base/host_port.h"

#include <gtest/gtest.h>

#include <optional>

namespace postrider {
namespace {

TEST(HostPortTest, ReadsAddresses) {
  const auto check = [](const char* text, const char* host, int port, bool loopback) {
    const std::optional<HostPort> address = ParseHostPort(text);
    ASSERT_TRUE(address.has_value()) << text;
    EXPECT_EQ(address->host, host);
    EXPECT_EQ(address->port, port);
    EXPECT_EQ(address->IsLoopback(), loopback) << text;
    EXPECT_EQ(address->ToString(), text);
  };
  check("127.0.0.1:7411", "127.0.0.1", 7411, true);
  check("127.9.9.9:1", "127.9.9.9", 1, true);
  check("localhost:0", "localhost", 0, true);
  check("[::1]:65535", "::1", 65535, true);
  check("[::]:80", "::", 80, false);
  check("0.0.0.0:80", "0.0.0.0", 80, false);
  check("example.com:80", "example.com", 80, false);
  check("10.0.0.1:80", "10.0.0.1", 80, false);
}

TEST(HostPortTest, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
        "::1:80", "[::1]80", "[x]:80", "[]:80", "a b:80", "http://a:80", "127.0.0.1:123456"}) {
    EXPECT_EQ(ParseHostPort(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace postrider
