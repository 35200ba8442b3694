#include "src/cli/listen_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "src/cli/commands.h"
#include "src/message/json.h"
#include "tests/support/http_client.h"

namespace postrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Runs `postrider listen` on this thread, and a caller on another as soon as it listens.
class ListenCommandTest : public ::testing::Test {
 protected:
  // The caller is given the port.
  template <typename Caller>
  void Run(std::vector<std::string> arguments, Caller caller) {
    // The command ends by a signal, which none of our threads may take in its stead.
    sigset_t signals;
    sigset_t before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, &before);

    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    std::fflush(stdout);
    const int standard_output = dup(STDOUT_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    std::thread reader([this, &caller, from = ends[0]] {
      bool called = false;
      std::thread calling;
      char buffer[4096];
      for (ssize_t size; (size = read(from, buffer, sizeof(buffer))) > 0;) {
        out_.append(buffer, static_cast<size_t>(size));
        if (called || out_.find('\n') == std::string::npos) continue;
        called = true;
        const int port = std::atoi(out_.substr(out_.rfind(':') + 1).c_str());
        calling = std::thread([&caller, port] { caller(port); });
      }
      if (calling.joinable()) calling.join();
      close(from);
    });

    CLI::App program;
    AddClientCommands(program, &exit_code_);
    arguments.insert(arguments.begin(), {"listen", "--listen", "127.0.0.1:0"});
    program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));

    std::fflush(stdout);
    dup2(standard_output, STDOUT_FILENO);
    close(standard_output);
    reader.join();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  int exit_code_ = -1;
  std::string out_;
};

TEST_F(ListenCommandTest, ShowsSoManyRequestsAndEnds) {
  std::string first;
  std::string second;
  Run({"--count", "2", "--fail-first", "1"}, [&](int port) {
    first = HttpCall(port, "POST", "/hook", {{"X-Bell", "ding"}}, R"({"a":[1,2e9]})");
    second = HttpCall(port, "PUT", "/x?y", {}, "plain \x1b\x07 text");
  });
  EXPECT_EQ(exit_code_, 0);
  EXPECT_THAT(first, StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(second, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(
      out_,
      AllOf(StartsWith("listening http://127.0.0.1:"), HasSubstr("--- request 1 at "),
            HasSubstr("\nPOST /hook\n"), HasSubstr("{\n  \"a\": [\n    1,\n    2e9\n  ]\n}\n"),
            HasSubstr("; answered 500\n"), HasSubstr("--- request 2 at "),
            HasSubstr("\nPUT /x?y\n"), HasSubstr("\nplain \\x1b\\x07 text\n"),
            HasSubstr("--- signature not checked: no secret is known; answered 200\n")));
  EXPECT_EQ(out_.find('\x07'), std::string::npos);
}

TEST_F(ListenCommandTest, PrintsOneLineOfJsonForEachRequest) {
  Run({"--count", "1", "--json", "--status", "202"}, [](int port) {
    HttpCall(port, "POST", "/hook", {{"X-Team", "a\"b"}}, "a\nb\xff");
  });
  EXPECT_EQ(exit_code_, 0);
  const std::vector<std::string> lines = absl::StrSplit(out_, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u) << out_;
  EXPECT_TRUE(CheckJsonObject(lines[1]).ok()) << lines[1];
  EXPECT_THAT(
      lines[1],
      AllOf(HasSubstr("\"number\":1,"), HasSubstr("\"method\":\"POST\""),
            HasSubstr("\"target\":\"/hook\""), HasSubstr(R"({"name":"X-Team","value":"a\"b"})"),
            HasSubstr("\"body\":\"a\\u000ab\xEF\xBF\xBD\""),
            HasSubstr("\"signature\":\"not checked\""), HasSubstr("\"status\":202}")));
}

TEST_F(ListenCommandTest, EndsWhenItIsToldTo) {
  Run({}, [](int port) {
    HttpCall(port, "POST", "/hook", {}, "{}");
    kill(getpid(), SIGTERM);
  });
  EXPECT_EQ(exit_code_, 0);
  EXPECT_THAT(out_, HasSubstr("--- request 1 at "));
}

}  // namespace
}  // namespace postrider
