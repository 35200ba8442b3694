#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "src/base/random.h"
#include "src/outbox/types.h"

struct evp_mac_ctx_st;

// Signatures of Standard Webhooks 1.0.0, scheme v1: HMAC-SHA256 over `id.timestamp.body`. A secret
// is shown as `whsec_` and the base64 of its key; inside it is the key, raw bytes.

namespace postrider {

inline constexpr size_t kMinSecretBytes = 24;
inline constexpr size_t kMaxSecretBytes = 64;

// The key of a secret as it is shown. INVALID_ARGUMENT that says what is wrong, and not what the
// secret is.
absl::StatusOr<std::string> ParseSecret(std::string_view secret);
std::string FormatSecret(const std::string& key);

// A new key of 32 bytes. REQUIRES: `random` is fit for secrets.
std::string NewSecretKey(Random& random);

// Signs the requests of one webhook. The keys are hashed once, when it is made, so that a signature
// costs little more than hashing the body.
//
// Owned by one thread, since signing uses the contexts it keeps.
class Signer {
 public:
  // REQUIRES: no key is empty.
  explicit Signer(const std::vector<SigningSecret>& secrets);
  ~Signer();
  Signer(Signer&&) noexcept;
  Signer& operator=(Signer&&) noexcept;

  // The value of webhook-signature: a signature for each secret that has not expired at `time`, in
  // their order, with spaces between. Empty when there is none. The signed timestamp is `time` in
  // whole seconds, rounded down.
  std::string Sign(std::string_view id, absl::Time time, std::string_view body);

 private:
  struct Key {
    evp_mac_ctx_st* context;
    absl::Time expires;
  };

  void Free();

  std::vector<Key> keys_;
};

// What a request carried in the headers webhook-id, webhook-timestamp and webhook-signature.
struct SignatureHeaders {
  std::string id;
  std::string timestamp;
  std::string signature;
};

// Checks a request as a receiver does: OK when one of the v1 signatures is the key's and the
// timestamp is within `tolerance` of `now`. Otherwise UNAUTHENTICATED with a sentence that says
// why. Takes the same time wherever a signature differs.
absl::Status VerifySignature(const std::string& key, const SignatureHeaders& headers,
                             std::string_view body, absl::Time now,
                             absl::Duration tolerance = absl::Minutes(5));

}  // namespace postrider
