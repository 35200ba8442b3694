#include "tests/e2e/server_process.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

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

std::string Exchange(const std::string& address, const std::string& bytes) {
  const std::vector<std::string> parts = absl::StrSplit(address, ':');
  int port = 0;
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[1], &port) ||
      inet_pton(AF_INET, parts[0].c_str(), &peer.sin_addr) != 1) {
    ADD_FAILURE() << "not an address: " << address;
    return "";
  }
  peer.sin_port = htons(static_cast<uint16_t>(port));
  std::string answer;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  timeval patience{};
  patience.tv_sec = absl::ToInt64Seconds(kPatience);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) == 0 &&
      send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size())) {
    char buffer[4096];
    while (true) {
      const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
      if (got <= 0) break;
      answer.append(buffer, static_cast<size_t>(got));
    }
  }
  close(fd);
  return answer;
}

std::optional<HttpAnswer> HttpGet(const std::string& address, const std::string& path) {
  const std::string text = Exchange(
      address,
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: ", address, "\r\nConnection: close\r\n\r\n"));
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
