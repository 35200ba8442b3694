#pragma once

#include "src/base/failure.h"
#include "src/server/config/config.h"

namespace postrider {

// Blocks the signals that a server knows, in this thread and those it will make, so that Serve can
// wait for them; ignores SIGPIPE. REQUIRES: no other thread runs yet.
void BlockStopSignals();

// `postrider serve`: starts the server, prints the `ready` line on standard output, and stops at
// SIGTERM or SIGINT. A second one, a second later or more, does not wait for what is under way.
// SIGHUP reads certificates and name servers again. Complaints go to standard error. REQUIRES:
// flags.Finish has found no failure, and BlockStopSignals was called.
ExitCode Serve(const ServeFlags& flags);

}  // namespace postrider
