#pragma once

#include <CLI/CLI.hpp>

namespace postrider {

// Adds the client subcommands (listen, configure, validate, webhooks, publish,
// deliveries) to the program.
// Each runs while `root` is parsed and leaves what the process shall end with in `exit_code`, which
// is not touched when none of them was asked for. What a command finds goes to standard output,
// what went wrong to standard error.
//
// The flags of the connection can be set in the environment too (POSTRIDER_SERVER for --server).
//
// `exit_code` must outlive the parse.
void AddClientCommands(CLI::App& root, int* exit_code);

}  // namespace postrider
