#pragma once

#include <cstdint>
#include <variant>

#include "src/base/failure.h"

namespace postrider {

// Who may have how many of the process's file descriptors, so that none of them can take the last
// ones from the others: callers over gRPC, callers over HTTP, receivers, and the rest (the disk,
// the log, the loops, name servers), which also has a reserve for what was not thought of.
struct DescriptorBudget {
  // Connections of gRPC's listener; of the HTTP listener.
  int callers = 0;
  int http = 0;
  // Connections of one pump to receivers.
  int receivers_per_pump = 0;
  // For everything else, the reserve included.
  int own = 0;
  // Of what all of this is.
  int limit = 0;
};

// Divides `limit` descriptors. `callers`: as many as are asked for, or 0 for a quarter. A Failure
// when there are too few to do anything with.
std::variant<DescriptorBudget, Failure> DivideDescriptors(uint64_t limit, int pumps, int callers);

// As many as this process may have, after its soft limit was raised to the hard one.
uint64_t RaiseDescriptorLimit();

}  // namespace postrider
