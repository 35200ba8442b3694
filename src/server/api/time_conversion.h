#pragma once

#include <string>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "src/server/api/errors.h"

namespace postrider {

google::protobuf::Timestamp ToProto(absl::Time time);
google::protobuf::Duration ToProto(absl::Duration duration);

// Adds a violation of `field`, and gives the epoch or zero, when the message is outside of what its
// type allows.
absl::Time FromProto(const google::protobuf::Timestamp& time, const std::string& field,
                     FieldViolations* violations);
absl::Duration FromProto(const google::protobuf::Duration& duration, const std::string& field,
                         FieldViolations* violations);

}  // namespace postrider
