#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace postrider {

// A port on loopback where connecting never ends: its queue is full, and the kernel drops what
// comes.
class BlackHole {
 public:
  // Port 0: one that is free.
  explicit BlackHole(const std::string& host = "127.0.0.1", int port = 0)
      : family_(host.find(':') == std::string::npos ? AF_INET : AF_INET6), listener_(Open()) {
    sockaddr_storage address{};
    socklen_t size = sizeof(sockaddr_in);
    if (family_ == AF_INET) {
      auto* const v4 = reinterpret_cast<sockaddr_in*>(&address);
      v4->sin_family = AF_INET;
      v4->sin_port = htons(static_cast<uint16_t>(port));
      EXPECT_EQ(inet_pton(AF_INET, host.c_str(), &v4->sin_addr), 1);
    } else {
      auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address);
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(static_cast<uint16_t>(port));
      EXPECT_EQ(inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr), 1);
      size = sizeof *v6;
    }
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    open_ = bind(listener_, generic, size) == 0 && listen(listener_, 0) == 0 &&
            getsockname(listener_, generic, &size) == 0;
    EXPECT_TRUE(open_ || port != 0) << "no port is free";
    if (!open_) return;
    // At the same place for both families.
    port_ = ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    // Until one is not answered for so long that it was dropped.
    do {
      fillers_.push_back(Open());
      connect(fillers_.back(), generic, size);
    } while (fillers_.size() < 16 && Connected(fillers_.back()));
  }
  ~BlackHole() {
    for (const int fd : fillers_) close(fd);
    close(listener_);
  }
  BlackHole(const BlackHole&) = delete;
  BlackHole& operator=(const BlackHole&) = delete;

  // False when the port that was asked for is taken, or there is no such address here.
  bool open() const { return open_; }
  int port() const { return port_; }
  std::string Url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/hook"; }

 private:
  int Open() const { return socket(family_, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }
  static bool Connected(int fd) {
    pollfd ready{fd, POLLOUT, 0};
    return poll(&ready, 1, 200) == 1;
  }

  const int family_;
  const int listener_;
  bool open_ = false;
  int port_ = 0;
  std::vector<int> fillers_;
};

}  // namespace postrider
