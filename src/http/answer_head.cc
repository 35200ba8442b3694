#include "src/http/answer_head.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace postrider {

void AnswerHead::Begin(bool keeps_headers) {
  *this = AnswerHead();
  keeps_headers_ = keeps_headers;
}

bool AnswerHead::Take(absl::string_view line) {
  if (line.empty()) return status_ >= 200;
  if (absl::StartsWith(line, "HTTP/")) {
    TakeStatus(line);
    return false;
  }
  // Most headers say nothing that matters here.
  const char first = absl::ascii_tolower(static_cast<unsigned char>(line[0]));
  if (!keeps_headers_ && first != 'r' && first != 't' && first != 'c') return false;
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return false;
  TakeHeader(line.substr(0, colon), absl::StripAsciiWhitespace(line.substr(colon + 1)));
  return false;
}

void AnswerHead::TakeStatus(absl::string_view line) {
  Begin(keeps_headers_);
  const size_t blank = line.find(' ');
  if (blank == absl::string_view::npos) return;
  if (!absl::SimpleAtoi(line.substr(blank + 1, 3), &status_)) status_ = 0;
  // Before 1.1 a connection ends with its answer.
  closes_ = absl::StartsWith(line, "HTTP/1.0");
}

void AnswerHead::TakeHeader(absl::string_view name, absl::string_view value) {
  if (absl::EqualsIgnoreCase(name, "Retry-After")) {
    retry_after = std::string(value);
  } else if (absl::EqualsIgnoreCase(name, "Transfer-Encoding")) {
    (absl::EqualsIgnoreCase(value, "identity") ? has_identity_ : has_other_coding_) = true;
  } else if (absl::EqualsIgnoreCase(name, "Content-Length")) {
    uint64_t length = 0;
    if (absl::SimpleAtoi(value, &length)) content_length_ = length;
  } else if (absl::EqualsIgnoreCase(name, "Connection")) {
    closes_ |= absl::EqualsIgnoreCase(value, "close");
  }
  if (keeps_headers_) headers.push_back({std::string(name), std::string(value)});
}

std::optional<uint64_t> AnswerHead::BodyLength() const {
  return has_identity_ && !has_other_coding_ ? content_length_ : std::nullopt;
}

}  // namespace postrider
