#include "tests/e2e/server_process.h"

#include <signal.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/support/http_client.h"

namespace postrider {

std::vector<std::string> ServerProcess::Arguments(const std::string& data_dir) {
  return {"serve",         "--data-dir",  data_dir,          "--listen",   "127.0.0.1:0",
          "--http-listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"};
}

bool ServerProcess::Start() {
  Launch();
  return Ready();
}

void ServerProcess::Launch() {
  Process::Options options;
  options.args = Arguments(data_dir());
  options.args.insert(options.args.end(), flags.begin(), flags.end());
  options.environment = environment;
  options.before_exec = before_exec;
  // The one before must have let go of the directory.
  process_.reset();
  process_ = std::make_unique<Process>(options);
}

bool ServerProcess::Ready() {
  const std::optional<std::string> line = process_->WaitForLine("ready ");
  if (!line.has_value()) {
    ADD_FAILURE() << "the server did not get ready; it wrote:\n" << process_->err();
    return false;
  }
  ready_line_ = *line;
  const std::vector<std::string> words = absl::StrSplit(*line, ' ');
  if (words.size() != 3 || words[1].rfind("grpc=", 0) != 0 || words[2].rfind("http=", 0) != 0) {
    ADD_FAILURE() << "the ready line is: " << *line;
    return false;
  }
  grpc_address_ = words[1].substr(5);
  http_address_ = words[2].substr(5);
  return true;
}

void ServerProcess::Kill() {
  process_->Signal(SIGKILL);
  EXPECT_TRUE(process_->WaitForEnd().has_value());
}

int ServerProcess::Terminate() {
  process_->Signal(SIGTERM);
  const std::optional<int> exit_code = process_->WaitForEnd();
  if (!exit_code.has_value()) ADD_FAILURE() << "the server did not stop:\n" << process_->err();
  return exit_code.value_or(-1);
}

int ServerProcess::http_port() const {
  int port = 0;
  const std::vector<std::string> parts = absl::StrSplit(http_address_, ':');
  if (!absl::SimpleAtoi(parts.back(), &port)) ADD_FAILURE() << "no address: " << http_address_;
  return port;
}

std::optional<HttpAnswer> ServerProcess::Get(const std::string& path) const {
  const std::string text = HttpGet(http_port(), path);
  const std::vector<std::string> words = absl::StrSplit(text.substr(0, text.find('\r')), ' ');
  HttpAnswer answer;
  const size_t end = text.find("\r\n\r\n");
  if (words.size() < 2 || end == std::string::npos || !absl::SimpleAtoi(words[1], &answer.status)) {
    return std::nullopt;
  }
  answer.body = text.substr(end + 4);
  return answer;
}

}  // namespace postrider
