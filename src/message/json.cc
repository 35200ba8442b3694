#include "src/message/json.h"

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

// Many parsers go down by a call a level: what is deeper kills receivers.
constexpr size_t kMaxLevels = 512;

bool IsDigit(int c) { return c >= '0' && c <= '9'; }

int HexDigit(int c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr uint64_t Repeat(unsigned char byte) { return uint64_t{0x0101010101010101} * byte; }

// Whether one of the eight bytes is no ASCII, a control character, a quote or a backslash.
// Sometimes true without need, of a byte that follows one of those. (Sean Eron Anderson, Bit
// Twiddling Hacks, "Determine if a word has a byte less than n".)
bool MayEndPlainText(uint64_t bytes) {
  const uint64_t below_space = bytes - Repeat(0x20);
  const uint64_t quote = (bytes ^ Repeat('"')) - Repeat(1);
  const uint64_t backslash = (bytes ^ Repeat('\\')) - Repeat(1);
  return ((bytes | below_space | quote | backslash) & Repeat(0x80)) != 0;
}

// Walks the text once. The methods that read something return false after a fault, which is then in
// fault_ and at_.
class Checker {
 public:
  explicit Checker(std::string_view text) : text_(text) {}

  absl::Status Check() {
    if (Walk()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("not a JSON object: at byte ", at_, ", ", fault_));
  }

 private:
  static constexpr int kEnd = -1;

  int Peek() const { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : kEnd; }

  bool Fault(const char* fault) {
    fault_ = Peek() == kEnd ? absl::StrCat("the text ends: ", fault) : fault;
    return false;
  }

  void SkipSpace() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return;
      ++at_;
    }
  }

  bool Walk();
  bool Open();
  bool KeyAndColon();
  bool Scalar();
  bool Literal(std::string_view literal);
  bool Number();
  bool Digits();
  void SkipPlainText();
  bool String();
  bool Escape();
  bool Unit(unsigned* unit);
  bool Utf8();

  const std::string_view text_;
  size_t at_ = 0;
  std::string fault_;
  // The containers that are open: '{' or '['.
  std::string open_;
};

bool Checker::Walk() {
  SkipSpace();
  if (Peek() != '{') return Fault("expected '{', since a payload is an object");
  if (!Open()) return false;
  // Each round begins where a value has ended.
  while (!open_.empty()) {
    SkipSpace();
    const bool object = open_.back() == '{';
    if (Peek() == (object ? '}' : ']')) {
      open_.pop_back();
      ++at_;
      continue;
    }
    if (Peek() != ',') return Fault(object ? "expected ',' or '}'" : "expected ',' or ']'");
    ++at_;
    SkipSpace();
    if (object && !KeyAndColon()) return false;
    if (Peek() == '{' || Peek() == '[') {
      if (!Open()) return false;
    } else if (!Scalar()) {
      return false;
    }
  }
  SkipSpace();
  if (Peek() != kEnd) return Fault("expected the end of the text");
  return true;
}

// From an opening bracket to the end of the first value that is no container, or past the bracket
// that closes an empty one.
bool Checker::Open() {
  for (;;) {
    const char bracket = text_[at_];
    if (open_.size() == kMaxLevels) return Fault("expected at most 512 levels of nesting");
    open_.push_back(bracket);
    ++at_;
    SkipSpace();
    if (Peek() == (bracket == '{' ? '}' : ']')) {
      open_.pop_back();
      ++at_;
      return true;
    }
    if (bracket == '{' && !KeyAndColon()) return false;
    if (Peek() != '{' && Peek() != '[') return Scalar();
  }
}

bool Checker::KeyAndColon() {
  if (Peek() != '"') return Fault("expected a key in double quotes");
  if (!String()) return false;
  SkipSpace();
  if (Peek() != ':') return Fault("expected ':'");
  ++at_;
  SkipSpace();
  return true;
}

bool Checker::Scalar() {
  switch (Peek()) {
    case '"':
      return String();
    case 't':
      return Literal("true");
    case 'f':
      return Literal("false");
    case 'n':
      return Literal("null");
    default:
      if (Peek() == '-' || IsDigit(Peek())) return Number();
      return Fault("expected a value");
  }
}

bool Checker::Literal(std::string_view literal) {
  if (text_.substr(at_, literal.size()) != literal) return Fault("expected a value");
  at_ += literal.size();
  return true;
}

bool Checker::Number() {
  if (Peek() == '-') ++at_;
  if (Peek() == '0') {
    ++at_;
    if (IsDigit(Peek())) return Fault("expected no digit after a leading 0");
  } else if (!Digits()) {
    return false;
  }
  if (Peek() == '.') {
    ++at_;
    if (!Digits()) return false;
  }
  if (Peek() == 'e' || Peek() == 'E') {
    ++at_;
    if (Peek() == '+' || Peek() == '-') ++at_;
    if (!Digits()) return false;
  }
  return true;
}

bool Checker::Digits() {
  if (!IsDigit(Peek())) return Fault("expected a digit");
  while (IsDigit(Peek())) ++at_;
  return true;
}

void Checker::SkipPlainText() {
  uint64_t bytes;
  while (at_ + sizeof bytes <= text_.size()) {
    std::memcpy(&bytes, text_.data() + at_, sizeof bytes);
    if (MayEndPlainText(bytes)) return;
    at_ += sizeof bytes;
  }
}

bool Checker::String() {
  ++at_;
  SkipPlainText();
  for (;;) {
    const int c = Peek();
    if (c == kEnd) return Fault("expected the '\"' that ends a string");
    if (c == '"') {
      ++at_;
      return true;
    }
    if (c < 0x20) return Fault("expected no control character in a string: escape it");
    if (c >= 0x20 && c < 0x80 && c != '\\') {
      ++at_;
      continue;
    }
    if (!(c == '\\' ? Escape() : Utf8())) return false;
    SkipPlainText();
  }
}

bool Checker::Escape() {
  const size_t start = at_++;
  const int c = Peek();
  if (c != 'u') {
    if (c == kEnd ||
        std::string_view("\"\\/bfnrt").find(static_cast<char>(c)) == std::string_view::npos) {
      return Fault("expected one of \" \\ / b f n r t u after a backslash");
    }
    ++at_;
    return true;
  }
  ++at_;
  unsigned unit;
  if (!Unit(&unit)) return false;
  if (unit < 0xd800 || unit > 0xdfff) return true;
  unsigned low = 0;
  if (unit <= 0xdbff && text_.substr(at_, 2) == "\\u") {
    at_ += 2;
    if (!Unit(&low)) return false;
  }
  if (low >= 0xdc00 && low <= 0xdfff) return true;
  at_ = start;
  return Fault("expected both halves of a surrogate pair");
}

bool Checker::Unit(unsigned* unit) {
  *unit = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const int digit = HexDigit(Peek());
    if (digit < 0) return Fault("expected four hexadecimal digits after \\u");
    *unit = *unit << 4 | static_cast<unsigned>(digit);
  }
  return true;
}

// One character of more than a byte: Unicode 15, table 3-7.
bool Checker::Utf8() {
  const auto byte = [&](size_t i) {
    return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0u;
  };
  const unsigned lead = byte(0);
  size_t size = 0;
  unsigned low = 0x80;
  unsigned high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    size = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    size = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    size = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  bool valid = size > 0 && byte(1) >= low && byte(1) <= high;
  for (size_t i = 2; valid && i < size; ++i) valid = byte(i) >= 0x80 && byte(i) <= 0xbf;
  if (!valid) return Fault("expected valid UTF-8");
  at_ += size;
  return true;
}

}  // namespace

absl::Status CheckJsonObject(std::string_view text) { return Checker(text).Check(); }

}  // namespace postrider
