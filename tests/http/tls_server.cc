#include "tests/http/tls_server.h"

#include <httplib.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "tests/http/certificate.h"

namespace postrider {

struct TlsServer::Impl {
  explicit Impl(const std::string& certified)
      : certificate(certified), server(certificate.x509(), certificate.key()) {}

  const Certificate certificate;
  httplib::SSLServer server;
  std::atomic<int> requests{0};
  std::thread thread;
  int port = 0;
};

TlsServer::TlsServer(const std::string& certified) : impl_(std::make_unique<Impl>(certified)) {
  httplib::SSLServer& server = impl_->server;
  // A stop waits for connections that are kept alive.
  server.set_keep_alive_max_count(1);
  server.Post(".*", [this](const httplib::Request&, httplib::Response& answer) {
    ++impl_->requests;
    answer.status = 200;
  });
  impl_->port = server.bind_to_any_port("127.0.0.1");
  if (impl_->port <= 0) {
    std::fprintf(stderr, "TlsServer: bind failed\n");
    std::abort();
  }
  impl_->thread = std::thread([this] { impl_->server.listen_after_bind(); });
  // A stop before this would be lost.
  while (!server.is_running()) std::this_thread::yield();
}

TlsServer::~TlsServer() {
  impl_->server.stop();
  impl_->thread.join();
}

int TlsServer::port() const { return impl_->port; }
const std::string& TlsServer::certificate() const { return impl_->certificate.pem(); }
int TlsServer::request_count() const { return impl_->requests; }

}  // namespace postrider
