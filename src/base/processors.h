#pragma once

#include <string>

namespace postrider {

// How many processors this process may keep busy: those it may run on, and no more than its
// cgroups' quotas of time (versions 1 and 2) amount to, rounded up. At least 1. A container that
// has two processors of a machine's 64 wants threads for two.
//
// `root` stands before /proc and /sys.
int UsableProcessors(const std::string& root = "");

}  // namespace postrider
