#pragma once

#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace postrider {

// The handlers are the API without gRPC's server in it: a method takes the request, fills in the
// response and calls `done` once, perhaps inside the call, perhaps later on another thread. Request
// and response must live until then. No method blocks. The status may carry details (errors.h);
// status_mapping.h turns it into what callers see.
using HandlerDone = absl::AnyInvocable<void(absl::Status) &&>;

// An empty tenant in a request means `default`.
inline std::string TenantOrDefault(const std::string& tenant) {
  return tenant.empty() ? "default" : tenant;
}

}  // namespace postrider
