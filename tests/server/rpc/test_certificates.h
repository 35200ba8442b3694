#pragma once

#include <string>

#include "tests/support/scratch_dir.h"

namespace postrider {

// Certificates made for one test, as PEM files in a directory that goes with it: an authority, and
// what it has signed: a server's certificate, good for 127.0.0.1 and localhost, and a client's. And
// another authority, with a client's certificate of its own.
class TestCertificates {
 public:
  TestCertificates();

  const std::string& ca() const { return ca_; }
  const std::string& server_cert() const { return server_cert_; }
  const std::string& server_key() const { return server_key_; }
  const std::string& client_cert() const { return client_cert_; }
  const std::string& client_key() const { return client_key_; }
  const std::string& other_ca() const { return other_ca_; }
  const std::string& other_cert() const { return other_cert_; }
  const std::string& other_key() const { return other_key_; }

  // The path of a new file with this content.
  std::string File(const std::string& name, const std::string& content) const;

 private:
  ScratchDir directory_;
  std::string ca_;
  std::string server_cert_;
  std::string server_key_;
  std::string client_cert_;
  std::string client_key_;
  std::string other_ca_;
  std::string other_cert_;
  std::string other_key_;
};

// The whole of the file.
std::string ReadWholeFile(const std::string& path);

}  // namespace postrider
