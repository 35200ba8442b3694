#pragma once

#include <memory>
#include <string>

namespace postrider {

// An HTTPS server on 127.0.0.1 that answers every POST with 200, and shows a certificate that it
// signed itself. Owned by one thread.
class TlsServer {
 public:
  // The name of a host, or an IPv4 address, that the certificate is for.
  explicit TlsServer(const std::string& certified);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  int port() const;
  // In PEM: who trusts it as an authority trusts the server.
  const std::string& certificate() const;
  // How many requests came.
  int request_count() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
