#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "src/http/transport.h"

namespace postrider {

// What is kept of the status line and headers of an answer, as they come line by line. What
// informational answers (1xx) said is forgotten when the next answer begins.
class AnswerHead {
 public:
  // `keeps_headers`: all of them are wanted.
  void Begin(bool keeps_headers);

  // Without its end; an empty one ends a head. True when that was the head of the final answer.
  bool Take(absl::string_view line);

  // Of the final answer. Each may be taken away.
  std::string retry_after;
  std::vector<HttpHeader> headers;

  // How long the body is, where libcurl would read on until the connection ends: with a
  // Transfer-Encoding of "identity" and nothing else, which RFC 2616 knew, the Content-Length
  // holds.
  std::optional<uint64_t> BodyLength() const;

  // It is a 408, after which the connection is closed: what a server says to a connection on which
  // nothing came for long. So it is not about a request that had just gone out.
  bool GivesUpWaiting() const { return status_ == 408 && closes_; }

 private:
  void TakeStatus(absl::string_view line);
  void TakeHeader(absl::string_view name, absl::string_view value);

  bool keeps_headers_ = false;
  int status_ = 0;
  bool closes_ = false;
  bool has_identity_ = false;
  bool has_other_coding_ = false;
  std::optional<uint64_t> content_length_;
};

}  // namespace postrider
