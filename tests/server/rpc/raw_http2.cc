#include "tests/server/rpc/raw_http2.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>

namespace postrider {
namespace {

constexpr int kPatienceSeconds = 60;

// A literal without indexing and without Huffman's code.
std::string Field(std::string_view name, std::string_view value) {
  const auto string = [](std::string_view text) {
    std::string coded;
    if (text.size() < 127) {
      coded += static_cast<char>(text.size());
    } else {
      coded += '\x7f';
      size_t rest = text.size() - 127;
      for (; rest >= 128; rest /= 128) coded += static_cast<char>(rest % 128 + 128);
      coded += static_cast<char>(rest);
    }
    return coded.append(text);
  };
  return std::string(1, '\0') + string(name) + string(value);
}

}  // namespace

struct RawHttp2::Impl {
  ssize_t Read(char* buffer, size_t size) const {
    return ssl == nullptr ? recv(fd, buffer, size, 0)
                          : SSL_read(ssl, buffer, static_cast<int>(size));
  }
  ssize_t Write(std::string_view bytes) const {
    return ssl == nullptr ? send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL)
                          : SSL_write(ssl, bytes.data(), static_cast<int>(bytes.size()));
  }

  int fd = -1;
  bool connected = false;
  SSL_CTX* context = nullptr;
  SSL* ssl = nullptr;
  std::string seen;
};

RawHttp2::RawHttp2(int port, const std::string& tls_ca, const char* from,
                   const std::string& protocol)
    : impl_(std::make_unique<Impl>()) {
  impl_->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{kPatienceSeconds, 0};
  setsockopt(impl_->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(impl_->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  sockaddr_in source{};
  source.sin_family = AF_INET;
  inet_pton(AF_INET, from, &source.sin_addr);
  bind(impl_->fd, reinterpret_cast<sockaddr*>(&source), sizeof(source));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  impl_->connected =
      connect(impl_->fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  if (!impl_->connected || tls_ca.empty()) return;
  // OpenSSL writes without MSG_NOSIGNAL.
  signal(SIGPIPE, SIG_IGN);
  impl_->context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_load_verify_file(impl_->context, tls_ca.c_str());
  impl_->ssl = SSL_new(impl_->context);
  const std::string offered = static_cast<char>(protocol.size()) + protocol;
  SSL_set_alpn_protos(impl_->ssl, reinterpret_cast<const unsigned char*>(offered.data()),
                      static_cast<unsigned>(offered.size()));
  SSL_set_fd(impl_->ssl, impl_->fd);
  impl_->connected = SSL_connect(impl_->ssl) == 1;
}

RawHttp2::~RawHttp2() {
  SSL_free(impl_->ssl);
  SSL_CTX_free(impl_->context);
  close(impl_->fd);
}

bool RawHttp2::connected() const { return impl_->connected; }

bool RawHttp2::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = impl_->Write(bytes);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawHttp2::Greet() {
  return Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, ""));
}

bool RawHttp2::WaitForEnd() {
  char buffer[4096];
  ssize_t got = 0;
  do {
    got = impl_->Read(buffer, sizeof(buffer));
  } while (got > 0);
  // A reset is an end, too, and a time-out is none.
  return impl_->ssl != nullptr || got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

bool RawHttp2::WaitForBytes(std::string_view text) {
  char buffer[4096];
  while (impl_->seen.find(text) == std::string::npos) {
    const ssize_t got = impl_->Read(buffer, sizeof(buffer));
    if (got <= 0) return false;
    impl_->seen.append(buffer, static_cast<size_t>(got));
  }
  return true;
}

std::string RawHttp2::Frame(Type type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame += static_cast<char>(payload.size() >> shift & 0xFF);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) frame += static_cast<char>(stream >> shift & 0xFF);
  return frame.append(payload);
}

std::string RawHttp2::CallHeader(std::string_view path, std::string_view name,
                                 std::string_view value) {
  std::string block = Field(":method", "POST") + Field(":scheme", "http") + Field(":path", path) +
                      Field(":authority", "localhost") + Field("te", "trailers") +
                      Field("content-type", "application/grpc");
  if (!name.empty()) block += Field(name, value);
  return block;
}

std::string RawHttp2::Message(std::string_view bytes, bool compressed) {
  std::string message(1, compressed ? '\1' : '\0');
  for (const int shift : {24, 16, 8, 0}) message += static_cast<char>(bytes.size() >> shift & 0xFF);
  return message.append(bytes);
}

}  // namespace postrider
