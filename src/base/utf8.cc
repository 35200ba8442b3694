#include "src/base/utf8.h"

#include <cstddef>

namespace postrider {
namespace {

struct Sequence {
  // How many bytes belong together, at least 1.
  size_t size;
  bool valid;
};

bool Between(unsigned char byte, unsigned char low, unsigned char high) {
  return low <= byte && byte <= high;
}

// Looks at the sequence that `bytes` begins with (Unicode 15, table 3-7). REQUIRES: not empty.
Sequence FirstSequence(std::string_view bytes) {
  const auto at = [&bytes](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {1, true};
  size_t size = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (Between(lead, 0xC2, 0xDF)) {
    size = 2;
  } else if (Between(lead, 0xE0, 0xEF)) {
    size = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (Between(lead, 0xF0, 0xF4)) {
    size = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {1, false};
  }
  for (size_t i = 1; i < size; ++i) {
    if (i >= bytes.size() || !Between(at(i), low, high)) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {size, true};
}

}  // namespace

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Sequence sequence = FirstSequence(bytes);
    text += sequence.valid ? bytes.substr(0, sequence.size) : std::string_view("\xEF\xBF\xBD");
    bytes.remove_prefix(sequence.size);
  }
  return text;
}

}  // namespace postrider
