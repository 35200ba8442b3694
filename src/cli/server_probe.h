#pragma once

#include <string>

namespace postrider {

// What answers at an address.
enum class Answerer {
  kNobody,   // no connection could be made
  kTls,      // it speaks TLS, whatever it thinks of our certificates
  kPlain,    // it speaks HTTP/2 without TLS
  kUnknown,  // neither
};

// Connects to the address and looks, for a few seconds at most. gRPC does not tell why it was not
// understood.
Answerer ProbeServer(const std::string& host, int port);

}  // namespace postrider
