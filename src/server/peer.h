#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace postrider {

// Who shares what one caller may take: an IPv4 address, or the first 64 bits of an IPv6 one, since
// whoever has one of those has them all.

// Of a socket's other end; "other" for what is no IP address.
std::string PeerOf(const sockaddr* address);

// Of what gRPC calls the peer of a call: `ipv4:192.0.2.7:50000` or `ipv6:%5B2001:db8::1%5D:50000`.
std::string PeerOfCall(std::string_view grpc_peer);

}  // namespace postrider
