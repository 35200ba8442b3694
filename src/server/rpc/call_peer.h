#pragma once

#include <string>
#include <string_view>

namespace postrider {

// As PeerOf (src/base/peer.h), of what gRPC calls the peer of a call: `ipv4:192.0.2.7:50000` or
// `ipv6:%5B2001:db8::1%5D:50000`.
std::string PeerOfCall(std::string_view grpc_peer);

}  // namespace postrider
