#include "tests/http/scripted_receiver.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "src/base/mutex.h"

namespace postrider {
namespace {

void Require(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "ScriptedReceiver: %s failed\n", what);
  std::abort();
}

size_t ContentLength(absl::string_view head) {
  const std::string lower = absl::AsciiStrToLower(head);
  const size_t at = lower.find("content-length:");
  size_t length = 0;
  if (at == std::string::npos) return 0;
  const absl::string_view rest = absl::string_view(lower).substr(at + strlen("content-length:"));
  Require(absl::SimpleAtoi(rest.substr(0, rest.find('\r')), &length), "a Content-Length");
  return length;
}

// Takes nothing but what the client must offer.
int SelectHttp2(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned int in_size, void*) {
  static const unsigned char kOnly[] = {2, 'h', '2'};
  unsigned char* selected = nullptr;
  const int found = SSL_select_next_proto(&selected, out_size, kOnly, sizeof kOnly, in, in_size);
  *out = selected;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// The kernel drops segments with data, as if they were lost on the way. What is accepted by a
// listener with it has it, too.
void AttachFilter(int fd) {
  constexpr uint16_t kNext = 0;
  sock_filter code[] = {
      // The length of the TCP header.
      {BPF_LD | BPF_B | BPF_ABS, kNext, kNext, 12},
      {BPF_ALU | BPF_RSH | BPF_K, kNext, kNext, 4},
      {BPF_ALU | BPF_LSH | BPF_K, kNext, kNext, 2},
      {BPF_MISC | BPF_TAX, kNext, kNext, 0},
      // Is there more than it?
      {BPF_LD | BPF_W | BPF_LEN, kNext, kNext, 0},
      {BPF_JMP | BPF_JEQ | BPF_X, 0, 1, 0},
      {BPF_RET | BPF_K, kNext, kNext, UINT32_MAX},
      {BPF_RET | BPF_K, kNext, kNext, 0},
  };
  const sock_fprog program{std::size(code), code};
  Require(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0,
          "SO_ATTACH_FILTER");
}

SSL_CTX* NewContext(const ScriptedReceiver::Tls& tls) {
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  Require(context != nullptr, "SSL_CTX_new");
  Require(SSL_CTX_use_certificate(context, tls.certificate->x509()) == 1, "the certificate");
  Require(SSL_CTX_use_PrivateKey(context, tls.certificate->key()) == 1, "the key");
  SSL_CTX_set_min_proto_version(context, tls.version);
  SSL_CTX_set_max_proto_version(context, tls.version);
  static const unsigned char kId[] = "scripted";
  SSL_CTX_set_session_id_context(context, kId, sizeof kId);
  if (tls.wants_client_certificate) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  if (tls.asks_for_client_certificate) SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (tls.http2_only) SSL_CTX_set_alpn_select_cb(context, SelectHttp2, nullptr);
  return context;
}

}  // namespace

std::string ScriptedReceiver::Connection::ReadSome() {
  char buffer[4096];
  const auto count = tls_ != nullptr ? SSL_read(tls_, buffer, sizeof buffer)
                                     : recv(fd_, buffer, sizeof buffer, 0);
  return count > 0 ? std::string(buffer, static_cast<size_t>(count)) : "";
}

std::optional<std::string> ScriptedReceiver::Connection::ReadRequest() {
  size_t end = std::string::npos;
  size_t size = 0;
  while (end == std::string::npos || input_.size() < size) {
    const std::string more = ReadSome();
    if (more.empty()) return std::nullopt;
    input_ += more;
    end = input_.find("\r\n\r\n");
    if (end != std::string::npos) size = end + 4 + ContentLength(input_.substr(0, end + 2));
  }
  std::string request = input_.substr(0, size);
  input_.erase(0, size);
  return request;
}

void ScriptedReceiver::Connection::Write(std::string_view bytes) {
  if (tls_ == nullptr) {
    WriteBelowTls(bytes);
  } else if (!bytes.empty()) {
    SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size()));
  }
}

void ScriptedReceiver::Connection::WriteBelowTls(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void ScriptedReceiver::Connection::WriteTicket() {
  Require(SSL_new_session_ticket(tls_) == 1 && SSL_do_handshake(tls_) == 1, "a ticket");
}

void ScriptedReceiver::Connection::Shutdown() {
  if (tls_ != nullptr) SSL_shutdown(tls_);
  shutdown(fd_, SHUT_WR);
}

void ScriptedReceiver::Connection::Reset() {
  // A connect to nowhere breaks off what there was.
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  Require(connect(fd_, &nowhere, sizeof nowhere) == 0, "the reset");
}

void ScriptedReceiver::Connection::DropData() { AttachFilter(fd_); }

class ScriptedReceiver::Impl {
 public:
  Impl(Script script, const Tls& tls, bool drops_data) : script_(std::move(script)) {
    // Of OpenSSL's writes.
    signal(SIGPIPE, SIG_IGN);
    if (tls.certificate != nullptr) context_ = NewContext(tls);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    Require(bind(listener_, generic, size) == 0 && listen(listener_, 64) == 0 &&
                getsockname(listener_, generic, &size) == 0,
            "listen");
    if (drops_data) AttachFilter(listener_);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }

  ~Impl() {
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      MutexLock lock(&mutex_);
      for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    close(listener_);
    SSL_CTX_free(context_);
  }

  int port() const { return port_; }
  bool https() const { return context_ != nullptr; }
  int accepted() const {
    MutexLock lock(&mutex_);
    return accepted_;
  }

 private:
  void Accept() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      // Each write is a segment.
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      MutexLock lock(&mutex_);
      open_.insert(fd);
      threads_.emplace_back([this, fd, number = accepted_++] { Serve(fd, number); });
    }
  }

  void Serve(int fd, int number) {
    SSL* tls = nullptr;
    bool ready = true;
    if (context_ != nullptr) {
      tls = SSL_new(context_);
      SSL_set_fd(tls, fd);
      ready = SSL_accept(tls) == 1;
    }
    Connection connection(fd, tls, number);
    if (ready) script_(connection);
    SSL_free(tls);
    MutexLock lock(&mutex_);
    open_.erase(fd);
    close(fd);
  }

  const Script script_;
  SSL_CTX* context_ = nullptr;
  int listener_ = -1;
  int port_ = 0;
  std::thread acceptor_;
  // Of the acceptor, until it has ended.
  std::vector<std::thread> threads_;
  mutable Mutex mutex_;
  std::set<int> open_ ABSL_GUARDED_BY(mutex_);
  int accepted_ ABSL_GUARDED_BY(mutex_) = 0;
};

ScriptedReceiver::ScriptedReceiver(Script script) : ScriptedReceiver(std::move(script), Tls()) {}
ScriptedReceiver::ScriptedReceiver(Script script, const Tls& tls)
    : impl_(std::make_unique<Impl>(std::move(script), tls, false)) {}
ScriptedReceiver::ScriptedReceiver(Script script, DropsData)
    : impl_(std::make_unique<Impl>(std::move(script), Tls(), true)) {}
ScriptedReceiver::~ScriptedReceiver() = default;

int ScriptedReceiver::port() const { return impl_->port(); }
std::string ScriptedReceiver::Url() const {
  return absl::StrCat(impl_->https() ? "https" : "http", "://127.0.0.1:", impl_->port(), "/hook");
}
int ScriptedReceiver::connection_count() const { return impl_->accepted(); }

}  // namespace postrider
