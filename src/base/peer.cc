#include "src/base/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

namespace postrider {
namespace {

constexpr char kOther[] = "other";

std::string OfIpv4(const in_addr& address) {
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &address, text, sizeof(text)) == nullptr ? kOther : text;
}

std::string OfIpv6(in6_addr address) {
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    in_addr mapped{};
    std::memcpy(&mapped, address.s6_addr + 12, sizeof(mapped));
    return OfIpv4(mapped);
  }
  std::memset(address.s6_addr + 8, 0, 8);
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(AF_INET6, &address, text, sizeof(text)) == nullptr) return kOther;
  return std::string(text) + "/64";
}

}  // namespace

std::string PeerOf(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return OfIpv4(reinterpret_cast<const sockaddr_in*>(address)->sin_addr);
  }
  if (address->sa_family == AF_INET6) {
    return OfIpv6(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  }
  return kOther;
}

}  // namespace postrider
