#include "src/server/units.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace postrider {
namespace {

TEST(UnitsTest, ReadsSizes) {
  EXPECT_EQ(ParseSizeFlag("0"), 0u);
  EXPECT_EQ(ParseSizeFlag("262144"), 262144u);
  EXPECT_EQ(ParseSizeFlag("256KiB"), 262144u);
  EXPECT_EQ(ParseSizeFlag("256kib"), 262144u);
  EXPECT_EQ(ParseSizeFlag("10MB"), 10'000'000u);
  EXPECT_EQ(ParseSizeFlag("1TiB"), uint64_t{1} << 40);
  EXPECT_EQ(ParseSizeFlag("9223372036854775807"), uint64_t{9223372036854775807u});
  for (const char* text : {"", "-1", "1.5MiB", "KiB", "1 KiB", "1XB", "9223372036854775808",
                           "18446744073709551616", "9007199254740993TiB"}) {
    EXPECT_EQ(ParseSizeFlag(text), std::nullopt) << text;
  }
}

TEST(UnitsTest, ReadsAddresses) {
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

TEST(UnitsTest, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
        "::1:80", "[::1]80", "[x]:80", "[]:80", "a b:80", "http://a:80", "127.0.0.1:123456"}) {
    EXPECT_EQ(ParseHostPort(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace postrider
