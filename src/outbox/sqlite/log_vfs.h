#pragma once

#include <string>

namespace postrider {

// A SQLite VFS over `base` (a registered one, or empty for the system's) for the connection that
// writes. SQLite appends to its write-ahead log with two small writes for each page; this keeps
// them until the log is synced, and then writes them together. All other files are the base's own.
//
// Only for connections with synchronous=FULL, which sync the log before a commit counts: until then
// no other connection reads, and no promise rests on, what is kept here. The base must say
// SQLITE_IOCAP_POWERSAFE_OVERWRITE, as the system's does by default: SQLite would write behind the
// sync without it, to fill a sector.
//
// That a write failed is told by the call that made it necessary: by the sync, as a rule. What was
// kept is gone then (but for a read), and the transaction must be rolled back, as after any write
// that failed.
//
// Registers it once for each base and returns its name. Thread-safe; ends the process when the base
// is not registered.
std::string LogVfs(const std::string& base);

}  // namespace postrider
