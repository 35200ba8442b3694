#include "src/server/api/status_mapping.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "google/rpc/error_details.pb.h"
#include "src/server/api/errors.h"
#include "src/server/api/reasons.h"

namespace postrider {
namespace {

constexpr size_t kMaxMessageBytes = 1000;

std::string TypeUrl(const google::protobuf::Message& message) {
  return absl::StrCat(absl::string_view(kTypeUrlPrefix.data(), kTypeUrlPrefix.size()),
                      message.GetDescriptor()->full_name());
}

std::string CallerMessage(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnknown:
      return "the disk failed while this was being stored, and it may or may not be there: send it "
             "again when the server is back, with the same idempotency key if it is a notification";
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
      return "the server cannot do this because of a fault of its own: its log says more";
    default:
      return std::string(status.message());
  }
}

void AddDetail(const google::protobuf::Message& detail, google::rpc::Status* status) {
  auto* any = status->add_details();
  any->set_type_url(TypeUrl(detail));
  detail.SerializeToString(any->mutable_value());
}

google::rpc::ErrorInfo InfoOf(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  const absl::optional<absl::Cord> given = status.GetPayload(TypeUrl(info));
  if (given.has_value() && info.ParseFromString(std::string(*given))) return info;
  info.set_reason(absl::StatusCodeToString(status.code()));
  info.set_domain(std::string(kErrorDomain));
  return info;
}

bool MayBeTriedAgain(const absl::Status& status, std::string_view reason) {
  const Reason* const known = FindReason(reason);
  if (known != nullptr) return known->retry;
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

}  // namespace

bool IsInnerError(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnknown ||
         status.code() == absl::StatusCode::kInternal ||
         status.code() == absl::StatusCode::kDataLoss;
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status result;
  if (status.ok()) return result;
  // The codes of absl and of google.rpc are the same numbers.
  result.set_code(static_cast<int>(status.code()));
  std::string message = CallerMessage(status);
  if (message.size() > kMaxMessageBytes) {
    size_t end = kMaxMessageBytes;
    // Not in the middle of a character.
    while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
    message.resize(end);
    message += "...";
  }
  result.set_message(std::move(message));

  const google::rpc::ErrorInfo info = InfoOf(status);
  AddDetail(info, &result);
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    if (type_url == TypeUrl(info)) return;
    auto* any = result.add_details();
    any->set_type_url(std::string(type_url));
    any->set_value(std::string(payload));
  });
  if (MayBeTriedAgain(status, info.reason())) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(kRetryDelay));
    AddDetail(retry, &result);
  }
  return result;
}

}  // namespace postrider
