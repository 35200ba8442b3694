#include "tests/server/rpc/test_certificates.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

namespace postrider {
namespace {

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Certificate = std::unique_ptr<X509, Free>;

struct Identity {
  Key key;
  Certificate certificate;
};

void Require(bool ok) {
  if (!ok) std::abort();
}

void AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  Require(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Signed by the issuer; by itself, and fit to sign others, when there is none.
Identity Make(const char* name, const Identity* issuer) {
  Identity made;
  made.key.reset(EVP_EC_gen("P-256"));
  made.certificate.reset(X509_new());
  X509* certificate = made.certificate.get();
  Require(made.key != nullptr && certificate != nullptr);
  static long serial = 0;
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
  X509_NAME* subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509* issuing = issuer == nullptr ? certificate : issuer->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(issuing));
  X509_set_pubkey(certificate, made.key.get());
  AddExtension(certificate, issuing, NID_basic_constraints,
               issuer == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
  if (issuer != nullptr) {
    AddExtension(certificate, issuing, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  }
  EVP_PKEY* signer = issuer == nullptr ? made.key.get() : issuer->key.get();
  Require(X509_sign(certificate, signer, EVP_sha256()) > 0);
  return made;
}

std::string Content(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string Pem(X509* certificate) {
  const std::unique_ptr<BIO, Free> bio(BIO_new(BIO_s_mem()));
  Require(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return Content(bio.get());
}

std::string Pem(EVP_PKEY* key) {
  const std::unique_ptr<BIO, Free> bio(BIO_new(BIO_s_mem()));
  Require(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return Content(bio.get());
}

}  // namespace

TestCertificates::TestCertificates() {
  const Identity ca = Make("authority", nullptr);
  const Identity server = Make("server", &ca);
  const Identity client = Make("client", &ca);
  const Identity other_ca = Make("another authority", nullptr);
  const Identity other = Make("another client", &other_ca);
  ca_ = File("ca.pem", Pem(ca.certificate.get()));
  server_cert_ = File("server.pem", Pem(server.certificate.get()));
  server_key_ = File("server.key", Pem(server.key.get()));
  client_cert_ = File("client.pem", Pem(client.certificate.get()));
  client_key_ = File("client.key", Pem(client.key.get()));
  other_ca_ = File("other_ca.pem", Pem(other_ca.certificate.get()));
  other_cert_ = File("other.pem", Pem(other.certificate.get()));
  other_key_ = File("other.key", Pem(other.key.get()));
}

std::string TestCertificates::File(const std::string& name, const std::string& content) const {
  std::string path = directory_.File(name);
  std::ofstream file(path);
  file << content;
  file.close();
  Require(file.good());
  return path;
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

}  // namespace postrider
