#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "src/message/request.h"
#include "src/message/signing.h"
#include "tools/micro_benchmark/support.h"

// What each attempt does before libcurl has it, next to OpenSSL's HMAC of the same bytes.

namespace postrider::micro {
namespace {

constexpr int64_t kSeconds = 1767225600;
const absl::Time kNow = absl::FromUnixSeconds(kSeconds);

void BuildRequest(benchmark::State& state) {
  RequestBuilder builder(TheWebhook(), "0.1.0");
  const auto body = std::make_shared<const std::string>(TheBody());
  for (auto _ : state) {
    TransferRequest request = builder.Build(kMessageId, kNow, body);
    benchmark::DoNotOptimize(request);
  }
}
BENCHMARK(BuildRequest)->Name("attempt/build_request");

void Sign(benchmark::State& state) {
  Signer signer(TheWebhook().secrets);
  for (auto _ : state) {
    std::string signature = signer.Sign(kMessageId, kNow, TheBody());
    benchmark::DoNotOptimize(signature);
  }
}
BENCHMARK(Sign)->Name("attempt/sign");

void BareHmac(benchmark::State& state) {
  const std::string& key = TheWebhook().secrets[0].key;
  const std::string text = absl::StrCat(std::string(kMessageId), ".", kSeconds, ".", TheBody());
  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> hmac(
      EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr), &EVP_MAC_free);
  const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(
      EVP_MAC_CTX_new(hmac.get()), &EVP_MAC_CTX_free);
  char digest_name[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
      OSSL_PARAM_construct_end(),
  };
  EVP_MAC_init(context.get(), reinterpret_cast<const unsigned char*>(key.data()), key.size(),
               params);
  std::string digest(32, '\0');
  size_t size = 0;
  for (auto _ : state) {
    EVP_MAC_init(context.get(), nullptr, 0, nullptr);
    EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
    EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(digest.data()), &size,
                  digest.size());
    benchmark::ClobberMemory();
  }
  Require(Signer(TheWebhook().secrets).Sign(kMessageId, kNow, TheBody()) ==
              absl::StrCat("v1,", absl::Base64Escape(digest)),
          "the bare HMAC is another than the signature");
}
BENCHMARK(BareHmac)->Name("attempt/bare_hmac");

}  // namespace
}  // namespace postrider::micro
