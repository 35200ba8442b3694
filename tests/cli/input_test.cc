#include "src/cli/input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(InputTest, ReadsAddresses) {
  const auto check = [](const char* text, const char* host, int port, bool loopback) {
    const std::optional<HostAndPort> address = ParseHostAndPort(text);
    ASSERT_TRUE(address.has_value()) << text;
    EXPECT_EQ(address->host, host) << text;
    EXPECT_EQ(address->port, port) << text;
    EXPECT_EQ(address->IsLoopback(), loopback) << text;
  };
  check("127.0.0.1:7411", "127.0.0.1", 7411, true);
  check("127.255.0.9:1", "127.255.0.9", 1, true);
  check("[::1]:65535", "::1", 65535, true);
  check("localhost:0", "localhost", 0, true);
  check("10.0.0.1:80", "10.0.0.1", 80, false);
  check("[::]:80", "::", 80, false);
  check("example.com:80", "example.com", 80, false);
  // Names that only look like loopback.
  check("127.example.com:80", "127.example.com", 80, false);
  check("127.0.0.1.example.com:80", "127.0.0.1.example.com", 80, false);
}

TEST(InputTest, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "7411", "localhost", "localhost:", ":7411", "localhost:x",
                           "localhost:65536", "localhost:-1", "localhost: 1", "localhost:+1",
                           "::1:7411", "[]:1", "[::1:1", "localhost:99999999999"}) {
    EXPECT_EQ(ParseHostAndPort(text).has_value(), false) << text;
  }
}

TEST(InputTest, ReadsDurations) {
  EXPECT_EQ(ParseDurationText("30s"), absl::Seconds(30));
  EXPECT_EQ(ParseDurationText("0s"), absl::ZeroDuration());
  EXPECT_EQ(ParseDurationText("1h30m"), absl::Minutes(90));
  EXPECT_EQ(ParseDurationText("250ms"), absl::Milliseconds(250));
  for (const char* text : {"", "0", "30", "-1s", "inf", "s", "1s x"}) {
    EXPECT_EQ(ParseDurationText(text), std::nullopt) << text;
  }
}

TEST(InputTest, ReadsTimes) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  EXPECT_EQ(ParseTimeText("1970-01-01T00:00:05Z", now), absl::FromUnixSeconds(5));
  EXPECT_EQ(ParseTimeText("1970-01-01T01:00:05+01:00", now), absl::FromUnixSeconds(5));
  EXPECT_EQ(ParseTimeText("2h", now), now - absl::Hours(2));
  for (const char* text : {"", "1970-01-01", "yesterday", "infinite-future", "-2h", "5"}) {
    EXPECT_EQ(ParseTimeText(text, now), std::nullopt) << text;
  }
}

TEST(InputTest, ReadsHeadersWhoseValuesAreInFiles) {
  const std::optional<HeaderFile> file = ParseHeaderFileText("X-Key=@/run/secrets/a:b");
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->name, "X-Key");
  EXPECT_EQ(file->path, "/run/secrets/a:b");
  for (const char* text : {"X-Key: a=@b", "X-Key=b", "X-Key=@", "=@x", "X-Key", "X-Key:=@x"}) {
    EXPECT_FALSE(ParseHeaderFileText(text).has_value()) << text;
  }
}

TEST(InputTest, ReadsHeaders) {
  const auto check = [](const char* text, const char* name, const char* value) {
    const std::optional<v1::Header> header = ParseHeaderText(text);
    ASSERT_TRUE(header.has_value()) << text;
    EXPECT_EQ(header->name(), name);
    EXPECT_EQ(header->value(), value);
  };
  check("X-Team: billing", "X-Team", "billing");
  check("X-Team:billing", "X-Team", "billing");
  check("X-Team:  a: b \t", "X-Team", "a: b");
  check("X-Empty:", "X-Empty", "");
  EXPECT_FALSE(ParseHeaderText("X-Team").has_value());
  EXPECT_FALSE(ParseHeaderText(": value").has_value());
  EXPECT_FALSE(ParseHeaderText("").has_value());
}

TEST(InputTest, StatesComeBack) {
  for (const char* text : {"pending", "delivered", "dead", "cancelled"}) {
    const std::optional<v1::DeliveryState> state = ParseStateText(text);
    ASSERT_TRUE(state.has_value()) << text;
    EXPECT_EQ(StateText(*state), text);
  }
  EXPECT_EQ(ParseStateText("unspecified"), std::nullopt);
  EXPECT_EQ(ParseStateText("lost"), std::nullopt);
  EXPECT_EQ(ParseStateText(""), std::nullopt);
  // Of a newer server.
  EXPECT_EQ(StateText(static_cast<v1::DeliveryState>(99)), "unknown");
}

TEST(InputTest, ArgumentsAreTextOrFiles) {
  const ScratchDir directory;
  const std::string path = directory.File("payload");
  const std::string written("{\"a\":\0 1}\n", 10);
  std::ofstream(path) << written;
  std::string content;
  EXPECT_EQ(ReadArgument("{\"a\":1}", &content), std::nullopt);
  EXPECT_EQ(content, "{\"a\":1}");
  EXPECT_EQ(ReadArgument("@" + path, &content), std::nullopt);
  EXPECT_EQ(content, written);
  EXPECT_EQ(ReadArgument("", &content), std::nullopt);
  EXPECT_EQ(content, "");
}

TEST(InputTest, AFileThatCannotBeReadIsNamed) {
  std::string content;
  const std::optional<std::string> missing = ReadArgument("@/nowhere/payload", &content);
  ASSERT_TRUE(missing.has_value());
  EXPECT_THAT(*missing, AllOf(HasSubstr("/nowhere/payload"), HasSubstr("No such file")));
  const std::optional<std::string> directory = ReadInput("/", &content);
  ASSERT_TRUE(directory.has_value());
  EXPECT_THAT(*directory, HasSubstr("directory"));
}

TEST(InputTest, AnInputWithoutEndIsNotReadForEver) {
  std::string content;
  const std::optional<std::string> error = ReadInput("/dev/zero", &content);
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(*error, AllOf(HasSubstr("/dev/zero"), HasSubstr("64 MiB")));
}

}  // namespace
}  // namespace postrider
