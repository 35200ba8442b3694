#include "src/http/own_want.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

bool LacksLocalPort(int error, const sockaddr* address, socklen_t size) {
  if (error != EADDRNOTAVAIL || address == nullptr) return false;
  // No socket was opened, so nothing is known of where to.
  if (address->sa_family == AF_UNSPEC) return false;
  // It is also what connect says when this machine has no address to come from, as where there is
  // no IPv6: then a datagram socket, which has all its ports, cannot be connected either.
  const int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return LacksResources(errno);
  const bool can = connect(fd, address, size) == 0;
  close(fd);
  return can;
}

}  // namespace

bool LacksResources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

std::string DescribeOwnWant(int error, const sockaddr* address, socklen_t size) {
  if (error == EMFILE || error == ENFILE) {
    return absl::StrCat("this server cannot open a socket (", std::strerror(error),
                        "); raise its limit of open files (ulimit -n, LimitNOFILE)");
  }
  if (LacksResources(error)) {
    return absl::StrCat("this server's network is short of memory (", std::strerror(error),
                        "); give the machine more");
  }
  if (LacksLocalPort(error, address, size)) {
    return "this server has no local port left for it; widen net.ipv4.ip_local_port_range, or "
           "lower max_concurrency";
  }
  return "";
}

}  // namespace postrider
