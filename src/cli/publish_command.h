#pragma once

#include <CLI/CLI.hpp>

namespace postrider {

// `postrider publish`: publishes one notification and prints its id.
void AddPublishCommand(CLI::App& root, int* exit_code);

}  // namespace postrider
