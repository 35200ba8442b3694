#include "src/message/rendering.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <unordered_map>

namespace postrider {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

void Key(Writer& writer, std::string_view key) {
  writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
}

void String(Writer& writer, std::string_view value) {
  writer.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
}

void Field(Writer& writer, std::string_view key, std::string_view value) {
  Key(writer, key);
  String(writer, value);
}

// Opens the body and stands where the payload goes.
void Begin(Writer& writer, const BodyHeader& header) {
  writer.StartObject();
  Key(writer, "header");
  writer.StartObject();
  Field(writer, "model_name", header.model_name);
  Key(writer, "model_id");
  writer.Int64(header.model_id);
  Field(writer, "notification_type", header.notification_type);
  writer.EndObject();
  Key(writer, "payload");
}

void Alerts(Writer& writer, std::string_view key, const std::vector<AlertGroup>& groups) {
  // The groups of each method, the methods in the order of their first groups.
  std::vector<std::vector<const AlertGroup*>> methods;
  std::unordered_map<std::string_view, size_t> index;
  for (const AlertGroup& group : groups) {
    const auto [it, is_new] = index.try_emplace(group.method, methods.size());
    if (is_new) methods.emplace_back();
    methods[it->second].push_back(&group);
  }
  Key(writer, key);
  writer.StartObject();
  for (const auto& method : methods) {
    Key(writer, method[0]->method);
    writer.StartArray();
    for (const AlertGroup* group : method) {
      for (const std::string& metric_name : group->metric_names) {
        writer.StartObject();
        Field(writer, "metric_name", metric_name);
        writer.EndObject();
      }
    }
    writer.EndArray();
  }
  writer.EndObject();
}

void Run(Writer& writer, const RunCompletedPayload& payload) {
  Key(writer, "run");
  writer.StartObject();
  if (payload.started_at) {
    // %E4Y and %E6S: four and six digits, also when they are zeros.
    Field(writer, "started_at",
          absl::FormatTime("%E4Y-%m-%dT%H:%M:%E6S", *payload.started_at, absl::UTCTimeZone()));
  }
  if (!payload.status.empty()) Field(writer, "status", payload.status);
  if (!payload.error.empty()) Field(writer, "error", payload.error);
  writer.EndObject();
}

}  // namespace

std::string RenderBody(const BodyHeader& header, const RunCompletedPayload& payload) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  Begin(writer, header);
  writer.StartObject();
  Run(writer, payload);
  Alerts(writer, "performance_alerts", payload.performance_alerts);
  Alerts(writer, "other_alerts", payload.other_alerts);
  Key(writer, "success");
  writer.StartArray();
  for (const std::string& name : payload.success) String(writer, name);
  writer.EndArray();
  Field(writer, "report_link", payload.report_link);
  writer.EndObject();
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string RenderRawBody(const BodyHeader& header, std::string_view payload) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  Begin(writer, header);
  std::string body;
  // The writer puts the colon before the next value, which is not its own.
  body.reserve(buffer.GetSize() + payload.size() + 2);
  body.append(buffer.GetString(), buffer.GetSize()).append(":").append(payload).append("}");
  return body;
}

}  // namespace postrider
