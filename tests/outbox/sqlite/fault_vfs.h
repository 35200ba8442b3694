#pragma once

namespace postrider {

// A SQLite VFS over the system's whose disk fails when the test says so. One for the process: the
// tests that use it run one after another.
class FaultVfs {
 public:
  // Registers it, once, and disarms it. Returns the name to open files with.
  static const char* Register();

  // Writes to write-ahead logs fail with SQLITE_FULL, as on a full disk.
  static void FailWalWrites(bool fail);
  // Syncs fail with SQLITE_IOERR_FSYNC.
  static void FailSyncs(bool fail);
  // How many writes to write-ahead logs there were.
  static int WalWrites();
  // Writes to databases (checkpoints) fail with SQLITE_FULL.
  static void FailDatabaseWrites(bool fail);
};

}  // namespace postrider
