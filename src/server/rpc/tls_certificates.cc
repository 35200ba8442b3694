#include "src/server/rpc/tls_certificates.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpcpp/security/server_credentials.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "src/server/config/read_file.h"

namespace postrider {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Handle = std::unique_ptr<T, Free>;

// OpenSSL's own would ask on the terminal.
int NoPassphrase(char* /*buffer*/, int /*size*/, int /*writes*/, void* /*context*/) { return 0; }

Handle<BIO> Over(const std::string& pem) {
  return Handle<BIO>(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

Handle<X509> FirstCertificate(const std::string& pem) {
  const Handle<BIO> bio = Over(pem);
  Handle<X509> certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  return certificate;
}

Handle<EVP_PKEY> Key(const std::string& pem) {
  const Handle<BIO> bio = Over(pem);
  Handle<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  return key;
}

absl::Status Wrong(const std::string& flag, const std::string& file, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", file, what));
}

}  // namespace

// gRPC's C++ side has only such as never change. Its C side asks for a new configuration at each
// handshake.
class TlsCertificates::Credentials final : public grpc::ServerCredentials {
 public:
  Credentials(Given* given, bool ask_client)
      : credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                ask_client ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                           : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
                Fetch, given))) {}
  ~Credentials() override { grpc_server_credentials_release(credentials_); }
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* user_data, grpc_ssl_server_certificate_config** config) {
    auto* given = static_cast<Given*>(user_data);
    *config = given->owner->NewFor(given);
    return *config == nullptr ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED
                              : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  grpc_server_credentials* const credentials_;
};

absl::StatusOr<TlsCertificates::Contents> TlsCertificates::Read(const Files& files) {
  Contents contents;
  const std::pair<const char*, std::pair<const std::string*, std::string*>> all[] = {
      {"--tls-cert", {&files.cert, &contents.cert}},
      {"--tls-key", {&files.key, &contents.key}},
      {"--tls-client-ca", {&files.client_ca, &contents.client_ca}}};
  for (const auto& [flag, file] : all) {
    if (file.first->empty()) continue;
    absl::StatusOr<std::string> content = ReadSmallFile(*file.first);
    if (!content.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": ", std::string(content.status().message())));
    }
    *file.second = *std::move(content);
  }
  const Handle<X509> certificate = FirstCertificate(contents.cert);
  if (certificate == nullptr) {
    return Wrong("--tls-cert", files.cert, " holds no certificate: it must be a PEM file");
  }
  const Handle<EVP_PKEY> key = Key(contents.key);
  if (key == nullptr) {
    return Wrong("--tls-key", files.key,
                 " holds no private key: it must be a PEM file without a passphrase");
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return Wrong("--tls-cert", files.cert,
                 absl::StrCat(" and --tls-key ", files.key,
                              " do not belong together: see that both were renewed"));
  }
  if (!files.client_ca.empty() && FirstCertificate(contents.client_ca) == nullptr) {
    return Wrong("--tls-client-ca", files.client_ca,
                 " holds no certificate: it must be a PEM file");
  }
  return contents;
}

absl::StatusOr<std::unique_ptr<TlsCertificates>> TlsCertificates::Load(const Files& files) {
  absl::StatusOr<Contents> contents = Read(files);
  if (!contents.ok()) return contents.status();
  return std::unique_ptr<TlsCertificates>(new TlsCertificates(files, *std::move(contents)));
}

TlsCertificates::TlsCertificates(const Files& files, Contents contents)
    : files_(files), contents_(std::move(contents)) {}
TlsCertificates::~TlsCertificates() = default;

absl::Status TlsCertificates::Reload() {
  absl::StatusOr<Contents> contents = Read(files_);
  if (!contents.ok()) return contents.status();
  MutexLock lock(&mutex_);
  contents_ = *std::move(contents);
  ++version_;
  return absl::OkStatus();
}

grpc_ssl_server_certificate_config* TlsCertificates::NewFor(Given* given) {
  MutexLock lock(&mutex_);
  if (given->version == version_) return nullptr;
  given->version = version_;
  const grpc_ssl_pem_key_cert_pair pair = {contents_.key.c_str(), contents_.cert.c_str()};
  // gRPC wants authorities even where no client is asked for a certificate, and does not use them.
  const std::string& authorities = files_.client_ca.empty() ? contents_.cert : contents_.client_ca;
  return grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
}

std::shared_ptr<grpc::ServerCredentials> TlsCertificates::MakeCredentials() {
  Given* given = nullptr;
  {
    MutexLock lock(&mutex_);
    given_.push_back({this});
    given = &given_.back();
  }
  return std::make_shared<Credentials>(given, !files_.client_ca.empty());
}

}  // namespace postrider
