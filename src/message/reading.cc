#include "src/message/reading.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace postrider {
namespace {

struct Escape {
  // In the text; 0: there is none.
  size_t size = 0;
  uint32_t value = 0;
  // `value` is a character, and not a byte.
  bool character = false;
};

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Reads that many hexadecimal digits at `at`.
bool ReadHex(std::string_view text, size_t at, size_t digits, uint32_t* value) {
  if (at + digits > text.size()) return false;
  *value = 0;
  for (const char c : text.substr(at, digits)) {
    const int digit = HexDigit(c);
    if (digit < 0) return false;
    *value = *value << 4 | static_cast<uint32_t>(digit);
  }
  return true;
}

// `\u` or `%u` with four digits, both halves of a surrogate pair taken together; or `\U` with
// eight. In other case, too, since a whole text may be.
Escape ReadUnicode(std::string_view text) {
  uint32_t unit = 0;
  if (text[1] == 'U' && ReadHex(text, 2, 8, &unit) && unit <= 0x10ffff) return {10, unit, true};
  if (!ReadHex(text, 2, 4, &unit)) return {};
  uint32_t low = 0;
  if (unit >= 0xd800 && unit <= 0xdbff && text.substr(6, 2) == text.substr(0, 2) &&
      ReadHex(text, 8, 4, &low) && low >= 0xdc00 && low <= 0xdfff) {
    return {12, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), true};
  }
  return {6, unit, true};
}

// As JSON, JavaScript, C and Python have it.
Escape ReadBackslash(std::string_view text) {
  if (text.size() < 2) return {};
  const char c = text[1];
  uint32_t byte = 0;
  switch (c) {
    case 'u':
    case 'U':
      return ReadUnicode(text);
    case 'x':
    case 'X':
      return ReadHex(text, 2, 2, &byte) ? Escape{4, byte} : Escape{};
    case 'n':
      return {2, '\n'};
    case 't':
      return {2, '\t'};
    case 'r':
      return {2, '\r'};
    case 'b':
      return {2, '\b'};
    case 'f':
      return {2, '\f'};
    default:
      // Any other mark that needs an escape somewhere.
      if (!absl::ascii_ispunct(static_cast<unsigned char>(c))) return {};
      return {2, static_cast<uint32_t>(c)};
  }
}

Escape ReadPercent(std::string_view text) {
  uint32_t byte = 0;
  if (ReadHex(text, 1, 2, &byte)) return {3, byte};
  if (text.size() > 1 && (text[1] == 'u' || text[1] == 'U')) return ReadUnicode(text);
  return {};
}

Escape ReadEntity(std::string_view text) {
  constexpr std::pair<const char*, char> kNames[] = {
      {"amp", '&'}, {"lt", '<'},   {"gt", '>'},    {"quot", '"'},  {"apos", '\''},
      {"sol", '/'}, {"plus", '+'}, {"equals", '='}, {"colon", ':'}, {"nbsp", ' '}};
  const size_t end = text.substr(0, 10).find(';');
  if (end == std::string_view::npos || end < 2) return {};
  std::string_view name = text.substr(1, end - 1);
  if (name[0] != '#') {
    for (const auto& [known, c] : kNames) {
      if (!absl::EqualsIgnoreCase(absl::string_view(name.data(), name.size()), known)) continue;
      return {end + 1, static_cast<uint32_t>(c)};
    }
    return {};
  }
  name.remove_prefix(1);
  uint32_t value = 0;
  if (!name.empty() && (name[0] == 'x' || name[0] == 'X')) {
    if (name.size() < 2 || !ReadHex(name, 1, name.size() - 1, &value)) return {};
  } else {
    if (name.empty()) return {};
    for (const char c : name) {
      if (c < '0' || c > '9') return {};
      value = value * 10 + static_cast<uint32_t>(c - '0');
    }
  }
  return value <= 0x10ffff ? Escape{end + 1, value, true} : Escape{};
}

Escape ReadEscape(std::string_view text) {
  switch (text[0]) {
    case '\\':
      return ReadBackslash(text);
    case '%':
      return ReadPercent(text);
    case '&':
      return ReadEntity(text);
    default:
      return {};
  }
}

void AppendUtf8(uint32_t character, std::string* to) {
  const auto add = [to](uint32_t byte) { to->push_back(static_cast<char>(byte)); };
  if (character < 0x80) return add(character);
  if (character < 0x800) {
    add(0xc0 | character >> 6);
  } else {
    if (character < 0x10000) {
      add(0xe0 | character >> 12);
    } else {
      add(0xf0 | character >> 18);
      add(0x80 | (character >> 12 & 0x3f));
    }
    add(0x80 | (character >> 6 & 0x3f));
  }
  add(0x80 | (character & 0x3f));
}

bool MayHaveEscapes(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return c == '\\' || c == '%' || c == '&'; });
}

constexpr std::array<int8_t, 256> kBase64Digits = [] {
  std::array<int8_t, 256> digits{};
  for (int c = 0; c < 256; ++c) {
    int digit = -1;
    if (c >= 'A' && c <= 'Z') digit = c - 'A';
    if (c >= 'a' && c <= 'z') digit = c - 'a' + 26;
    if (c >= '0' && c <= '9') digit = c - '0' + 52;
    if (c == '+' || c == '-') digit = 62;
    if (c == '/' || c == '_') digit = 63;
    digits[static_cast<size_t>(c)] = static_cast<int8_t>(digit);
  }
  return digits;
}();

}  // namespace

bool TakeEscapesOff(const Reading& from, bool with_places, Reading* to) {
  const std::string_view text = from.bytes;
  if (!MayHaveEscapes(text)) return false;
  to->bytes.reserve(text.size());
  if (with_places) {
    to->begin.reserve(text.size());
    to->end.reserve(text.size());
  }
  bool decoded = false;
  for (size_t i = 0; i < text.size();) {
    const Escape escape = ReadEscape(text.substr(i));
    const size_t size = std::max<size_t>(escape.size, 1);
    if (escape.size == 0) {
      to->bytes += text[i];
    } else if (escape.character) {
      AppendUtf8(escape.value, &to->bytes);
    } else {
      to->bytes += static_cast<char>(escape.value);
    }
    decoded |= escape.size > 0;
    while (with_places && to->begin.size() < to->bytes.size()) {
      to->begin.push_back(static_cast<uint32_t>(from.Begin(i)));
      to->end.push_back(static_cast<uint32_t>(from.End(i + size - 1)));
    }
    i += size;
  }
  return decoded;
}

int Base64Digit(char c) { return kBase64Digits[static_cast<unsigned char>(c)]; }

void FromBase64(std::string_view digits, std::string* to) {
  to->clear();
  uint32_t bits = 0;
  int left = 0;
  for (const char c : digits) {
    bits = bits << 6 | static_cast<uint32_t>(Base64Digit(c));
    left += 6;
    if (left < 8) continue;
    left -= 8;
    *to += static_cast<char>(bits >> left & 0xff);
  }
}

}  // namespace postrider
