#include "src/server/api/errors.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"

namespace postrider {
namespace {

// The details travel in HTTP/2 headers, of which clients take 8 KiB by default.
constexpr int kMaxViolations = 12;

void SetDetail(absl::Status* status, const google::protobuf::Message& detail) {
  status->SetPayload(absl::StrCat(absl::string_view(kTypeUrlPrefix.data(), kTypeUrlPrefix.size()),
                                  detail.GetDescriptor()->full_name()),
                     absl::Cord(detail.SerializeAsString()));
}

}  // namespace

void FieldViolations::Add(std::string field, std::string description) {
  violations_.push_back({std::move(field), std::move(description)});
}

absl::Status FieldViolations::ToStatus() const {
  if (violations_.empty()) return absl::OkStatus();
  google::rpc::BadRequest bad_request;
  for (const Violation& violation : violations_) {
    if (bad_request.field_violations_size() == kMaxViolations) break;
    auto* added = bad_request.add_field_violations();
    added->set_field(violation.field);
    added->set_description(violation.description);
  }
  std::string message =
      absl::StrCat(violations_.front().field, ": ", violations_.front().description);
  if (violations_.size() > 1) {
    absl::StrAppend(&message, " (and ", violations_.size() - 1, " more)");
  }
  absl::Status status = absl::InvalidArgumentError(message);
  SetDetail(&status, bad_request);
  return WithReason(std::move(status), "INVALID_FIELDS");
}

absl::Status InvalidField(std::string field, std::string description) {
  FieldViolations violations;
  violations.Add(std::move(field), std::move(description));
  return violations.ToStatus();
}

absl::Status WithReason(absl::Status status, std::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kErrorDomain));
  SetDetail(&status, info);
  return status;
}

absl::Status MalformedRequest() {
  return WithReason(
      absl::InvalidArgumentError(
          "the request cannot be parsed: see that client and server use the same .proto files, and "
          "that every text is UTF-8"),
      "MALFORMED_REQUEST");
}

absl::Status RequestTooLarge(size_t bytes, size_t max_bytes) {
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat("the request has ", bytes, " bytes, of at most ",
                                              max_bytes, ": send less at a time")),
      "REQUEST_TOO_LARGE");
}

std::string Quoted(std::string_view text) {
  constexpr size_t kMaxBytes = 100;
  const bool cut = text.size() > kMaxBytes;
  if (cut) {
    size_t end = kMaxBytes;
    // Not in the middle of a character: the message of a status must be UTF-8.
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
  }
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(absl::string_view(text.data(), text.size())),
                      cut ? "..." : "", "\"");
}

}  // namespace postrider
