#include "tests/outbox/sqlite/fault_vfs.h"

#include <sqlite3.h>

#include <atomic>
#include <cstdlib>

#include "src/outbox/sqlite/page_cache.h"

namespace postrider {
namespace {

constexpr char kName[] = "postrider-fault";

std::atomic<bool> fail_wal_writes{false};
std::atomic<int> wal_writes{0};
std::atomic<bool> fail_database_writes{false};
std::atomic<bool> fail_syncs{false};

// SQLite allocates this, and behind it the system's own file.
struct FaultFile {
  sqlite3_file base;
  int flags;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

sqlite3_file* Real(sqlite3_file* file) { return reinterpret_cast<FaultFile*>(file)->real(); }

sqlite3_vfs* System(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

int Close(sqlite3_file* file) { return Real(file)->pMethods->xClose(Real(file)); }

int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 at) {
  return Real(file)->pMethods->xRead(Real(file), data, size, at);
}

int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 at) {
  const int flags = reinterpret_cast<FaultFile*>(file)->flags;
  if ((flags & SQLITE_OPEN_WAL) != 0) {
    if (fail_wal_writes) return SQLITE_FULL;
    ++wal_writes;
  }
  if ((flags & SQLITE_OPEN_MAIN_DB) != 0 && fail_database_writes) return SQLITE_FULL;
  return Real(file)->pMethods->xWrite(Real(file), data, size, at);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  return Real(file)->pMethods->xTruncate(Real(file), size);
}

int Sync(sqlite3_file* file, int flags) {
  if (fail_syncs) return SQLITE_IOERR_FSYNC;
  return Real(file)->pMethods->xSync(Real(file), flags);
}

int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Real(file)->pMethods->xFileSize(Real(file), size);
}

int Lock(sqlite3_file* file, int level) { return Real(file)->pMethods->xLock(Real(file), level); }
int Unlock(sqlite3_file* file, int level) {
  return Real(file)->pMethods->xUnlock(Real(file), level);
}
int CheckReservedLock(sqlite3_file* file, int* out) {
  return Real(file)->pMethods->xCheckReservedLock(Real(file), out);
}
int FileControl(sqlite3_file* file, int op, void* arg) {
  return Real(file)->pMethods->xFileControl(Real(file), op, arg);
}
int SectorSize(sqlite3_file* file) { return Real(file)->pMethods->xSectorSize(Real(file)); }
int DeviceCharacteristics(sqlite3_file* file) {
  return Real(file)->pMethods->xDeviceCharacteristics(Real(file));
}
int ShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return Real(file)->pMethods->xShmMap(Real(file), page, size, extend, out);
}
int ShmLock(sqlite3_file* file, int offset, int n, int flags) {
  return Real(file)->pMethods->xShmLock(Real(file), offset, n, flags);
}
void ShmBarrier(sqlite3_file* file) { Real(file)->pMethods->xShmBarrier(Real(file)); }
int ShmUnmap(sqlite3_file* file, int remove) {
  return Real(file)->pMethods->xShmUnmap(Real(file), remove);
}

// Version 2: with shared memory for the write-ahead log, without memory mapping.
const sqlite3_io_methods kMethods = {2,
                                     Close,
                                     Read,
                                     Write,
                                     Truncate,
                                     Sync,
                                     FileSize,
                                     Lock,
                                     Unlock,
                                     CheckReservedLock,
                                     FileControl,
                                     SectorSize,
                                     DeviceCharacteristics,
                                     ShmMap,
                                     ShmLock,
                                     ShmBarrier,
                                     ShmUnmap,
                                     nullptr,
                                     nullptr};

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* const fault = reinterpret_cast<FaultFile*>(file);
  fault->base.pMethods = nullptr;
  fault->flags = flags;
  const int code = System(vfs)->xOpen(System(vfs), name, fault->real(), flags, out_flags);
  if (code == SQLITE_OK) fault->base.pMethods = &kMethods;
  return code;
}

}  // namespace

const char* FaultVfs::Register() {
  FailWalWrites(false);
  FailDatabaseWrites(false);
  FailSyncs(false);
  InstallPageCache();
  if (sqlite3_vfs_find(kName) != nullptr) return kName;
  sqlite3_vfs* const system = sqlite3_vfs_find(nullptr);
  // Everything but opening is the system's own; its functions look at pAppData, so they are called
  // with their own vfs only through the copies that take a vfs and ignore it.
  static sqlite3_vfs vfs = *system;
  vfs.szOsFile = static_cast<int>(sizeof(FaultFile)) + system->szOsFile;
  vfs.zName = kName;
  vfs.pNext = nullptr;
  vfs.pAppData = system;
  vfs.xOpen = Open;
  if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK) std::abort();
  return kName;
}

void FaultVfs::FailWalWrites(bool fail) { fail_wal_writes = fail; }
int FaultVfs::WalWrites() { return wal_writes; }
void FaultVfs::FailDatabaseWrites(bool fail) { fail_database_writes = fail; }
void FaultVfs::FailSyncs(bool fail) { fail_syncs = fail; }

}  // namespace postrider
