#include "tools/benchmark/message.h"

#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/benchmark/environment.h"

namespace postrider::bench {
namespace {

constexpr char kModelName[] = "churn-model";
constexpr int64_t kModelId = 42;
constexpr std::string_view kStampField = "{\"t\":\"";
constexpr size_t kStampDigits = 19;

std::string BodyHead(int type) {
  return absl::StrFormat(
      "{\"header\":{\"model_name\":\"%s\",\"model_id\":%d,\"notification_type\":\"%s\"},"
      "\"payload\":",
      kModelName, kModelId, NotificationType(type));
}

// In the likeness of the RUN_COMPLETED payload.
std::string MakePayload() {
  std::string payload = absl::StrCat(
      std::string(kStampField), std::string(kStampDigits, '0'),
      "\",\"run\":{\"started_at\":\"2026-01-31T12:30:00.000000\",\"status\":\"SUCCEEDED\"},"
      "\"performance_alerts\":{\"psi\":[{\"metric_name\":\"age\"},{\"metric_name\":\"income\"}]},"
      "\"other_alerts\":{\"drift\":[{\"metric_name\":\"tenure\"}]},"
      "\"success\":[\"accuracy\",\"recall\",\"precision\"],"
      "\"report_link\":\"https://example.com/reports/2026/01/31/churn-model/");
  const std::string tail = "\"}";
  const size_t size = BodyHead(0).size() + payload.size() + tail.size() + 1;
  if (size > kBodyBytes) Fail("the bench's payload is too long for its body");
  return absl::StrCat(payload, std::string(kBodyBytes - size, '7'), tail);
}

const std::string& Payload() {
  static const std::string* const payload = new std::string(MakePayload());
  return *payload;
}

}  // namespace

std::string NotificationType(int number) { return absl::StrFormat("BENCH_%04d", number); }

v1::PublishNotificationRequest PublishRequest(const std::string& tenant, int type) {
  v1::PublishNotificationRequest request;
  request.set_tenant(tenant);
  v1::Notification* const notification = request.mutable_notification();
  notification->set_notification_type(NotificationType(type));
  notification->set_model_name(kModelName);
  notification->set_model_id(kModelId);
  notification->set_json_payload(Payload());
  return request;
}

void Stamp(int64_t time_ns, v1::PublishNotificationRequest* request) {
  std::string* const payload = request->mutable_notification()->mutable_json_payload();
  char* const digits = payload->data() + kStampField.size();
  for (size_t i = kStampDigits; i-- > 0; time_ns /= 10) {
    digits[i] = static_cast<char>('0' + time_ns % 10);
  }
}

int64_t ReadStamp(std::string_view body) {
  static const size_t offset = BodyHead(0).size() + kStampField.size();
  int64_t time_ns = 0;
  for (const char digit : body.substr(offset, kStampDigits)) time_ns = time_ns * 10 + (digit - '0');
  return time_ns;
}

std::string RenderedBody(int type) { return absl::StrCat(BodyHead(type), Payload(), "}"); }

const std::vector<HeaderPair>& AdditionalHeaders() {
  static const auto* const headers =
      new std::vector<HeaderPair>{{"Authorization", "Bearer 0123456789abcdef0123456789abcdef"},
                                  {"X-Environment", "production"},
                                  {"X-Team", "model-monitoring"},
                                  {"X-Region", "eu-central-1"},
                                  {"X-Correlation-Source", "postrider-bench"}};
  return *headers;
}

std::vector<HeaderPair> DeliveryHeaders() {
  std::vector<HeaderPair> headers = {
      {"Content-Type", "application/json"},
      {"User-Agent", "postrider/0.1.0"},
      {"webhook-id", absl::StrCat("ntf_", std::string(21, '0'))},
      {"webhook-timestamp", "1767225600"},
      // v1, and the base64 of 32 bytes.
      {"webhook-signature", absl::StrCat("v1,", std::string(43, 'A'), "=")}};
  headers.insert(headers.end(), AdditionalHeaders().begin(), AdditionalHeaders().end());
  return headers;
}

}  // namespace postrider::bench
