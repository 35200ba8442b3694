#pragma once

#include <openssl/types.h>

#include <memory>
#include <string>

namespace postrider {

// A certificate that signed itself, with its key; it aborts when it cannot be made. Immutable.
class Certificate {
 public:
  // The name of a host, or an IPv4 address, that it is for.
  explicit Certificate(const std::string& certified);
  ~Certificate();
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  X509* x509() const;
  EVP_PKEY* key() const;
  // In PEM: who trusts it as an authority trusts it.
  const std::string& pem() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace postrider
