#include "src/server/api/notification_conversion.h"

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/message/json.h"
#include "src/message/rendering.h"
#include "src/server/api/errors.h"
#include "src/server/api/struct_json.h"
#include "src/server/api/time_conversion.h"
#include "src/server/api/webhook_conversion.h"

namespace postrider {
namespace {

constexpr char kRunCompletedType[] = "RUN_COMPLETED";

std::string StatusText(v1::RunStatus status, FieldViolations* violations) {
  switch (status) {
    case v1::RUN_STATUS_UNSPECIFIED:
      return "";
    case v1::RUN_STATUS_SUCCEEDED:
      return "SUCCEEDED";
    case v1::RUN_STATUS_FAILED:
      return "FAILED";
    default:
      violations->Add("notification.run_completed.run.status",
                      absl::StrCat(status, " is not a known status"));
      return "";
  }
}

void ReadGroups(const google::protobuf::RepeatedPtrField<v1::AlertGroup>& groups,
                const std::string& field, std::vector<AlertGroup>* result,
                FieldViolations* violations) {
  int index = 0;
  for (const v1::AlertGroup& group : groups) {
    if (group.method().empty()) {
      violations->Add(absl::StrCat(field, "[", index, "].method"), "is missing");
    }
    ++index;
    AlertGroup& added = result->emplace_back();
    added.method = group.method();
    for (const v1::Alert& alert : group.alerts()) {
      added.metric_names.push_back(alert.metric_name());
    }
  }
}

RunCompletedPayload ReadRunCompleted(const v1::RunCompleted& proto, FieldViolations* violations) {
  RunCompletedPayload payload;
  if (proto.run().has_started_at()) {
    payload.started_at = FromProto(proto.run().started_at(),
                                   "notification.run_completed.run.started_at", violations);
  }
  payload.status = StatusText(proto.run().status(), violations);
  payload.error = proto.run().error();
  ReadGroups(proto.performance_alerts(), "notification.run_completed.performance_alerts",
             &payload.performance_alerts, violations);
  ReadGroups(proto.other_alerts(), "notification.run_completed.other_alerts", &payload.other_alerts,
             violations);
  payload.success.assign(proto.success().begin(), proto.success().end());
  payload.report_link = proto.report_link();
  return payload;
}

}  // namespace

absl::StatusOr<RenderedNotification> RenderNotification(const v1::Notification& proto) {
  RenderedNotification rendered;
  rendered.type = proto.notification_type();
  FieldViolations violations;
  if (proto.has_run_completed()) {
    if (rendered.type.empty()) rendered.type = kRunCompletedType;
    // Else a receiver would take its payload for another.
    if (rendered.type != kRunCompletedType) {
      violations.Add("notification.notification_type",
                     "must be RUN_COMPLETED with run_completed, or empty, which means the same");
    }
  }
  if (rendered.type.empty()) {
    violations.Add("notification.notification_type", "is missing");
  } else if (violations.empty() && !IsNotificationType(rendered.type)) {
    violations.Add("notification.notification_type",
                   "must match [A-Za-z0-9][A-Za-z0-9._:-]{0,127}");
  }

  const BodyHeader header{proto.model_name(), proto.model_id(), rendered.type};
  switch (proto.payload_case()) {
    case v1::Notification::kRunCompleted: {
      const RunCompletedPayload payload = ReadRunCompleted(proto.run_completed(), &violations);
      if (violations.empty()) rendered.body = RenderBody(header, payload);
      break;
    }
    case v1::Notification::kStructPayload: {
      const std::optional<std::string> json =
          StructToJson(proto.struct_payload(), "notification.struct_payload", &violations);
      if (json.has_value() && violations.empty()) rendered.body = RenderRawBody(header, *json);
      break;
    }
    case v1::Notification::kJsonPayload: {
      const absl::Status status = CheckJsonObject(proto.json_payload());
      if (!status.ok()) {
        violations.Add("notification.json_payload", std::string(status.message()));
      } else if (violations.empty()) {
        rendered.body = RenderRawBody(header, proto.json_payload());
      }
      break;
    }
    case v1::Notification::PAYLOAD_NOT_SET:
      violations.Add("notification.payload",
                     "is missing: set run_completed, struct_payload or json_payload");
      break;
  }
  if (!violations.empty()) return violations.ToStatus();
  return rendered;
}

}  // namespace postrider
