#pragma once

#include "src/server/config.h"
#include "src/server/exit_codes.h"

namespace postrider {

// Blocks the signals that end a server, in this thread and those it will make, so that Serve can
// wait for them; ignores SIGPIPE. REQUIRES: no other thread runs yet.
void BlockStopSignals();

// `postrider serve`: starts the server, prints the `ready` line on standard output, and stops at
// SIGTERM or SIGINT. A second signal does not wait for what is under way. Complaints go to standard
// error. REQUIRES: BlockStopSignals was called.
ExitCode Serve(const ServerConfig& config);

}  // namespace postrider
