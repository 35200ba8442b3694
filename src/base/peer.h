#pragma once

#include <sys/socket.h>

#include <string>

namespace postrider {

// Who shares what one caller may take: an IPv4 address, or the first 64 bits of an IPv6 one, since
// whoever has one of those has them all. Of a socket's other end; "other" for what is no IP
// address.
std::string PeerOf(const sockaddr* address);

}  // namespace postrider
