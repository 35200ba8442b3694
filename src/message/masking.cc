#include "src/message/masking.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "src/message/reading.h"

namespace postrider {
namespace {

// Shorter ones are no secrets.
constexpr size_t kMinSecret = 4;
// Shorter ones count only as words of their own.
constexpr size_t kMinAnywhere = 6;
// Of the end of a text that was cut.
constexpr size_t kMinTail = 3;
// An echo may be JSON in JSON, or a URL in HTML.
constexpr int kMaxDecodings = 3;
// Six bytes of it.
constexpr size_t kMinBase64 = 8;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

bool Same(std::string_view a, std::string_view b) {
  return absl::EqualsIgnoreCase(View(a), View(b));
}

bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }

// Letters in one case, and a plus, which stands for a blank in URLs, as a blank.
char Folded(char c) {
  if (c == '+') return ' ';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// With so many zeros behind it that a run may be loaded anywhere.
void FoldInto(std::string_view text, size_t zeros, std::string* folded) {
  folded->resize(text.size() + zeros);
  for (size_t i = 0; i < text.size(); ++i) (*folded)[i] = Folded(text[i]);
  std::fill(folded->begin() + static_cast<ptrdiff_t>(text.size()), folded->end(), '\0');
}

// Of `size` bytes, at most eight. REQUIRES: eight may be read. Seeded anew in each process, so that
// nobody can choose secrets that collide.
uint64_t HashOf(const char* bytes, size_t size) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  // Little-endian, as all that Postrider runs on: the first bytes are the low ones.
  if (size < sizeof word) word &= (uint64_t{1} << (8 * size)) - 1;
  return absl::Hash<std::pair<uint64_t, size_t>>()({word, size});
}

// Where the bytes stand that base64 digits stand for, the first of them at `first`.
struct Base64Places {
  const Reading& digits;
  size_t first;

  size_t Begin(size_t i) const { return digits.Begin(first + 8 * i / 6); }
  size_t End(size_t i) const { return digits.End(first + (8 * i + 7) / 6); }
};

// ---- What is secret of a header

// The first word of the value is no secret: it names a way to authenticate.
bool BeginsWithScheme(std::string_view name, std::string_view word) {
  if (Same(name, "authorization") ||
      Same(name, "proxy-authorization")) {
    return true;
  }
  return Same(word, "bearer") || Same(word, "basic") ||
         Same(word, "token");
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

bool IsAlwaysSensitive(std::string_view name) {
  const std::string lower = absl::AsciiStrToLower(View(name));
  const auto has = [&](const char* part) { return lower.find(part) != std::string::npos; };
  return lower == "authorization" || lower == "proxy-authorization" || lower == "cookie" ||
         has("key") || has("token") || has("secret");
}

// ---- Building the table

EchoMasker::EchoMasker(const std::vector<Header>& headers) {
  std::vector<std::string> known;
  for (const Header& header : headers) {
    if (header.sensitive || IsAlwaysSensitive(header.name)) AddHeader(header, &known);
  }
  size_t entries = 0;
  for (const std::string& secret : known) entries += secret.size();
  if (entries == 0) return;
  size_t slots = 16;
  while (slots < 2 * entries) slots *= 2;
  table_.resize(slots);
  filter_.resize((size_t{1} << kFilterBits) / 64);
  for (std::string& secret : known) {
    heads_.push_back(secret.substr(0, kRun - 1));
    const size_t size = std::min(secret.size(), kRun);
    sizes_ |= 1u << size;
    secret.append(kRun, '\0');
    for (size_t i = 0; i + size + kRun <= secret.size(); ++i) {
      Insert(secret.data() + i, size);
    }
  }
}

void EchoMasker::AddHeader(const Header& header, std::vector<std::string>* known) {
  std::string_view secret = Trimmed(header.value);
  const size_t space = secret.find(' ');
  if (space != std::string_view::npos) {
    const std::string_view word = secret.substr(0, space);
    const std::string_view rest = Trimmed(secret.substr(space));
    if (std::string pair; Same(word, "basic") &&
                          (absl::Base64Unescape(View(rest), &pair) ||
                           absl::WebSafeBase64Unescape(View(rest), &pair))) {
      Add(pair, known);
      const size_t colon = std::min(pair.find(':'), pair.size());
      if (colon >= kMinAnywhere) Add(pair.substr(0, colon), known);
      if (colon < pair.size()) Add(pair.substr(colon + 1), known);
    }
    if (rest.size() >= kMinSecret && BeginsWithScheme(header.name, word)) {
      secret = rest;
    } else {
      Add(rest, known);
    }
  }
  Add(secret, known);
  // Of `name=value; name="value"` receivers show the values alone. The long ones are known already.
  for (size_t at = secret.find('='); at != std::string_view::npos; at = secret.find('=', at + 1)) {
    const size_t begin = at + (secret.substr(at + 1, 1) == "\"" ? 2 : 1);
    const size_t end = std::min(secret.find_first_of(";, \"", begin), secret.size());
    if (begin + kMinAnywhere <= end && end < begin + kRun) {
      Add(secret.substr(begin, end - begin), known);
    }
  }
}

void EchoMasker::Add(std::string_view secret, std::vector<std::string>* known) {
  Reading reading;
  reading.bytes = std::string(secret);
  for (int decodings = 0;; ++decodings) {
    if (reading.bytes.size() >= kMinSecret) {
      FoldInto(reading.bytes, 0, &known->emplace_back());
    }
    Reading next;
    if (decodings == kMaxDecodings ||
        !TakeEscapesOff(reading, /*with_places=*/false, &next)) {
      return;
    }
    reading = std::move(next);
  }
}

uint32_t EchoMasker::FilterBit(const char* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word * 0x9e3779b1u >> (32 - kFilterBits);
}

void EchoMasker::Insert(const char* bytes, size_t size) {
  filter_[FilterBit(bytes) / 64] |= uint64_t{1} << (FilterBit(bytes) % 64);
  const uint64_t hash = HashOf(bytes, size);
  const auto fingerprint = static_cast<uint32_t>(hash >> 32 | 1);
  size_t slot = hash & (table_.size() - 1);
  while (table_[slot] != 0 && table_[slot] != fingerprint) slot = (slot + 1) & (table_.size() - 1);
  table_[slot] = fingerprint;
}

bool EchoMasker::Contains(const char* bytes, size_t size) const {
  const uint64_t hash = HashOf(bytes, size);
  const auto fingerprint = static_cast<uint32_t>(hash >> 32 | 1);
  size_t slot = hash & (table_.size() - 1);
  while (table_[slot] != 0) {
    if (table_[slot] == fingerprint) return true;
    slot = (slot + 1) & (table_.size() - 1);
  }
  return false;
}

// ---- Reading a text

// Marks the bytes of one text that must not be shown.
class EchoMasker::Reader {
 public:
  Reader(const EchoMasker& masker, std::string_view text, bool cut)
      : masker_(masker), size_(text.size()), cut_(cut) {}

  void Read(Reading text) {
    for (int decodings = 0;; ++decodings) {
      FoldInto(text.bytes, kRun, &folded_);
      Find(text, cut_ ? HeldEnd(text) : size_);
      FindBase64(text);
      Reading next;
      if (decodings == kMaxDecodings || !TakeEscapesOff(text, /*with_places=*/true, &next)) return;
      text = std::move(next);
    }
  }

  // Empty when nothing is.
  const std::string& hidden() const { return hidden_; }

 private:
  // From `begin` to `end` of the original; to its end, when only what may be cut is left from
  // `held_end` on: what is left of an escape tells something of the byte that it stands for.
  void Hide(size_t begin, size_t end, size_t held_end) {
    if (hidden_.empty()) hidden_.assign(size_, '\0');
    if (end >= held_end) end = size_;
    std::fill(hidden_.begin() + static_cast<ptrdiff_t>(begin),
              hidden_.begin() + static_cast<ptrdiff_t>(end), '\1');
  }

  // Where in the original an escape begins that was perhaps cut.
  size_t HeldEnd(const Reading& reading) const {
    size_t stem = reading.bytes.size();
    for (int i = 0; i <= kMaxDecodings; ++i) stem = Stem(reading.bytes, stem);
    return stem == 0 ? 0 : reading.End(stem - 1);
  }

  // Where the text up to `end` ends without the escape that it ends in.
  static size_t Stem(std::string_view text, size_t end) {
    const size_t from = end - std::min(end, kMaxCutEscape);
    const size_t at = text.substr(from, end - from).find_last_of(kBeginsEscape);
    return at == std::string_view::npos ? end : from + at;
  }

  // Looks at what is in folded_.
  template <typename Places>
  void Find(const Places& places, size_t held_end) {
    const size_t size = folded_.size() - kRun;
    const char* const text = folded_.data();
    // Up to here it is hidden already.
    size_t done = 0;
    for (size_t i = 0; i + kMinSecret <= size; ++i) {
      if (!masker_.MayBegin(text + i)) continue;
      for (unsigned sizes = masker_.sizes_; sizes != 0; sizes &= sizes - 1) {
        const auto run = static_cast<size_t>(__builtin_ctz(sizes));
        const size_t end = i + run;
        if (end > size || end <= done || !masker_.Contains(text + i, run)) continue;
        if (run < kMinAnywhere && !IsWord(i, end)) continue;
        Hide(places.Begin(std::max(i, done)), places.End(end - 1), held_end);
        done = end;
      }
    }
    if (cut_ && size > 0) FindTail(std::string_view(text, size), places, held_end);
  }

  bool IsWord(size_t first, size_t last) const {
    return (first == 0 || !IsAlnum(folded_[first - 1])) && !IsAlnum(folded_[last]);
  }

  // A secret that has begun when the text ends.
  template <typename Places>
  void FindTail(std::string_view folded, const Places& places, size_t held_end) {
    // Of base64 up to two digits are no whole byte.
    if (places.End(folded.size() - 1) + 2 < size_) return;
    // What is left of one escape may be within what is left of another.
    size_t end = folded.size();
    for (int i = 0; i <= kMaxDecodings + 1; ++i, end = Stem(folded, end)) {
      for (size_t run = std::min(end, kRun - 1); run >= kMinTail; --run) {
        const std::string_view tail = folded.substr(end - run, run);
        const auto begins = [tail](const std::string& head) { return head.starts_with(tail); };
        if (std::none_of(masker_.heads_.begin(), masker_.heads_.end(), begins)) continue;
        return Hide(places.Begin(end - run), size_, held_end);
      }
    }
  }

  void FindBase64(const Reading& reading) {
    const std::string_view text = reading.bytes;
    for (size_t i = 0; i < text.size();) {
      const size_t first = i;
      while (i < text.size() && Base64Digit(text[i]) >= 0) ++i;
      const size_t last = i++;
      // Padding counts.
      const size_t padding = text.substr(last, 2) == "==" ? 2 : 0;
      if (last - first + padding < kMinBase64) continue;
      // What is encoded may begin with any digit of a group.
      for (size_t shift = 0; shift < 4; ++shift) {
        FromBase64(text.substr(first + shift, last - first - shift), &decoded_);
        FoldInto(decoded_, kRun, &folded_);
        const Base64Places places{reading, first + shift};
        const size_t size = folded_.size() - kRun;
        Find(places, cut_ && last == text.size() && size > 0 ? places.End(size - 1) : size_);
      }
    }
  }

  const EchoMasker& masker_;
  const size_t size_;
  const bool cut_;
  std::string decoded_;
  // What is looked at, in folded form, with kRun zeros behind it.
  std::string folded_;
  std::string hidden_;
};

std::string EchoMasker::Mask(std::string text, bool cut) const {
  if (table_.empty() || text.size() < kMinTail) return text;
  Reader reader(*this, text, cut);
  Reading original;
  original.bytes = text;
  reader.Read(std::move(original));
  const std::string& hidden = reader.hidden();
  if (hidden.empty()) return text;
  std::string shown;
  for (size_t i = 0; i < text.size(); ++i) {
    if (hidden[i] == 0) {
      shown += text[i];
    } else if (i == 0 || hidden[i - 1] == 0) {
      shown += kMaskedValue;
    }
  }
  return shown;
}

}  // namespace postrider
