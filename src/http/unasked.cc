#include "src/http/unasked.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace postrider {
namespace {

// Of TLS's own, such as tickets, that are taken in before one looks elsewhere.
constexpr int kMostMessages = 16;

[[noreturn]] void Die(const char* what, int fd) {
  std::fprintf(stderr, "unasked: %s of %d: %s\n", what, fd, std::strerror(errno));
  std::abort();
}

Unasked LookAtSocket(int fd) {
  char byte;
  const ssize_t count = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (count > 0) return Unasked::kBytes;
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    return Unasked::kNothing;
  }
  return Unasked::kEnd;
}

// While it lives, OpenSSL reads from the socket itself. libcurl's own BIO, and its callback for
// sessions (in 8.14 without asking), use a transfer that is known only within libcurl's calls.
class DirectReading {
 public:
  DirectReading(int fd, SSL* tls)
      : tls_(tls), context_(SSL_get_SSL_CTX(tls)), on_session_(SSL_CTX_sess_get_new_cb(context_)) {
    BIO* const direct = BIO_new_socket(fd, BIO_NOCLOSE);
    if (direct == nullptr) std::abort();  // out of memory
    BIO_up_ref(SSL_get_rbio(tls));
    BIO_up_ref(SSL_get_wbio(tls));
    reads_ = SSL_get_rbio(tls);
    writes_ = SSL_get_wbio(tls);
    BIO_up_ref(direct);
    SSL_set0_rbio(tls, direct);
    SSL_set0_wbio(tls, direct);
    SSL_CTX_sess_set_new_cb(context_, nullptr);
    // Else one call would read on for as long as tickets come.
    SSL_clear_mode(tls, SSL_MODE_AUTO_RETRY);
  }
  ~DirectReading() {
    if (retries_) SSL_set_mode(tls_, SSL_MODE_AUTO_RETRY);
    SSL_CTX_sess_set_new_cb(context_, on_session_);
    SSL_set0_rbio(tls_, reads_);
    SSL_set0_wbio(tls_, writes_);
  }
  DirectReading(const DirectReading&) = delete;
  DirectReading& operator=(const DirectReading&) = delete;

 private:
  SSL* const tls_;
  SSL_CTX* const context_;
  int (*const on_session_)(SSL*, SSL_SESSION*);
  const bool retries_ = (SSL_get_mode(tls_) & SSL_MODE_AUTO_RETRY) != 0;
  BIO* reads_ = nullptr;
  BIO* writes_ = nullptr;
};

Unasked LookIntoTls(int fd, SSL* tls, std::string* alert) {
  ERR_clear_error();
  const DirectReading direct(fd, tls);
  for (int i = 0; i < kMostMessages; ++i) {
    char byte;
    const int count = SSL_peek(tls, &byte, 1);
    if (count > 0) return Unasked::kBytes;
    const int why = SSL_get_error(tls, count);
    if (why != SSL_ERROR_WANT_READ) {
      const char* const reason =
          why == SSL_ERROR_SSL ? ERR_reason_error_string(ERR_peek_error()) : nullptr;
      if (reason != nullptr) *alert = reason;
      ERR_clear_error();
      return Unasked::kEnd;
    }
    // The beginning of another handshake (TLS 1.2) is not clean.
    if (SSL_is_init_finished(tls) != 1) return Unasked::kBytes;
    // Nor is a part of a message, which stays pending.
    if (SSL_has_pending(tls) == 0 && LookAtSocket(fd) == Unasked::kNothing) {
      return Unasked::kNothing;
    }
  }
  return Unasked::kBytes;
}

}  // namespace

Unasked LookForUnasked(int fd, SSL* tls, std::string* alert) {
  if (tls != nullptr && SSL_has_pending(tls) == 1) return Unasked::kBytes;
  const Unasked found = LookAtSocket(fd);
  if (tls == nullptr || found != Unasked::kBytes) return found;
  return LookIntoTls(fd, tls, alert);
}

uint64_t CountUnacknowledged(int fd) {
  int unacknowledged = 0;
  if (ioctl(fd, SIOCOUTQ, &unacknowledged) != 0) Die("SIOCOUTQ", fd);
  return static_cast<uint64_t>(unacknowledged);
}

uint64_t CountAcknowledged(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) Die("TCP_INFO", fd);
  return info.tcpi_bytes_acked;
}

}  // namespace postrider
