#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace postrider {

// The whole of a small file (at most 1 MiB): a configuration, a certificate. An error is a sentence
// that names the path and the reason.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

}  // namespace postrider
