#pragma once

#include <CLI/CLI.hpp>

namespace postrider {

// `postrider webhooks`: lists what is configured; `webhooks get NAME` shows one webhook, and
// `webhooks rotate-secret NAME` gives it a new signing secret, which is printed.
void AddWebhooksCommand(CLI::App& root, int* exit_code);

}  // namespace postrider
