#pragma once

namespace postrider {

// The errno of a write that failed for want of room. A quota that is used up (EDQUOT) and a file
// that may not grow (EFBIG) are a full disk (ENOSPC): they end when somebody makes room, and
// nothing that was synced before is in doubt. Others stay as they are.
int AsFullDisk(int error);

// Has SQLite hear of AsFullDisk's errors from every write: it calls ENOSPC alone SQLITE_FULL, and
// everything else a failed disk. Its system calls are replaced for the whole process, by the
// interface that its VFS has for that (xSetSystemCall). Once, before the first file is opened;
// later calls do nothing. Thread-safe; ends the process when SQLite does not know the call.
void TellEveryFullDisk();

}  // namespace postrider
