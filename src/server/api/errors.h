#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace postrider {

// Errors for callers of the API: absl::Status whose payloads are the details of the google.rpc
// error model, keyed by type URL. What a handler answers is turned into a google.rpc.Status
// in status_mapping.h.

// Collects what is wrong with a request, field by field, so that a caller hears all of it at once.
class FieldViolations {
 public:
  // `field`: the path as in `webhook.headers[2].name`. `description`: a sentence without the path.
  void Add(std::string field, std::string description);

  bool empty() const { return violations_.empty(); }
  // OK when nothing was added; otherwise INVALID_ARGUMENT with a BadRequest, INVALID_FIELDS.
  absl::Status ToStatus() const;

 private:
  struct Violation {
    std::string field;
    std::string description;
  };
  std::vector<Violation> violations_;
};

// INVALID_ARGUMENT for one field.
absl::Status InvalidField(std::string field, std::string description);

// The status with an ErrorInfo: `reason` is one of reasons.h, the domain `postrider`.
absl::Status WithReason(absl::Status status, std::string_view reason);

// Bytes that are no message of the method's, or hold text that is not UTF-8.
absl::Status MalformedRequest();
absl::Status RequestTooLarge(size_t bytes, size_t max_bytes);

// A caller's text within a sentence: in quotes, escaped, and cut short.
std::string Quoted(std::string_view text);

inline constexpr std::string_view kTypeUrlPrefix = "type.googleapis.com/";
inline constexpr std::string_view kErrorDomain = "postrider";

}  // namespace postrider
