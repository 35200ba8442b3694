#include "src/cli/server_probe.h"

#include <netdb.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <memory>
#include <string_view>

namespace postrider {
namespace {

constexpr int kTimeoutSeconds = 2;

// A connection, or -1. What waits on it gives up after the timeout.
int Connect(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return -1;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    const timeval timeout{kTimeoutSeconds, 0};
    // Linux takes the time to connect from the time to send.
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(fd, one->ai_addr, one->ai_addrlen) == 0) return fd;
    close(fd);
  }
  return -1;
}

// Server Hello or an alert: whoever sends either speaks TLS.
bool SpeaksTls(int fd) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  SSL_CTX_free);
  if (context == nullptr) return false;
  // Only a look: nothing is sent to it.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  constexpr unsigned char kH2[] = "\x02h2";
  if (ssl == nullptr || SSL_set_alpn_protos(ssl.get(), kH2, sizeof kH2 - 1) != 0 ||
      SSL_set_fd(ssl.get(), fd) != 1) {
    return false;
  }
  return SSL_connect(ssl.get()) == 1;
}

// The server's first frame is SETTINGS (RFC 9113, 3.4).
bool SpeaksHttp2(int fd) {
  constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 33);
  if (send(fd, kPreface.data(), kPreface.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(kPreface.size())) {
    return false;
  }
  unsigned char frame[9];
  return recv(fd, frame, sizeof frame, MSG_WAITALL) == sizeof frame && frame[3] == 4;
}

Answerer Probe(const std::string& host, int port) {
  int fd = Connect(host, port);
  if (fd < 0) return Answerer::kNobody;
  const bool tls = SpeaksTls(fd);
  close(fd);
  if (tls) return Answerer::kTls;
  fd = Connect(host, port);
  if (fd < 0) return Answerer::kNobody;
  const bool plain = SpeaksHttp2(fd);
  close(fd);
  return plain ? Answerer::kPlain : Answerer::kUnknown;
}

}  // namespace

Answerer ProbeServer(const std::string& host, int port) {
  // OpenSSL writes to a connection that the other side may have closed.
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &before);
  const Answerer answerer = Probe(host, port);
  sigaction(SIGPIPE, &before, nullptr);
  return answerer;
}

}  // namespace postrider
