#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace postrider {

// Errors for callers of the API: absl::Status whose payloads are the details of the google.rpc
// error model, keyed by type URL. What a handler answers is turned into a grpc::Status in
// status_mapping.h.

// Collects what is wrong with a request, field by field, so that a caller hears all of it at once.
class FieldViolations {
 public:
  // `field`: the path as in `webhook.headers[2].name`. `description`: a sentence without the path.
  void Add(std::string field, std::string description);

  bool empty() const { return violations_.empty(); }
  // OK when nothing was added; otherwise INVALID_ARGUMENT with a BadRequest.
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

// The status with an ErrorInfo: `reason` is a constant in UPPER_SNAKE_CASE, the domain `postrider`.
absl::Status WithReason(absl::Status status, std::string_view reason);

// A caller's text within a sentence: in quotes, escaped, and cut short.
std::string Quoted(std::string_view text);

inline constexpr std::string_view kTypeUrlPrefix = "type.googleapis.com/";
inline constexpr std::string_view kErrorDomain = "postrider";

}  // namespace postrider
