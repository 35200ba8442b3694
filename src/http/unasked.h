#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <string>

namespace postrider {

// What lies ready on a connection before anything was asked over it.
enum class Unasked {
  kNothing,
  kBytes,
  // The other side has closed it, or broken it off.
  kEnd,
};

// Looks at it, and takes away nothing that the next one who reads would want. `tls` is null on a
// plain connection. On one with TLS only what the peer's application said counts: a session ticket
// is taken in, and is nothing. A message that is not here as a whole counts as bytes. When the peer
// ended TLS with an alert, `alert` says which.
//
// REQUIRES: the handshake is over, and no call of OpenSSL's for `tls` is under way.
Unasked LookForUnasked(int fd, SSL* tls, std::string* alert);

// How many of the bytes that were written to a TCP socket its peer has not acknowledged.
uint64_t CountUnacknowledged(int fd);

// How many it has acknowledged. The connecting itself counts as one, and the handshake of TLS, too;
// so 0 means that the kernel does not count, as gVisor's. Costs more than the one above.
uint64_t CountAcknowledged(int fd);

}  // namespace postrider
