#include "src/outbox/sqlite/full_disk.h"

#include <sqlite3.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <initializer_list>

#include "src/outbox/sqlite/page_cache.h"

namespace postrider {
namespace {

ssize_t Write(int fd, const void* data, size_t size, off64_t at) {
  const ssize_t written = pwrite64(fd, data, size, at);
  if (written < 0) errno = AsFullDisk(errno);
  return written;
}

bool Install() {
  // Before SQLite's first use, which finding the VFS is.
  InstallPageCache();
  sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
  if (vfs == nullptr || vfs->iVersion < 3) return false;
  // Debian's SQLite calls the one, others may call the other; one that it was built without is
  // known all the same, and never called.
  for (const char* name : {"pwrite", "pwrite64"}) {
    if (vfs->xSetSystemCall(vfs, name, reinterpret_cast<sqlite3_syscall_ptr>(Write)) != SQLITE_OK) {
      return false;
    }
  }
  return true;
}

}  // namespace

int AsFullDisk(int error) { return error == EDQUOT || error == EFBIG ? ENOSPC : error; }

void TellEveryFullDisk() {
  static const bool installed = Install();
  if (!installed) std::abort();
}

}  // namespace postrider
