#include "src/cli/output.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "google/rpc/error_details.pb.h"

namespace postrider {
namespace {

absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

std::string CodeName(int code) {
  // google.rpc.Code, from 0.
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS",
                                           "UNAUTHENTICATED"};
  if (code >= 0 && code < static_cast<int>(std::size(kNames))) return kNames[code];
  return absl::StrCat("code ", code);
}

std::string HeaderLines(const google::protobuf::RepeatedPtrField<v1::Header>& headers) {
  std::string lines;
  for (const v1::Header& header : headers) {
    absl::StrAppend(&lines, Printable(header.name()), ": ", Printable(header.value()), "\n");
  }
  return lines;
}

std::string RetryPhrase(const v1::RetryPolicy& policy) {
  std::vector<std::string> parts;
  if (policy.has_initial_backoff()) {
    parts.push_back(absl::StrCat("after ", DurationPhrase(policy.initial_backoff())));
  }
  if (policy.multiplier() != 0) parts.push_back(absl::StrCat("x", policy.multiplier()));
  if (policy.has_max_backoff()) {
    parts.push_back(absl::StrCat("at most ", DurationPhrase(policy.max_backoff())));
  }
  if (policy.has_max_age()) {
    parts.push_back(absl::StrCat("for ", DurationPhrase(policy.max_age())));
  }
  if (policy.max_attempts() != 0) {
    parts.push_back(absl::StrCat(policy.max_attempts(), " attempts"));
  }
  if (policy.has_max_probe_interval()) {
    parts.push_back(absl::StrCat("probed every ", DurationPhrase(policy.max_probe_interval())));
  }
  return parts.empty() ? "as usual" : absl::StrJoin(parts, ", ");
}

}  // namespace

std::string ValidationPhrase(v1::ValidationState state) {
  switch (state) {
    case v1::VALIDATION_STATE_UNVALIDATED:
      return "unvalidated";
    case v1::VALIDATION_STATE_VALID:
      return "valid";
    case v1::VALIDATION_STATE_INVALID:
      return "invalid";
    default:
      // A newer server may know more.
      return "of an unknown validation state";
  }
}

std::string EnumPhrase(const std::string& name, std::string_view prefix,
                       std::string_view otherwise) {
  return name.size() > prefix.size() ? absl::AsciiStrToLower(name.substr(prefix.size()))
                                     : std::string(otherwise);
}

std::string TimePhrase(bool set, const google::protobuf::Timestamp& time) {
  if (!set) return "-";
  const absl::Time value = absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", value, absl::UTCTimeZone());
}

std::string DurationPhrase(const google::protobuf::Duration& duration) {
  const absl::Duration value = DurationOf(duration);
  if (value != absl::ZeroDuration() && absl::AbsDuration(value) < absl::Seconds(1)) {
    return absl::FormatDuration(absl::Trunc(value, absl::Microseconds(100)));
  }
  return absl::FormatDuration(absl::Trunc(value, absl::Milliseconds(1)));
}

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  to->set_seconds(absl::IDivDuration(from, absl::Seconds(1), &from));
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(from)));
}

void SetTime(absl::Time from, google::protobuf::Timestamp* to) {
  const int64_t seconds = absl::ToUnixSeconds(from);
  to->set_seconds(seconds);
  to->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(from - absl::FromUnixSeconds(seconds))));
}

namespace {

// As in `probing since 2026-01-25T14:04:10Z, tried next at 2026-01-25T14:05:10Z: it answered 500`.
std::string HealthPhrase(const v1::Health& health) {
  std::string text = EnumPhrase(v1::HealthState_Name(health.state()), "HEALTH_STATE_",
                                "in a state that this client does not know");
  if (health.has_start_time()) {
    absl::StrAppend(&text, " since ", TimePhrase(true, health.start_time()));
  }
  if (health.has_next_attempt_time()) {
    absl::StrAppend(&text, ", tried next at ", TimePhrase(true, health.next_attempt_time()));
  }
  if (!health.last_error().empty()) absl::StrAppend(&text, ": ", health.last_error());
  return text;
}

}  // namespace

std::string DescribeWebhook(const v1::Webhook& webhook) {
  std::string text = absl::StrFormat(
      "webhook %s of tenant %s: %s, %s\n", webhook.name(), webhook.tenant(),
      webhook.enabled() ? "enabled" : "not enabled", ValidationPhrase(webhook.validation_state()));
  const auto line = [&text](const char* name, const std::string& value) {
    absl::StrAppendFormat(&text, "  %-15s %s\n", name, Printable(value));
  };
  if (!webhook.disabled_reason().empty()) line("disabled", webhook.disabled_reason());
  line("url", webhook.url());
  if (webhook.has_health()) line("receiver", HealthPhrase(webhook.health()));
  for (const v1::Header& header : webhook.headers()) {
    line("header",
         absl::StrCat(header.name(), ": ", header.sensitive() ? "(not shown)" : header.value()));
  }
  line("types", webhook.notification_types().empty()
                    ? "all"
                    : absl::StrJoin(webhook.notification_types(), ", "));
  if (webhook.has_timeout()) line("timeout", DurationPhrase(webhook.timeout()));
  line("retries", RetryPhrase(webhook.retry_policy()));
  line("at once", absl::StrCat(webhook.max_concurrency()));
  if (webhook.has_rate_limit()) {
    line("rate limit", absl::StrCat(webhook.rate_limit().per_second(), " per second, burst ",
                                    std::max(1, webhook.rate_limit().burst())));
  }
  if (webhook.delivery_order() == v1::DELIVERY_ORDER_ORDERED) line("order", "as published");
  line("etag", webhook.etag());
  return text;
}

std::string DescribeValidation(const v1::ValidationResult& result) {
  std::string text = "The request that was sent:\n";
  const v1::HttpRequest& request = result.request();
  absl::StrAppend(&text, Indent(absl::StrCat(request.method(), " ", Printable(request.url()), "\n",
                                             HeaderLines(request.headers()), "\n",
                                             Printable(PrettyJson(request.body()))),
                                "  "));
  if (result.has_response()) {
    const v1::HttpResponse& response = result.response();
    absl::StrAppend(&text, "The answer, after ", DurationPhrase(result.latency()), ":\n",
                    Indent(absl::StrCat("HTTP status ", response.status(), "\n",
                                        HeaderLines(response.headers())),
                           "  "));
    if (!response.body().empty()) {
      absl::StrAppend(&text, "\n", Indent(Printable(PrettyJson(response.body())), "  "));
    }
    if (response.body_truncated()) absl::StrAppend(&text, "  (the body goes on)\n");
  } else {
    absl::StrAppend(&text, "There was no answer.\n");
  }
  absl::StrAppend(&text, result.valid()
                             ? "Valid: the receiver answered 200.\n"
                             : absl::StrCat("Not valid: ", Printable(result.error()), "\n"));
  return text;
}

std::string DescribeError(const google::rpc::Status& status) {
  std::string text = absl::StrCat(CodeName(status.code()), ": ", Printable(status.message()), "\n");
  for (const google::protobuf::Any& detail : status.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    google::rpc::QuotaFailure quota;
    if (detail.UnpackTo(&bad_request)) {
      // A single one is in the message already.
      if (bad_request.field_violations_size() == 1 &&
          absl::StrContains(status.message(), bad_request.field_violations(0).description())) {
        continue;
      }
      for (const auto& violation : bad_request.field_violations()) {
        absl::StrAppend(&text, "  ", violation.field(), ": ", Printable(violation.description()),
                        "\n");
      }
    } else if (detail.UnpackTo(&quota)) {
      for (const auto& violation : quota.violations()) {
        absl::StrAppend(&text, "  ", violation.subject(), ": ", Printable(violation.description()),
                        "\n");
      }
    } else if (detail.UnpackTo(&retry)) {
      absl::StrAppend(&text, "  Try again in ", DurationPhrase(retry.retry_delay()), ".\n");
    }
  }
  return text;
}

bool ValidationOf(const google::rpc::Status& status, v1::ValidationResult* result) {
  return std::any_of(
      status.details().begin(), status.details().end(),
      [result](const google::protobuf::Any& detail) { return detail.UnpackTo(result); });
}

ClientExit ExitOf(const google::rpc::Status& status) {
  switch (status.code()) {
    case 0:
      return ClientExit::kOk;
    case 4:   // DEADLINE_EXCEEDED
    case 14:  // UNAVAILABLE
      return ClientExit::kUnavailable;
    case 8:  // RESOURCE_EXHAUSTED
      return ClientExit::kTryLater;
    case 2:   // UNKNOWN
    case 13:  // INTERNAL
    case 15:  // DATA_LOSS
      return ClientExit::kInternal;
    default:
      return ClientExit::kRefused;
  }
}

}  // namespace postrider
