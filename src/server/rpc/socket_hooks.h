#pragma once

#include <sys/socket.h>

#include <cstddef>

namespace postrider {

// Looks over gRPC's shoulder. gRPC owns the sockets that it is given, reads them and closes them,
// and says neither what came nor when one is gone. So this program defines `recvmsg`, `close` and
// OpenSSL's `SSL_read` itself: the dynamic linker binds gRPC's calls to these, which do what the
// real ones do, and tell who watches the socket. What is not watched pays for one look into a
// table.
//
// The alternative, a relay between each client and gRPC, would take two more descriptors a
// connection, copy every byte twice and wake one more thread for each call.
class WatchedSocket {
 public:
  // What was read of it, as it came over the wire. False to hide it from the reader, who then sees
  // the connection's end. On the reader's thread.
  virtual bool Received(const msghdr& message, size_t bytes) = 0;
  // It is about to be closed, and not watched any more. May delete itself. On any thread, which may
  // hold locks of gRPC's: to be quick.
  virtual void Closing() = 0;

 protected:
  ~WatchedSocket() = default;
};

// Descriptors from here on cannot be watched.
inline constexpr int kMaxWatchedFd = 1 << 20;

// REQUIRES: `fd` is open, below kMaxWatchedFd, and not watched.
void WatchSocket(int fd, WatchedSocket* watcher);

// What the servers of this process read over TLS goes through a FrameGuard for each connection;
// what one of them ends is told here, with its sentence. Thread-safe; null for nobody.
void OnTlsConnectionCutOff(void (*told)(const char* why));

}  // namespace postrider
