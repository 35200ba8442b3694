#include "tests/support/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <utility>

namespace postrider {
namespace {

constexpr timeval kPatience{60, 0};

bool SendAll(int fd, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t size = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (size <= 0) return false;
    sent += static_cast<size_t>(size);
  }
  return true;
}

}  // namespace

std::string Exchange(int port, const std::string& bytes) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    // One that refuses a request may close before it has all of it; its answer counts.
    SendAll(fd, bytes);
    char buffer[4096];
    for (ssize_t size; (size = recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(size));
    }
  }
  close(fd);
  return answer;
}

RawConnection::RawConnection(int port, const std::string& from)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, from.c_str(), &address.sin_addr);
  bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

RawConnection::~RawConnection() { close(fd_); }

bool RawConnection::Send(const std::string& bytes) { return SendAll(fd_, bytes); }

bool RawConnection::ReadMore() {
  char buffer[4096];
  const ssize_t size = recv(fd_, buffer, sizeof(buffer), 0);
  if (size > 0) in_.append(buffer, static_cast<size_t>(size));
  return size > 0;
}

std::string RawConnection::ReadAnswer() {
  const char kLength[] = "Content-Length: ";
  for (;;) {
    const size_t head = in_.find("\r\n\r\n");
    const size_t length = in_.find(kLength);
    size_t end = head == std::string::npos ? std::string::npos : head + 4;
    if (end != std::string::npos && length < head) {
      end += std::strtoul(in_.c_str() + length + sizeof(kLength) - 1, nullptr, 10);
    }
    if (end <= in_.size()) {
      std::string answer = in_.substr(0, end);
      in_.erase(0, end);
      return answer;
    }
    if (!ReadMore()) return std::exchange(in_, "");
  }
}

std::string RawConnection::ReadToEnd() {
  while (ReadMore()) {
  }
  return std::exchange(in_, "");
}

bool RawConnection::Readable() const {
  pollfd wait = {fd_, POLLIN, 0};
  return poll(&wait, 1, 0) == 1;
}

std::string HttpCall(int port, const std::string& method, const std::string& target,
                     const std::vector<std::pair<std::string, std::string>>& headers,
                     const std::string& body) {
  std::string request = method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
  for (const auto& [name, value] : headers)
    request.append(name).append(": ").append(value).append("\r\n");
  request += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  return Exchange(port, request);
}

std::string HttpGet(int port, const std::string& path) {
  return HttpCall(port, "GET", path, {}, "");
}

}  // namespace postrider
