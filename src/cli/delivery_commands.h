#pragma once

#include <CLI/CLI.hpp>

namespace postrider {

// `postrider deliveries`: lists what is owed and what was delivered, the newest first;
// `deliveries get ID` shows one with its attempts, `deliveries retry ID` makes it due again.
void AddDeliveriesCommand(CLI::App& root, int* exit_code);

}  // namespace postrider
