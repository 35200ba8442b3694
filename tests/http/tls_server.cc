#include "tests/http/tls_server.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace postrider {
namespace {

struct Deleter {
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};

void Require(bool done, const char* what) {
  if (done) return;
  std::fprintf(stderr, "TlsServer: %s failed\n", what);
  std::abort();
}

void AddExtension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Deleter> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  Require(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1,
          "X509_add_ext");
}

std::unique_ptr<X509, Deleter> MakeCertificate(const std::string& certified, EVP_PKEY* key) {
  std::unique_ptr<X509, Deleter> certificate(X509_new());
  X509* const x509 = certificate.get();
  Require(x509 != nullptr, "X509_new");
  X509_set_version(x509, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
  // From an hour ago, for clocks that are set meanwhile.
  X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x509), 24 * 3600);
  X509_set_pubkey(x509, key);
  X509_NAME* const name = X509_get_subject_name(x509);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(certified.c_str()), -1, -1, 0);
  X509_set_issuer_name(x509, name);
  in_addr ignored;
  const bool is_address = inet_pton(AF_INET, certified.c_str(), &ignored) == 1;
  AddExtension(x509, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(x509, NID_subject_alt_name, (is_address ? "IP:" : "DNS:") + certified);
  Require(X509_sign(x509, key, EVP_sha256()) != 0, "X509_sign");
  return certificate;
}

std::string Pem(X509* certificate) {
  const std::unique_ptr<BIO, Deleter> bio(BIO_new(BIO_s_mem()));
  Require(bio != nullptr && PEM_write_bio_X509(bio.get(), certificate) == 1, "PEM_write_bio_X509");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace

struct TlsServer::Impl {
  explicit Impl(const std::string& certified)
      : key(EVP_EC_gen("P-256")),
        x509(MakeCertificate(certified, key.get())),
        certificate(Pem(x509.get())),
        server(x509.get(), key.get()) {}

  const std::unique_ptr<EVP_PKEY, Deleter> key;
  const std::unique_ptr<X509, Deleter> x509;
  const std::string certificate;
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
  Require(impl_->port > 0, "bind");
  impl_->thread = std::thread([this] { impl_->server.listen_after_bind(); });
  // A stop before this would be lost.
  while (!server.is_running()) std::this_thread::yield();
}

TlsServer::~TlsServer() {
  impl_->server.stop();
  impl_->thread.join();
}

int TlsServer::port() const { return impl_->port; }
const std::string& TlsServer::certificate() const { return impl_->certificate; }
int TlsServer::request_count() const { return impl_->requests; }

}  // namespace postrider
