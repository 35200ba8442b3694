#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

// The JSON bodies that receivers get: one object of `header` and `payload`, compact, in the order
// and spelling of the product's webhook page. All strings must be valid UTF-8.

namespace postrider {

// What every body begins with.
struct BodyHeader {
  std::string model_name;
  // A JSON number, though some readers lose digits beyond 2^53: so the product has it.
  int64_t model_id = 0;
  std::string notification_type;
};

// The alerts that one method raised: names of metrics.
struct AlertGroup {
  std::string method;
  std::vector<std::string> metric_names;
};

// A monitoring run came to its end, well or badly.
struct RunCompletedPayload {
  // Rendered in UTC with microseconds and without a zone.
  std::optional<absl::Time> started_at;
  // Rendered when they are not empty.
  std::string status;
  std::string error;
  // Groups of the same method become one, where the first of them stands.
  std::vector<AlertGroup> performance_alerts;
  std::vector<AlertGroup> other_alerts;
  std::vector<std::string> success;
  std::string report_link;
};

std::string RenderBody(const BodyHeader& header, const RunCompletedPayload& payload);

// The payload's bytes stand in the body as they are. REQUIRES: CheckJsonObject(payload) is OK.
std::string RenderRawBody(const BodyHeader& header, std::string_view payload);

}  // namespace postrider
