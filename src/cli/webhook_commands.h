#pragma once

#include <CLI/CLI.hpp>

namespace postrider {

// `postrider configure`: creates or replaces a webhook, and shows its signing secret on creation.
// When the receiver does not pass the gate, shows the request that was sent and the answer.
void AddConfigureCommand(CLI::App& root, int* exit_code);

// `postrider validate`: sends the test request of a stored webhook, or of one that is described by
// flags, and shows the request that was sent and the answer.
void AddValidateCommand(CLI::App& root, int* exit_code);

}  // namespace postrider
