#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/mutex.h"

namespace grpc {
class ServerCredentials;
}
struct grpc_ssl_server_certificate_config;

namespace postrider {

// gRPC's certificate, its key, and the authority of its clients, as files that may be renewed: what
// Reload finds holds for every handshake from then on, and connections that are open stay. Files
// that cannot be used change nothing.
//
// Thread-safe. Must outlive the servers that its credentials were given to.
class TlsCertificates {
 public:
  struct Files {
    std::string cert;
    std::string key;
    // Empty: clients are not asked for a certificate.
    std::string client_ca;
  };

  // INVALID_ARGUMENT names the flag and its file, and says what is wrong.
  static absl::StatusOr<std::unique_ptr<TlsCertificates>> Load(const Files& files);
  ~TlsCertificates();

  // Reads the files again.
  absl::Status Reload();

  // For one listener; each call makes new ones.
  std::shared_ptr<grpc::ServerCredentials> MakeCredentials();

 private:
  struct Contents {
    std::string cert;
    std::string key;
    std::string client_ca;
  };
  // What one listener has been given so far.
  struct Given {
    TlsCertificates* owner;
    uint64_t version = 0;
  };
  class Credentials;

  TlsCertificates(const Files& files, Contents contents);
  static absl::StatusOr<Contents> Read(const Files& files);
  // Nothing when the listener has what there is. The caller owns it.
  grpc_ssl_server_certificate_config* NewFor(Given* given);

  const Files files_;

  Mutex mutex_;
  Contents contents_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 1;
  // Each is referred to by its listener.
  std::list<Given> given_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postrider
