#include "src/server/api/webhook_conversion.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/message/masking.h"
#include "src/message/webhook_check.h"
#include "src/server/api/errors.h"
#include "src/server/api/handler.h"
#include "src/server/api/time_conversion.h"

namespace postrider {
namespace {

constexpr absl::Duration kMinTimeout = absl::Milliseconds(1);
constexpr absl::Duration kMaxTimeout = absl::Minutes(5);
constexpr absl::Duration kMaxAge = absl::Hours(365 * 24);
constexpr int kMaxConcurrency = 1024;
constexpr int kMaxTypes = 1000;
constexpr double kMaxMultiplier = 1000;
constexpr double kMaxPerSecond = 1e6;
constexpr int kMaxBurst = 1'000'000;
constexpr absl::Duration kMinProbeInterval = absl::Seconds(1);
constexpr absl::Duration kMaxProbeInterval = absl::Hours(6);
constexpr int kMaxAttempts = 1'000'000;

bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }

// One of the allowed characters, the first one a letter or digit.
bool IsIdentifier(const std::string& text, size_t max_size, std::string_view punctuation,
                  bool upper_case) {
  if (text.empty() || text.size() > max_size || !IsAlnum(text[0])) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    if (!upper_case && absl::ascii_isupper(static_cast<unsigned char>(c))) return false;
    return IsAlnum(c) || punctuation.find(c) != std::string_view::npos;
  });
}

void CheckNames(const Webhook& webhook, bool needs_name, FieldViolations* violations) {
  if (!IsIdentifier(webhook.tenant, 128, "._:@-", /*upper_case=*/true)) {
    violations->Add("webhook.tenant", "must match [A-Za-z0-9][A-Za-z0-9._:@-]{0,127}");
  }
  if (webhook.name.empty() && !needs_name) return;
  if (!IsIdentifier(webhook.name, 63, "._-", /*upper_case=*/false)) {
    violations->Add("webhook.name", "must match [a-z0-9][a-z0-9._-]{0,62}");
  }
}

void CheckRequest(const v1::Webhook& proto, Webhook* webhook, FieldViolations* violations) {
  for (const v1::Header& header : proto.headers()) {
    webhook->headers.push_back({header.name(), std::string(TrimHeaderValue(header.value())),
                                header.sensitive() || IsAlwaysSensitive(header.name())});
  }
  if (absl::StatusOr<std::string> url = UrlAsSent(webhook->url); url.ok()) {
    webhook->url = *std::move(url);
  } else {
    violations->Add("webhook.url", std::string(url.status().message()));
    return;
  }
  for (WebhookFault& fault : CheckWebhookRequest(webhook->url, webhook->headers)) {
    violations->Add(absl::StrCat("webhook.", fault.field), std::move(fault.description));
  }
}

void ReadTypes(const v1::Webhook& proto, Webhook* webhook, FieldViolations* violations) {
  if (proto.notification_types_size() > kMaxTypes) {
    violations->Add("webhook.notification_types",
                    absl::StrCat("has ", proto.notification_types_size(), " types, at most ",
                                 kMaxTypes, " are allowed"));
    return;
  }
  std::set<std::string> seen;
  for (int i = 0; i < proto.notification_types_size(); ++i) {
    const std::string& type = proto.notification_types(i);
    const std::string field = absl::StrCat("webhook.notification_types[", i, "]");
    if (!IsNotificationType(type)) {
      violations->Add(field, "must match [A-Za-z0-9][A-Za-z0-9._:-]{0,127}");
    } else if (!seen.insert(type).second) {
      violations->Add(field, absl::StrCat(Quoted(type), " is there already"));
    }
    webhook->notification_types.push_back(type);
  }
}

void ReadRetryPolicy(const v1::RetryPolicy& proto, RetryPolicy* policy,
                     FieldViolations* violations) {
  const std::string prefix = "webhook.retry_policy.";
  if (proto.has_initial_backoff()) {
    policy->initial_backoff =
        FromProto(proto.initial_backoff(), prefix + "initial_backoff", violations);
  }
  if (proto.has_max_backoff()) {
    policy->max_backoff = FromProto(proto.max_backoff(), prefix + "max_backoff", violations);
  }
  // A default gives way to what the caller says.
  if (!proto.has_max_backoff()) {
    policy->max_backoff = std::max(policy->max_backoff, policy->initial_backoff);
  }
  if (!proto.has_initial_backoff()) {
    policy->initial_backoff = std::min(policy->max_backoff, policy->initial_backoff);
  }
  if (proto.multiplier() != 0) policy->multiplier = proto.multiplier();
  if (proto.has_max_age()) {
    policy->max_age = FromProto(proto.max_age(), prefix + "max_age", violations);
  }
  policy->max_attempts = proto.max_attempts();
  if (proto.has_max_probe_interval()) {
    policy->max_probe_interval =
        FromProto(proto.max_probe_interval(), prefix + "max_probe_interval", violations);
  }

  if (policy->initial_backoff < absl::Milliseconds(1) || policy->initial_backoff > kMaxAge) {
    violations->Add(prefix + "initial_backoff", "must be between 1 ms and 365 days");
  }
  if (policy->max_backoff < policy->initial_backoff || policy->max_backoff > kMaxAge) {
    violations->Add(prefix + "max_backoff", "must be between initial_backoff and 365 days");
  }
  if (!std::isfinite(policy->multiplier) || policy->multiplier < 1 ||
      policy->multiplier > kMaxMultiplier) {
    violations->Add(prefix + "multiplier", "must be between 1 and 1,000; 0 means 3");
  }
  if (policy->max_age < absl::Milliseconds(1) || policy->max_age > kMaxAge) {
    violations->Add(prefix + "max_age", "must be between 1 ms and 365 days");
  }
  if (policy->max_attempts < 0 || policy->max_attempts > kMaxAttempts) {
    violations->Add(prefix + "max_attempts",
                    "must be between 0 and 1,000,000; 0 means that only the age counts");
  }
  if (policy->max_probe_interval < kMinProbeInterval ||
      policy->max_probe_interval > kMaxProbeInterval) {
    violations->Add(prefix + "max_probe_interval",
                    "must be between 1 s and 6 h; unset means 1 min");
  }
}

void ReadLimits(const v1::Webhook& proto, Webhook* webhook, FieldViolations* violations) {
  if (proto.has_timeout()) {
    webhook->timeout = FromProto(proto.timeout(), "webhook.timeout", violations);
    if (webhook->timeout < kMinTimeout || webhook->timeout > kMaxTimeout) {
      violations->Add("webhook.timeout", "must be between 1 ms and 5 min; unset means 15 s");
    }
  }
  if (proto.max_concurrency() != 0) webhook->max_concurrency = proto.max_concurrency();
  if (webhook->max_concurrency < 1 || webhook->max_concurrency > kMaxConcurrency) {
    violations->Add("webhook.max_concurrency", "must be between 1 and 1,024; 0 means 16");
  }
  if (proto.has_rate_limit()) {
    RateLimit& limit = webhook->rate_limit;
    limit.per_second = proto.rate_limit().per_second();
    if (proto.rate_limit().burst() != 0) limit.burst = proto.rate_limit().burst();
    if (!std::isfinite(limit.per_second) || limit.per_second <= 0 ||
        limit.per_second > kMaxPerSecond) {
      violations->Add("webhook.rate_limit.per_second",
                      "must be above 0 and at most 1,000,000; leave rate_limit unset for no limit");
    }
    if (limit.burst < 1 || limit.burst > kMaxBurst) {
      violations->Add("webhook.rate_limit.burst", "must be between 1 and 1,000,000; 0 means 1");
    }
  }
  switch (proto.delivery_order()) {
    case v1::DELIVERY_ORDER_UNSPECIFIED:
    case v1::DELIVERY_ORDER_UNORDERED:
      break;
    case v1::DELIVERY_ORDER_ORDERED:
      webhook->order = DeliveryOrder::kOrdered;
      break;
    default:
      violations->Add("webhook.delivery_order",
                      absl::StrCat(proto.delivery_order(), " is not a known order"));
  }
}

v1::ValidationState StateToProto(ValidationState state) {
  switch (state) {
    case ValidationState::kUnvalidated:
      return v1::VALIDATION_STATE_UNVALIDATED;
    case ValidationState::kValid:
      return v1::VALIDATION_STATE_VALID;
    case ValidationState::kInvalid:
      return v1::VALIDATION_STATE_INVALID;
  }
  return v1::VALIDATION_STATE_UNSPECIFIED;
}

// The value of the nth header of that name, or null.
const std::string* NthValue(const Webhook& webhook, const std::string& name, int n) {
  for (const Header& header : webhook.headers) {
    if (absl::EqualsIgnoreCase(header.name, name) && n-- == 0) return &header.value;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<Webhook> WebhookFromProto(const v1::Webhook& proto, bool needs_name) {
  Webhook webhook;
  FieldViolations violations;
  webhook.tenant = TenantOrDefault(proto.tenant());
  webhook.name = proto.name();
  webhook.url = proto.url();
  webhook.enabled = proto.enabled();
  CheckNames(webhook, needs_name, &violations);
  CheckRequest(proto, &webhook, &violations);
  ReadTypes(proto, &webhook, &violations);
  ReadRetryPolicy(proto.retry_policy(), &webhook.retry_policy, &violations);
  ReadLimits(proto, &webhook, &violations);
  if (!violations.empty()) return violations.ToStatus();
  return webhook;
}

v1::Webhook WebhookToProto(const Webhook& webhook) {
  v1::Webhook proto;
  proto.set_tenant(webhook.tenant);
  proto.set_name(webhook.name);
  proto.set_url(webhook.url);
  for (const Header& header : webhook.headers) {
    v1::Header* added = proto.add_headers();
    added->set_name(header.name);
    if (!header.sensitive) added->set_value(header.value);
    added->set_sensitive(header.sensitive);
  }
  proto.set_enabled(webhook.enabled);
  for (const std::string& type : webhook.notification_types) proto.add_notification_types(type);

  v1::RetryPolicy* policy = proto.mutable_retry_policy();
  *policy->mutable_initial_backoff() = ToProto(webhook.retry_policy.initial_backoff);
  policy->set_multiplier(webhook.retry_policy.multiplier);
  *policy->mutable_max_backoff() = ToProto(webhook.retry_policy.max_backoff);
  *policy->mutable_max_age() = ToProto(webhook.retry_policy.max_age);
  policy->set_max_attempts(webhook.retry_policy.max_attempts);
  *policy->mutable_max_probe_interval() = ToProto(webhook.retry_policy.max_probe_interval);

  *proto.mutable_timeout() = ToProto(webhook.timeout);
  proto.set_max_concurrency(webhook.max_concurrency);
  if (webhook.rate_limit.per_second > 0) {
    proto.mutable_rate_limit()->set_per_second(webhook.rate_limit.per_second);
    proto.mutable_rate_limit()->set_burst(webhook.rate_limit.burst);
  }
  proto.set_delivery_order(webhook.order == DeliveryOrder::kOrdered ? v1::DELIVERY_ORDER_ORDERED
                                                                    : v1::DELIVERY_ORDER_UNORDERED);
  proto.set_validation_state(StateToProto(webhook.validation_state));
  proto.set_disabled_reason(webhook.disabled_reason);
  *proto.mutable_create_time() = ToProto(webhook.create_time);
  *proto.mutable_update_time() = ToProto(webhook.update_time);
  proto.set_etag(EtagOf(webhook));
  return proto;
}

std::string EtagOf(const Webhook& webhook) {
  return absl::StrFormat("%x-%x", static_cast<int64_t>(webhook.id), webhook.version);
}

absl::Status MergeSensitiveHeaders(const Webhook* stored, Webhook* webhook) {
  FieldViolations violations;
  for (size_t i = 0; i < webhook->headers.size(); ++i) {
    Header& header = webhook->headers[i];
    if (!header.sensitive || !header.value.empty()) continue;
    int same_name_before = 0;
    for (size_t j = 0; j < i; ++j) {
      if (absl::EqualsIgnoreCase(webhook->headers[j].name, header.name)) ++same_name_before;
    }
    const std::string* value =
        stored == nullptr ? nullptr : NthValue(*stored, header.name, same_name_before);
    if (value == nullptr || value->empty()) {
      violations.Add(absl::StrCat("webhook.headers[", i, "].value"),
                     absl::StrCat("is empty, and no value of the sensitive header ",
                                  Quoted(header.name), " is stored that could be kept: send it"));
      continue;
    }
    header.value = *value;
  }
  return violations.ToStatus();
}

bool SameTestRequest(const Webhook& a, const Webhook& b) {
  return a.url == b.url && std::equal(a.headers.begin(), a.headers.end(), b.headers.begin(),
                                      b.headers.end(), [](const Header& x, const Header& y) {
                                        return x.name == y.name && x.value == y.value;
                                      });
}

bool SameOrigin(const std::string& url_a, const std::string& url_b) {
  const absl::StatusOr<ParsedUrl> a = ParseUrl(url_a);
  const absl::StatusOr<ParsedUrl> b = ParseUrl(url_b);
  return a.ok() && b.ok() && a->scheme == b->scheme && absl::EqualsIgnoreCase(a->host, b->host) &&
         a->port == b->port;
}

bool IsNotificationType(const std::string& type) {
  return IsIdentifier(type, 128, "._:-", /*upper_case=*/true);
}

}  // namespace postrider
