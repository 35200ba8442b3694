#include "src/server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "src/base/processors.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() : flags_(root_) {
    root_.add_subcommand("publish", "another command")->add_option("--target", other_);
  }
  ~ConfigTest() override {
    if (!file_.empty()) unlink(file_.c_str());
  }

  std::optional<Failure> Parse(std::vector<std::string> arguments,
                               const std::vector<std::string>& environment = {}) {
    arguments.insert(arguments.begin(), "serve");
    // CLI11 takes them from the back.
    root_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return flags_.Finish(environment);
  }

  // The path of a new file with this text.
  const std::string& File(const std::string& text) {
    char path[] = "/tmp/postrider_config_XXXXXX";
    const int fd = mkstemp(path);
    EXPECT_GE(fd, 0);
    close(fd);
    file_ = path;
    std::ofstream(file_) << text;
    return file_;
  }

  const ServerConfig& config() const { return flags_.config(); }

  CLI::App root_;
  std::string other_;
  ServeFlags flags_;
  std::string file_;
};

std::string Text(const std::optional<Failure>& failure) {
  return failure.has_value() ? failure->message : "no failure";
}

TEST_F(ConfigTest, PumpThreadsFollowTheProcessors) {
  const std::map<int, int> expected = {{0, 1}, {1, 1}, {2, 2},  {3, 2},    {4, 2},
                                       {5, 2}, {6, 3}, {16, 8}, {127, 63}, {1024, 64}};
  for (const auto& [processors, threads] : expected) {
    EXPECT_EQ(DefaultPumpThreads(processors), threads) << processors;
  }
}

TEST_F(ConfigTest, HasDefaults) {
  ASSERT_FALSE(Parse({"--data-dir", "/d"}).has_value());
  EXPECT_EQ(config().data_dir, "/d");
  EXPECT_EQ(config().listen, "127.0.0.1:7411");
  EXPECT_EQ(config().http_listen, "127.0.0.1:7412");
  EXPECT_EQ(config().drain_timeout, absl::Seconds(10));
  EXPECT_EQ(config().max_notification_bytes, 262144u);
  EXPECT_EQ(config().pump_threads, DefaultPumpThreads(UsableProcessors()));
  EXPECT_FALSE(config().insecure);
}

TEST_F(ConfigTest, ReadsEveryKindOfFlag) {
  const auto failure =
      Parse({"--data-dir", "/d", "--listen", "[::1]:0", "--allow-network", "10.0.0.0/8,fd00::/8",
             "--allow-network", "127.0.0.0/8", "--drain-timeout", "1m30s",
             "--max-notification-bytes", "1MiB", "--pump-threads", "3", "--log-format", "json"});
  ASSERT_FALSE(failure.has_value()) << Text(failure);
  EXPECT_EQ(config().listen, "[::1]:0");
  EXPECT_THAT(config().allow_networks, ElementsAre("10.0.0.0/8", "fd00::/8", "127.0.0.0/8"));
  EXPECT_EQ(config().drain_timeout, absl::Seconds(90));
  EXPECT_EQ(config().max_notification_bytes, 1048576u);
  EXPECT_EQ(config().pump_threads, 3);
  EXPECT_EQ(config().log_format, "json");
}

TEST_F(ConfigTest, CommandLineWinsOverEnvironmentOverFile) {
  const std::string file = File(
      "# a comment\n"
      "data-dir = \"/file\"  # and another\n"
      "drain-timeout = '7s'\n"
      "pump-threads = 5\n"
      "insecure = true\n"
      "allow-network = [\"10.0.0.0/8\",\n  \"127.0.0.0/8\",]\n"
      "max-queued-reads = 7\n"
      "max-attempt-bytes = \"1MiB\"\n"
      "max-queue-bytes = \"2MiB\"\n");
  const auto failure = Parse({"--config", file, "--pump-threads", "2"},
                             {"POSTRIDER_PUMP_THREADS=4", "POSTRIDER_DRAIN_TIMEOUT=8s", "HOME=/x"});
  ASSERT_FALSE(failure.has_value()) << Text(failure);
  EXPECT_EQ(config().pump_threads, 2);
  EXPECT_EQ(config().drain_timeout, absl::Seconds(8));
  EXPECT_EQ(config().data_dir, "/file");
  EXPECT_EQ(config().max_queue_bytes, 2097152u);
  EXPECT_EQ(config().max_queued_reads, 7u);
  EXPECT_EQ(config().max_attempt_bytes, 1048576u);
  EXPECT_TRUE(config().insecure);
  EXPECT_THAT(config().allow_networks, ElementsAre("10.0.0.0/8", "127.0.0.0/8"));
}

TEST_F(ConfigTest, EnvironmentAloneIsEnough) {
  const auto failure =
      Parse({}, {"POSTRIDER_DATA_DIR=/env", "POSTRIDER_LISTEN=0.0.0.0:1", "POSTRIDER_INSECURE=true",
                 "POSTRIDER_ALLOW_NETWORK=10.0.0.0/8,127.0.0.1/32"});
  ASSERT_FALSE(failure.has_value()) << Text(failure);
  EXPECT_EQ(config().data_dir, "/env");
  EXPECT_TRUE(config().insecure);
  EXPECT_THAT(config().allow_networks, ElementsAre("10.0.0.0/8", "127.0.0.1/32"));
}

TEST_F(ConfigTest, TheFileItselfCanBeNamedByTheEnvironment) {
  const std::string file = File("data-dir = \"/file\"\n");
  ASSERT_FALSE(Parse({}, {"POSTRIDER_CONFIG=" + file}).has_value());
  EXPECT_EQ(config().data_dir, "/file");
}

TEST_F(ConfigTest, RefusesUnknownVariablesByName) {
  const auto failure = Parse({"--data-dir", "/d"}, {"POSTRIDER_DATADIR=/x"});
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kConfig);
  EXPECT_THAT(failure->message, HasSubstr("POSTRIDER_DATADIR"));
}

TEST_F(ConfigTest, PassesOverVariablesOfOtherCommands) {
  EXPECT_FALSE(Parse({"--data-dir", "/d"}, {"POSTRIDER_TARGET=x"}).has_value());
}

TEST_F(ConfigTest, PassesOverTheServiceLinksOfKubernetes) {
  EXPECT_FALSE(Parse({"--data-dir", "/d"},
                     {"POSTRIDER_SERVICE_HOST=10.0.0.1", "POSTRIDER_SERVICE_PORT_GRPC=7411",
                      "POSTRIDER_PORT=tcp://10.0.0.1:7411", "POSTRIDER_PORT_7411_TCP_PROTO=tcp"})
                   .has_value());
}

TEST_F(ConfigTest, PassesOverTheServiceLinksOfServicesWhoseNamesBeginSo) {
  // Of a Service that is named postrider-grpc, as the kubelet makes them.
  const std::vector<std::string> links = {
      "POSTRIDER_GRPC_SERVICE_HOST=10.0.0.1",
      "POSTRIDER_GRPC_SERVICE_PORT=7411",
      "POSTRIDER_GRPC_SERVICE_PORT_GRPC=7411",
      "POSTRIDER_GRPC_PORT=tcp://10.0.0.1:7411",
      "POSTRIDER_GRPC_PORT_7411_TCP=tcp://10.0.0.1:7411",
      "POSTRIDER_GRPC_PORT_7411_TCP_PROTO=tcp",
      "POSTRIDER_GRPC_PORT_7411_TCP_PORT=7411",
      "POSTRIDER_GRPC_PORT_7411_TCP_ADDR=10.0.0.1"};
  const auto failure = Parse({"--data-dir", "/d"}, links);
  EXPECT_EQ(Text(failure), "no failure");
  ASSERT_EQ(flags_.passed_over().size(), links.size());
  EXPECT_EQ(flags_.passed_over()[3], "POSTRIDER_GRPC_PORT");
}

TEST_F(ConfigTest, WhatOnlyResemblesAServiceLinkIsRefused) {
  for (const char* variable : {"POSTRIDER_PORT=7411", "POSTRIDER_GRPC_PORT=7411",
                               "POSTRIDER_SERVICE_PORT=http", "POSTRIDER_LISTEN_PORT=1"}) {
    CLI::App root;
    ServeFlags flags(root);
    root.parse(std::vector<std::string>{"/d", "--data-dir", "serve"});
    const auto failure = flags.Finish({variable});
    ASSERT_TRUE(failure.has_value()) << variable;
    EXPECT_EQ(failure->code, ExitCode::kConfig) << variable;
  }
}

TEST_F(ConfigTest, TellsWhereEachSettingCameFrom) {
  const std::string file =
      File("# ours\nretention = '7d'\nallow-network = ['10.0.0.0/8', '::1/128']\n");
  const auto failure = Parse({"--config", file, "--pump-threads", "2"},
                             {"POSTRIDER_DATA_DIR=/env", "POSTRIDER_RETENTION=8d"});
  ASSERT_EQ(Text(failure), "no failure");
  EXPECT_EQ(config().retention, absl::Hours(8 * 24));
  std::map<std::string, std::string> shown;
  for (const Setting& setting : flags_.settings()) {
    shown[setting.flag] = setting.value + " from " + setting.source;
  }
  EXPECT_EQ(shown["config"], file + " from flag");
  EXPECT_EQ(shown["pump-threads"], "2 from flag");
  EXPECT_EQ(shown["data-dir"], "/env from POSTRIDER_DATA_DIR");
  EXPECT_EQ(shown["retention"], "8d from POSTRIDER_RETENTION");
  EXPECT_EQ(shown["allow-network"], "10.0.0.0/8,::1/128 from " + file + ":3");
  EXPECT_EQ(shown["listen"], "127.0.0.1:7411 from ");
  EXPECT_EQ(shown["insecure"], "false from ");
  EXPECT_EQ(shown["drain-timeout"], "10s from ");
}

TEST_F(ConfigTest, RefusesWrongValuesOfVariables) {
  const auto failure = Parse({"--data-dir", "/d"}, {"POSTRIDER_DRAIN_TIMEOUT=10"});
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kConfig);
  EXPECT_THAT(failure->message, AllOf(HasSubstr("POSTRIDER_DRAIN_TIMEOUT"), HasSubstr("30s")));
}

TEST_F(ConfigTest, RefusesUnknownKeysByNameFileAndLine) {
  const std::string file = File("data-dir = \"/d\"\nlisten-on = \"x\"\n");
  const auto failure = Parse({"--config", file});
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kConfig);
  EXPECT_THAT(failure->message, AllOf(HasSubstr(file + ":2"), HasSubstr("listen-on")));
}

TEST_F(ConfigTest, RefusesWhatIsNotTomlForFlags) {
  for (const char* text :
       {"[serve]\ndata-dir = \"/d\"\n", "data-dir\n", "data-dir = /d\n", "data-dir = \"/d\n",
        "data-dir = \"/d\" x\n", "data-dir = \"/a\"\ndata-dir = \"/b\"\n", "a.b = 1\n",
        "data-dir = [\"/a\" \"/b\"]\n", "pump-threads = 1.5\n", "data-dir = \"\\u0041\"\n",
        "data-dir = [\"/a\", \"/b\"]\n", "config = \"/d\"\n"}) {
    CLI::App root;
    ServeFlags flags(root);
    const std::string file = File(text);
    root.parse(std::vector<std::string>{file, "--config", "serve"});
    const auto failure = flags.Finish({});
    ASSERT_TRUE(failure.has_value()) << text;
    EXPECT_EQ(failure->code, ExitCode::kConfig) << text;
    EXPECT_THAT(failure->message, HasSubstr(file + ":")) << text;
    unlink(file.c_str());
  }
}

TEST_F(ConfigTest, RefusesAFileThatIsNotThere) {
  const auto failure = Parse({"--config", "/nowhere/x.toml"});
  ASSERT_TRUE(failure.has_value());
  EXPECT_THAT(failure->message, HasSubstr("/nowhere/x.toml"));
}

TEST_F(ConfigTest, RefusesUnknownFlags) {
  EXPECT_THROW(Parse({"--data-dirr", "/d"}), CLI::ParseError);
}

TEST_F(ConfigTest, RefusesWrongValues) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--listen", "7411"},          {"--listen", "localhost"},        {"--listen", "::1:7411"},
      {"--drain-timeout", "10"},     {"--drain-timeout", "-1s"},       {"--drain-timeout", "inf"},
      {"--max-queue-bytes", "1.5M"}, {"--max-queue-bytes", "64 MiBs"}, {"--pump-threads", "0"},
      {"--log-level", "loud"},       {"--log-format", "xml"}};
  for (const std::vector<std::string>& flag : wrong) {
    CLI::App root;
    ServeFlags flags(root);
    EXPECT_THROW(root.parse(std::vector<std::string>{flag[1], flag[0], "serve"}), CLI::ParseError)
        << flag[0] << " " << flag[1];
  }
}

TEST_F(ConfigTest, AnswersMustHaveRoomForTheLargestNotification) {
  const auto failure = Parse({"--data-dir", "/d", "--max-notification-bytes", "8MiB",
                              "--grpc-max-answer-bytes", "15MiB"});
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kUsage);
  EXPECT_THAT(failure->message, HasSubstr("--grpc-max-answer-bytes"));
}

TEST_F(ConfigTest, NeedsADataDirectory) {
  const auto failure = Parse({});
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kUsage);
  EXPECT_THAT(failure->message, HasSubstr("--data-dir"));
}

TEST_F(ConfigTest, RefusesPlaintextBeyondLoopback) {
  const auto failure = Parse({"--data-dir", "/d", "--listen", "0.0.0.0:7411"});
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kUsage);
  EXPECT_THAT(failure->message,
              AllOf(HasSubstr("--listen"), HasSubstr("--tls-cert"), HasSubstr("--insecure")));
}

TEST_F(ConfigTest, TakesTlsBeyondLoopback) {
  EXPECT_FALSE(
      Parse({"--data-dir", "/d", "--listen", "0.0.0.0:7411", "--tls-cert", "/c", "--tls-key", "/k"})
          .has_value());
}

TEST_F(ConfigTest, RefusesHalfOfTls) {
  const auto failure = Parse({"--data-dir", "/d", "--tls-cert", "/c"});
  ASSERT_TRUE(failure.has_value());
  EXPECT_THAT(failure->message, HasSubstr("--tls-key"));
}

TEST_F(ConfigTest, TakesHttpBeyondLoopback) {
  EXPECT_FALSE(Parse({"--data-dir", "/d", "--http-listen", "0.0.0.0:7412"}).has_value());
}

TEST_F(ConfigTest, BoundsOfHttpAreFlags) {
  const auto failure = Parse({"--data-dir", "/d", "--http-max-connections", "5",
                              "--http-max-peer-connections", "4", "--http-reserved-connections",
                              "3", "--http-request-timeout", "2s", "--http-idle-timeout", "3s",
                              "--http-max-headers", "7", "--http-max-header-bytes", "8KiB",
                              "--http-max-held-bytes", "9MiB"});
  ASSERT_EQ(Text(failure), "no failure");
  const HttpServerLimits& limits = config().http_limits;
  EXPECT_EQ(limits.max_connections, 5u);
  EXPECT_EQ(limits.max_peer_connections, 4u);
  EXPECT_EQ(limits.reserved_connections, 3u);
  EXPECT_EQ(limits.request_timeout, absl::Seconds(2));
  EXPECT_EQ(limits.idle_timeout, absl::Seconds(3));
  EXPECT_EQ(limits.max_headers, 7u);
  EXPECT_EQ(limits.max_header_bytes, 8192u);
  EXPECT_EQ(limits.max_held_bytes, size_t{9} << 20);
}

TEST_F(ConfigTest, HelpShowsNoTypesOfCli11) {
  const std::string help = root_.get_subcommand("serve")->help();
  EXPECT_THAT(help, AllOf(HasSubstr("--listen HOST:PORT [127.0.0.1:7411]"),
                          HasSubstr("--drain-timeout DURATION [10s]"),
                          HasSubstr("--max-outbox-bytes SIZE [16GiB]"),
                          HasSubstr("--log-level debug|info|warn|error [info]"),
                          HasSubstr("--http-max-connections N [4096]")));
  for (const char* raw : {"TEXT", "INT", "FLOAT", ":DURATION", ":SIZE", " in ["}) {
    EXPECT_THAT(help, Not(HasSubstr(raw)));
  }
}

TEST_F(ConfigTest, HelpAndOperationsGiveTheSameExitCodes) {
  std::ifstream file(std::string(POSTRIDER_SOURCE_DIR) + "/docs/operations.md");
  const std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  int codes = 0;
  const std::vector<std::string> lines = absl::StrSplit(kExitCodesHelp, '\n', absl::SkipEmpty());
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::string code(absl::StripAsciiWhitespace(lines[i].substr(0, 5)));
    const std::string meaning(absl::StripAsciiWhitespace(lines[i].substr(5)));
    EXPECT_THAT(page, HasSubstr("\n| " + code + " | " + meaning + " |"));
    ++codes;
  }
  EXPECT_EQ(codes, 8);
}

TEST_F(ConfigTest, HelpListsExitCodes) {
  const std::string help = root_.get_subcommand("serve")->help();
  EXPECT_THAT(help, AllOf(HasSubstr("--data-dir"), HasSubstr("73"), HasSubstr("POSTRIDER_")));
}

}  // namespace
}  // namespace postrider
