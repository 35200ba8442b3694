#include "src/message/signing.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

constexpr std::string_view kSecretPrefix = "whsec_";
constexpr std::string_view kVersionPrefix = "v1,";
constexpr size_t kDigestBytes = 32;

// HMAC-SHA256 fails only when memory is short or OpenSSL is broken: neither can be served around.
void Check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "OpenSSL cannot sign: %s failed\n", what);
  std::abort();
}

EVP_MAC_CTX* NewContext(const std::string& key) {
  static EVP_MAC* const hmac = EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr);
  Check(hmac != nullptr, "EVP_MAC_fetch");
  EVP_MAC_CTX* const context = EVP_MAC_CTX_new(hmac);
  Check(context != nullptr, "EVP_MAC_CTX_new");
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end(),
  };
  // An empty key would mean "the key as before" to EVP_MAC_init.
  Check(!key.empty(), "an empty key");
  Check(EVP_MAC_init(context, reinterpret_cast<const unsigned char*>(key.data()), key.size(),
                     params) == 1,
        "EVP_MAC_init");
  return context;
}

void Update(EVP_MAC_CTX* context, std::string_view data) {
  Check(EVP_MAC_update(context, reinterpret_cast<const unsigned char*>(data.data()), data.size()) ==
            1,
        "EVP_MAC_update");
}

// `head` is `id.timestamp.`.
std::string Digest(EVP_MAC_CTX* context, std::string_view head, std::string_view body) {
  // Without a key it starts again with the one it has, whose hash it keeps.
  Check(EVP_MAC_init(context, nullptr, 0, nullptr) == 1, "EVP_MAC_init");
  Update(context, head);
  Update(context, body);
  std::string digest(kDigestBytes, '\0');
  size_t size = 0;
  Check(EVP_MAC_final(context, reinterpret_cast<unsigned char*>(digest.data()), &size,
                      digest.size()) == 1 &&
            size == kDigestBytes,
        "EVP_MAC_final");
  return digest;
}

std::string Head(std::string_view id, std::string_view timestamp) {
  std::string head;
  head.reserve(id.size() + timestamp.size() + 2);
  return head.append(id).append(".").append(timestamp).append(".");
}

}  // namespace

absl::StatusOr<std::string> ParseSecret(std::string_view secret) {
  if (secret.substr(0, kSecretPrefix.size()) != kSecretPrefix) {
    return absl::InvalidArgumentError("a signing secret begins with whsec_");
  }
  std::string key;
  if (!absl::Base64Unescape(std::string(secret.substr(kSecretPrefix.size())), &key)) {
    return absl::InvalidArgumentError("a signing secret is whsec_ and base64");
  }
  if (key.size() < kMinSecretBytes || key.size() > kMaxSecretBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a signing secret has ", kMinSecretBytes, " to ",
                                                   kMaxSecretBytes, " bytes, this one has ",
                                                   key.size()));
  }
  return key;
}

std::string FormatSecret(const std::string& key) {
  return std::string(kSecretPrefix) + absl::Base64Escape(key);
}

std::string NewSecretKey(Random& random) { return random.Bytes(32); }

Signer::Signer(const std::vector<SigningSecret>& secrets) {
  for (const SigningSecret& secret : secrets) {
    keys_.push_back({NewContext(secret.key), secret.expires});
  }
}

Signer::~Signer() { Free(); }

Signer::Signer(Signer&& other) noexcept : keys_(std::exchange(other.keys_, {})) {}

Signer& Signer::operator=(Signer&& other) noexcept {
  if (this == &other) return *this;
  Free();
  keys_ = std::exchange(other.keys_, {});
  return *this;
}

void Signer::Free() {
  for (const Key& key : keys_) EVP_MAC_CTX_free(key.context);
  keys_.clear();
}

std::string Signer::Sign(std::string_view id, absl::Time time, std::string_view body) {
  const std::string head = Head(id, std::to_string(absl::ToUnixSeconds(time)));
  std::string signatures;
  for (const Key& key : keys_) {
    if (key.expires <= time) continue;
    if (!signatures.empty()) signatures += ' ';
    signatures += kVersionPrefix;
    signatures += absl::Base64Escape(Digest(key.context, head, body));
  }
  return signatures;
}

absl::Status VerifySignature(const std::string& key, const SignatureHeaders& headers,
                             std::string_view body, absl::Time now, absl::Duration tolerance) {
  if (headers.id.empty() || headers.timestamp.empty() || headers.signature.empty()) {
    return absl::UnauthenticatedError(
        "the request has no webhook-id, webhook-timestamp or webhook-signature");
  }
  int64_t seconds = 0;
  const char* const end = headers.timestamp.data() + headers.timestamp.size();
  const auto parsed = std::from_chars(headers.timestamp.data(), end, seconds);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return absl::UnauthenticatedError("webhook-timestamp is no number of seconds");
  }
  const absl::Duration age = now - absl::FromUnixSeconds(seconds);
  if (age > tolerance || age < -tolerance) {
    return absl::UnauthenticatedError(
        absl::StrCat("webhook-timestamp is ", absl::FormatDuration(age),
                     " old: is a clock wrong, or is the request replayed?"));
  }
  const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(NewContext(key),
                                                                          &EVP_MAC_CTX_free);
  const std::string wanted =
      std::string(kVersionPrefix) +
      absl::Base64Escape(Digest(context.get(), Head(headers.id, headers.timestamp), body));
  std::string_view rest = headers.signature;
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find(' '));
    if (one.size() == wanted.size() &&
        CRYPTO_memcmp(one.data(), wanted.data(), wanted.size()) == 0) {
      return absl::OkStatus();
    }
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
  }
  return absl::UnauthenticatedError(
      "no signature fits: the secret is another, or the body was changed");
}

}  // namespace postrider
