#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace postrider {

// One `key = value` of the configuration file.
struct ConfigEntry {
  std::string key;
  // One for a plain value; an array has as many as it has elements.
  std::vector<std::string> values;
  int line = 0;
};

// Reads the part of TOML 1.0 that flags need: `key = value` with strings, integers, booleans and
// arrays of them, and comments. Tables are refused, and so is everything else, by name and line:
// CLI11's own reader takes what it does not understand for something else. INVALID_ARGUMENT with a
// sentence that names `file` and the line.
absl::StatusOr<std::vector<ConfigEntry>> ParseConfigFile(std::string_view text,
                                                         const std::string& file);

}  // namespace postrider
