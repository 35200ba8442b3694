#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace postrider {

// How a text reads when what is escaped or encoded in it is taken for what it stands for, as far as
// masking needs it. Pure functions.

// A text after so many decodings, and where in the original each of its bytes stands.
struct Reading {
  std::string bytes;
  // Of the original; empty while it is the original itself.
  std::vector<uint32_t> begin;
  std::vector<uint32_t> end;

  size_t Begin(size_t i) const { return begin.empty() ? i : begin[i]; }
  size_t End(size_t i) const { return begin.empty() ? i + 1 : end[i]; }
};

// Each escape begins with one of these: \u00e9 and \n of JSON, JavaScript, C and Python, %2F of
// URLs, &amp; and &#47; of HTML.
inline constexpr std::string_view kBeginsEscape = "\\%&";
// No escape is longer before it is whole: "&#x10ffff".
inline constexpr size_t kMaxCutEscape = 9;

// Takes one layer of escapes off, of whatever kind each is. False when there is none.
// What is no escape stays as it is. REQUIRES: `to` is empty.
bool TakeEscapesOff(const Reading& from, bool with_places, Reading* to);

// What the character stands for in either alphabet of base64, -1: nothing.
int Base64Digit(char c);

// The bytes that the digits stand for; bits that are no whole byte are left out. `to` is replaced.
// REQUIRES: they are digits.
void FromBase64(std::string_view digits, std::string* to);

}  // namespace postrider
