#pragma once

#include <optional>
#include <string>

#include "google/protobuf/struct.pb.h"
#include "src/server/api/errors.h"

namespace postrider {

// The Struct as a JSON object: keys sorted, so that the same Struct always gives the same bytes;
// numbers in the shortest form that reads back as the same double, whole ones without a fraction.
// A number that JSON has no form for (NaN, infinities) and a Value of no kind are violations of
// their field below `field`; then nothing is returned.
std::optional<std::string> StructToJson(const google::protobuf::Struct& value,
                                        const std::string& field, FieldViolations* violations);

}  // namespace postrider
