#include "src/server/rpc/call_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "src/base/peer.h"

namespace postrider {
namespace {

constexpr char kOther[] = "other";

bool Consume(std::string_view prefix, std::string_view* text) {
  if (text->substr(0, prefix.size()) != prefix) return false;
  text->remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::string PeerOfCall(std::string_view grpc_peer) {
  if (Consume("ipv4:", &grpc_peer)) return std::string(grpc_peer.substr(0, grpc_peer.rfind(':')));
  if (!Consume("ipv6:", &grpc_peer)) return kOther;
  // The brackets are escaped, or not, and a zone may stand behind the address.
  if (!Consume("%5B", &grpc_peer)) Consume("[", &grpc_peer);
  const std::string text(grpc_peer.substr(0, grpc_peer.find_first_of("%]")));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  if (inet_pton(AF_INET6, text.c_str(), &address.sin6_addr) != 1) return kOther;
  return PeerOf(reinterpret_cast<const sockaddr*>(&address));
}

}  // namespace postrider
