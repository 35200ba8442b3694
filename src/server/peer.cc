#include "src/server/peer.h"

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

bool Consume(std::string_view prefix, std::string_view* text) {
  if (text->substr(0, prefix.size()) != prefix) return false;
  text->remove_prefix(prefix.size());
  return true;
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

std::string PeerOfCall(std::string_view grpc_peer) {
  if (Consume("ipv4:", &grpc_peer)) return std::string(grpc_peer.substr(0, grpc_peer.rfind(':')));
  if (!Consume("ipv6:", &grpc_peer)) return kOther;
  // The brackets are escaped, or not, and a zone may stand behind the address.
  if (!Consume("%5B", &grpc_peer)) Consume("[", &grpc_peer);
  const std::string text(grpc_peer.substr(0, grpc_peer.find_first_of("%]")));
  in6_addr address{};
  return inet_pton(AF_INET6, text.c_str(), &address) == 1 ? OfIpv6(address) : kOther;
}

}  // namespace postrider
