#pragma once

#include <string_view>

namespace postrider {

// The reasons that an ErrorInfo of ours may carry, beside the names of the codes, which stand for
// errors without one of their own. docs/api.md has the same table, and a test holds the two, and
// what the sources give, together.
struct Reason {
  std::string_view name;
  // The same call may succeed a little later, as it is: the error has a RetryInfo.
  bool retry;
};

inline constexpr Reason kReasons[] = {
    {"CHANGED_MEANWHILE", false},
    {"DELIVERY_NOT_FOUND", false},
    {"ETAG_MISMATCH", false},
    {"IDEMPOTENCY_KEY_REUSED", false},
    {"INVALID_FIELDS", false},
    {"MALFORMED_REQUEST", false},
    {"NOTIFICATION_NOT_FOUND", false},
    {"NOT_RETRYABLE", false},
    {"OUT_OF_RESOURCES", true},
    {"REQUEST_TOO_LARGE", false},
    {"STARTING", true},
    {"STOPPING", true},
    {"TENANT_NOT_FOUND", false},
    {"TOO_MANY_DELIVERIES", false},
    {"TOO_MANY_REQUESTS", true},
    {"TOO_MANY_SECRETS", false},
    {"TOO_MANY_TESTS", true},
    {"TOO_MANY_WATCHERS", true},
    {"VALIDATION_FAILED", false},
    {"WEBHOOK_NOT_FOUND", false},
};

// Null when there is none of that name.
constexpr const Reason* FindReason(std::string_view name) {
  for (const Reason& reason : kReasons) {
    if (reason.name == name) return &reason;
  }
  return nullptr;
}

}  // namespace postrider
