#include "tests/http/certificate.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>

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
  std::fprintf(stderr, "a certificate: %s failed\n", what);
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

struct Certificate::Impl {
  explicit Impl(const std::string& certified)
      : key(EVP_EC_gen("P-256")),
        x509(MakeCertificate(certified, key.get())),
        pem(Pem(x509.get())) {}

  const std::unique_ptr<EVP_PKEY, Deleter> key;
  const std::unique_ptr<X509, Deleter> x509;
  const std::string pem;
};

Certificate::Certificate(const std::string& certified) : impl_(std::make_unique<Impl>(certified)) {}
Certificate::~Certificate() = default;

X509* Certificate::x509() const { return impl_->x509.get(); }
EVP_PKEY* Certificate::key() const { return impl_->key.get(); }
const std::string& Certificate::pem() const { return impl_->pem; }

}  // namespace postrider
