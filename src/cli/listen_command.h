#pragma once

#include <CLI/CLI.hpp>

namespace postrider {

// `postrider listen`: a receiver for trying things out, until SIGTERM or SIGINT, or --count
// requests. It shows each request and whether its signature is right, and can be told to misbehave.
void AddListenCommand(CLI::App& root, int* exit_code);

}  // namespace postrider
