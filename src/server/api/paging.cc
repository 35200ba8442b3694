#include "src/server/api/paging.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "src/server/api/errors.h"

namespace postrider {
namespace {

constexpr char kVersion = '1';
constexpr size_t kFingerprintBytes = 8;

// FNV-1a of 64 bits: it must be the same after a restart, which std::hash does not promise. It
// guards against mistakes, not against forgery: a token opens nothing that its filter does not.
uint64_t Fingerprint(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  return hash;
}

std::string BigEndian(uint64_t number) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, number >>= 8) bytes[i] = static_cast<char>(number & 0xFF);
  return bytes;
}

uint64_t FromBigEndian(std::string_view bytes) {
  uint64_t number = 0;
  for (const char c : bytes) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

absl::Status BadToken() {
  return InvalidField(
      "page_token",
      "is not a token of this list: use the next_page_token of the page before, with "
      "the same filter, or leave it empty for the first page");
}

absl::StatusOr<std::string> Decode(std::string_view filter, const std::string& token) {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(token, &bytes) || bytes.size() < 1 + kFingerprintBytes ||
      bytes[0] != kVersion ||
      FromBigEndian(std::string_view(bytes).substr(1, kFingerprintBytes)) != Fingerprint(filter)) {
    return BadToken();
  }
  return bytes.substr(1 + kFingerprintBytes);
}

}  // namespace

std::string EncodePageToken(std::string_view filter, std::string_view position) {
  std::string bytes(1, kVersion);
  bytes += BigEndian(Fingerprint(filter));
  bytes += position;
  return absl::WebSafeBase64Escape(bytes);
}

std::string EncodePageToken(std::string_view filter, int64_t position) {
  return EncodePageToken(filter, BigEndian(static_cast<uint64_t>(position)));
}

absl::StatusOr<std::optional<int64_t>> DecodeNumberToken(std::string_view filter,
                                                         const std::string& token) {
  if (token.empty()) return std::optional<int64_t>();
  absl::StatusOr<std::string> position = Decode(filter, token);
  if (!position.ok()) return position.status();
  if (position->size() != 8) return BadToken();
  return std::optional<int64_t>(static_cast<int64_t>(FromBigEndian(*position)));
}

absl::StatusOr<std::string> DecodeNameToken(std::string_view filter, const std::string& token) {
  if (token.empty()) return std::string();
  absl::StatusOr<std::string> position = Decode(filter, token);
  if (position.ok() && position->empty()) return BadToken();
  return position;
}

absl::StatusOr<int> PageLimit(int32_t page_size) {
  if (page_size < 0) return InvalidField("page_size", "must not be negative");
  if (page_size == 0) return 50;
  return std::min(page_size, 1000);
}

}  // namespace postrider
