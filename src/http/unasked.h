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

// How many bytes were written to a TCP socket, and how many of them its peer has acknowledged. The
// connecting itself counts as one, and the handshake of TLS, too. 0 where the kernel does not count.
struct WrittenBytes {
  uint64_t all = 0;
  uint64_t acknowledged = 0;
};
WrittenBytes CountWritten(int fd);

}  // namespace postrider
