#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/outbox/types.h"

namespace postrider {

// A header whose value is never shown, whether its owner marks it or not: Authorization,
// Proxy-Authorization, Cookie, and names with key, token or secret in them.
bool IsAlwaysSensitive(std::string_view name);

// What is shown instead of a sensitive value.
inline constexpr std::string_view kMaskedValue = "***";

// Masks what a receiver echoes of the sensitive headers that it was sent. An echo need not be byte
// for byte: it is found in any case, without its scheme (`Bearer `), JSON-escaped, percent-encoded,
// HTML-escaped, base64-encoded, one in the other up to three deep, and of Basic credentials the
// name and the password alone.
//
// No eight bytes in a row of a secret are shown, so neither is one that is cut short anywhere. Of
// shorter ones: 6 and 7 bytes are masked wherever they stand, 4 and 5 where they stand as a word of
// their own; fewer are no secret, and masking them would tear up the text.
//
// What it costs grows with the bytes of the secrets and of the text, and with nothing else: each
// eight bytes of a secret are one entry of a hash table, and a text is looked up byte by byte, in
// at most four readings of it. Nobody can choose headers or answers that make it slow.
//
// Immutable, so any thread may use it. Keeps no copy of the headers.
class EchoMasker {
 public:
  explicit EchoMasker(const std::vector<Header>& headers);

  // `cut`: the text was cut short, so a secret may begin at its end: three bytes of one are masked
  // there.
  std::string Mask(std::string text, bool cut) const;

 private:
  class Reader;

  // Every run of this many bytes of a secret is known.
  static constexpr size_t kRun = 8;

  // Adds each reading of the secret.
  void Add(std::string_view secret, std::vector<std::string>* known);
  void AddHeader(const Header& header, std::vector<std::string>* known);
  // REQUIRES of these: eight bytes may be read.
  void Insert(const char* bytes, size_t size);
  bool Contains(const char* bytes, size_t size) const;
  static uint32_t FilterBit(const char* bytes);
  bool MayBegin(const char* bytes) const {
    const uint32_t bit = FilterBit(bytes);
    return (filter_[bit / 64] >> (bit % 64) & 1) != 0;
  }

  // An open hash table of fingerprints, 0: free. Its size is a power of two, at least twice what is
  // in it; none while there are no secrets.
  std::vector<uint32_t> table_;
  // A bit for each hash of four bytes with which something in the table begins: it saves most
  // look-ups there.
  static constexpr int kFilterBits = 16;
  std::vector<uint64_t> filter_;
  // Bit n: something of n bytes is known.
  unsigned sizes_ = 0;
  // How each secret begins: up to seven bytes, for the end of a text that was cut.
  std::vector<std::string> heads_;
};

}  // namespace postrider
