#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/protobuf/util/json_util.h"
#include "src/cli/client_exit.h"
#include "tests/cli/program.h"
#include "tests/server/app/app_harness.h"
#include "tests/support/http_sink.h"

namespace postrider {

inline constexpr int kOk = static_cast<int>(ClientExit::kOk);
inline constexpr int kRefused = static_cast<int>(ClientExit::kRefused);
inline constexpr int kUsage = static_cast<int>(ClientExit::kUsage);
inline constexpr int kNoInput = static_cast<int>(ClientExit::kNoInput);
inline constexpr int kUnavailable = static_cast<int>(ClientExit::kUnavailable);
inline constexpr int kInternal = static_cast<int>(ClientExit::kInternal);
inline constexpr int kTryLater = static_cast<int>(ClientExit::kTryLater);

// The whole of the text is one line of JSON that is such a message.
template <typename Message>
Message FromJsonLine(const std::string& text) {
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  Message message;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  EXPECT_TRUE(status.ok()) << text;
  return message;
}

// The commands against a whole server in this process.
class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() { harness_.Start(); }

  ProgramRun Run(std::vector<std::string> arguments) {
    // Behind a nested command, too, the flags of the connection are taken.
    arguments.insert(arguments.end(), {"--server", harness_.address()});
    return RunProgram(arguments);
  }

  ProgramRun ConfigureHook() { return Run({"configure", "--name", "hook", "--url", sink_.Url()}); }
  // Publishes, and waits until it is delivered. Returns the notification's id.
  std::string PublishAndDeliver() {
    const ProgramRun run = Run({"publish", "--type", "T", "--json-payload", "{}"});
    EXPECT_EQ(run.exit_code, kOk) << run.err;
    std::string id = run.out.substr(0, run.out.find('\n'));
    EXPECT_TRUE(harness_.WaitForState(id, v1::DELIVERY_STATE_DELIVERED));
    return id;
  }

  HttpSink sink_;
  AppHarness harness_;
};

}  // namespace postrider
