#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace postrider {

// A port on loopback where connecting never ends: its queue is full, and the kernel drops what
// comes.
class BlackHole {
 public:
  BlackHole() : listener_(Open()) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_, generic, size), 0);
    EXPECT_EQ(listen(listener_, 0), 0);
    EXPECT_EQ(getsockname(listener_, generic, &size), 0);
    port_ = ntohs(address.sin_port);
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

  int port() const { return port_; }
  std::string Url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/hook"; }

 private:
  static int Open() { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }
  static bool Connected(int fd) {
    pollfd ready{fd, POLLOUT, 0};
    return poll(&ready, 1, 200) == 1;
  }

  const int listener_;
  int port_ = 0;
  std::vector<int> fillers_;
};

}  // namespace postrider
