// A library for LD_PRELOAD that plays a full disk, where no small file system can be mounted: while
// the file that FULL_DISK_FLAG names exists, no file grows. What is in a file already can be
// written over, as on a real disk.

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace {

using Pwrite = ssize_t (*)(int, const void*, size_t, off64_t);

bool Refused(int fd, size_t count, off64_t offset) {
  static const char* const flag = std::getenv("FULL_DISK_FLAG");
  struct stat64 info;
  if (flag == nullptr || access(flag, F_OK) != 0 || fstat64(fd, &info) != 0) return false;
  return S_ISREG(info.st_mode) && offset + static_cast<off64_t>(count) > info.st_size;
}

ssize_t WriteOrRefuse(const char* name, int fd, const void* data, size_t count, off64_t offset) {
  if (Refused(fd, count, offset)) {
    errno = ENOSPC;
    return -1;
  }
  return reinterpret_cast<Pwrite>(dlsym(RTLD_NEXT, name))(fd, data, count, offset);
}

}  // namespace

extern "C" ssize_t pwrite(int fd, const void* data, size_t count, off_t offset) {
  return WriteOrRefuse("pwrite", fd, data, count, offset);
}

extern "C" ssize_t pwrite64(int fd, const void* data, size_t count, off64_t offset) {
  return WriteOrRefuse("pwrite64", fd, data, count, offset);
}
