#include "src/outbox/sqlite/log_vfs.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/base/mutex.h"
#include "src/outbox/sqlite/page_cache.h"

namespace postrider {
namespace {

// Some 250 pages: a larger transaction is written in parts.
constexpr size_t kMaxKeptBytes = size_t{1} << 20;
// SQLite's own VFS takes less than 128 KiB in a call (seekAndWriteFd in os_unix.c).
constexpr size_t kMaxWriteBytes = size_t{64} << 10;

// A write-ahead log. The file is the base's own, but its methods are these, which know the rest.
struct Log {
  // The first member: the file's methods lead to it.
  sqlite3_io_methods methods;
  const sqlite3_io_methods* base;
  // What was not written yet, of the file from `start` on.
  std::vector<char> kept;
  sqlite3_int64 start;

  static Log& Of(sqlite3_file* file) {
    return *reinterpret_cast<Log*>(const_cast<sqlite3_io_methods*>(file->pMethods));
  }
  sqlite3_int64 end() const { return start + static_cast<sqlite3_int64>(kept.size()); }
};

// Writes what is kept, and keeps it.
int WriteOut(sqlite3_file* file) {
  const Log& log = Log::Of(file);
  int code = SQLITE_OK;
  for (size_t done = 0; done < log.kept.size() && code == SQLITE_OK; done += kMaxWriteBytes) {
    const size_t size = std::min(kMaxWriteBytes, log.kept.size() - done);
    code = log.base->xWrite(file, log.kept.data() + done, static_cast<int>(size),
                            log.start + static_cast<sqlite3_int64>(done));
  }
  return code;
}

int Flush(sqlite3_file* file) {
  const int code = WriteOut(file);
  Log::Of(file).kept.clear();
  return code;
}

int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 at) {
  Log& log = Log::Of(file);
  const bool joins = at >= log.start && at <= log.end();
  if (!joins || static_cast<size_t>(at - log.start + size) > kMaxKeptBytes) {
    const int code = Flush(file);
    if (code != SQLITE_OK) return code;
  }
  if (log.kept.empty()) log.start = at;
  const auto offset = static_cast<size_t>(at - log.start);
  log.kept.resize(std::max(log.kept.size(), offset + static_cast<size_t>(size)));
  std::memcpy(log.kept.data() + offset, data, static_cast<size_t>(size));
  return SQLITE_OK;
}

int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 at) {
  Log& log = Log::Of(file);
  // In a transaction that is larger than the cache, SQLite reads what it has written.
  if (at < log.end() && at + size > log.start) {
    const int code = WriteOut(file);
    // Still kept: SQLite may go on after a read that failed, and a later sync has to fail then.
    if (code != SQLITE_OK) return code;
    log.kept.clear();
  }
  return log.base->xRead(file, data, size, at);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  const int code = Flush(file);
  return code == SQLITE_OK ? Log::Of(file).base->xTruncate(file, size) : code;
}

int Sync(sqlite3_file* file, int flags) {
  const int code = Flush(file);
  return code == SQLITE_OK ? Log::Of(file).base->xSync(file, flags) : code;
}

int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  const int code = Flush(file);
  return code == SQLITE_OK ? Log::Of(file).base->xFileSize(file, size) : code;
}

int Close(sqlite3_file* file) {
  const int flushed = Flush(file);
  const std::unique_ptr<Log> log(&Log::Of(file));
  file->pMethods = log->base;
  const int closed = log->base->xClose(file);
  return flushed == SQLITE_OK ? closed : flushed;
}

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* const base = static_cast<sqlite3_vfs*>(vfs->pAppData);
  const int code = base->xOpen(base, name, file, flags, out_flags);
  if (code != SQLITE_OK || (flags & SQLITE_OPEN_WAL) == 0) return code;
  auto* const log = new Log{*file->pMethods, file->pMethods, {}, 0};
  // Shared memory and memory mapping, of the later versions, are the database's.
  log->methods.iVersion = 1;
  log->methods.xClose = Close;
  log->methods.xRead = Read;
  log->methods.xWrite = Write;
  log->methods.xTruncate = Truncate;
  log->methods.xSync = Sync;
  log->methods.xFileSize = FileSize;
  file->pMethods = &log->methods;
  return SQLITE_OK;
}

struct Registered {
  std::string name;
  sqlite3_vfs vfs;
};

}  // namespace

std::string LogVfs(const std::string& base) {
  static Mutex mutex;
  // SQLite knows what is registered until the process ends.
  static auto* const all = new std::map<std::string, Registered>();
  InstallPageCache();
  const MutexLock lock(&mutex);
  const auto [it, is_new] = all->try_emplace(base);
  Registered& registered = it->second;
  if (is_new) {
    sqlite3_vfs* const real = sqlite3_vfs_find(base.empty() ? nullptr : base.c_str());
    if (real == nullptr) std::abort();
    registered.name = absl::StrCat("postrider-log-", real->zName);
    // Of its functions only the one that opens looks at the vfs that it is called with.
    registered.vfs = *real;
    registered.vfs.zName = registered.name.c_str();
    registered.vfs.pNext = nullptr;
    registered.vfs.pAppData = real;
    registered.vfs.xOpen = Open;
    if (sqlite3_vfs_register(&registered.vfs, /*makeDflt=*/0) != SQLITE_OK) std::abort();
  }
  return registered.name;
}

}  // namespace postrider
