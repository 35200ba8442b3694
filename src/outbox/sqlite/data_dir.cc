#include "src/outbox/sqlite/data_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/outbox/sqlite/full_disk.h"
#include "src/outbox/sqlite/schema.h"

namespace postrider {
namespace {

constexpr std::string_view kMagic("SQLite format 3\0", 16);
constexpr size_t kHeaderBytes = 100;

absl::Status ErrnoStatus(const char* doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(doing, " ", path));
}

FileDescriptor OpenFile(const std::string& path, int flags) {
  return FileDescriptor(open(path.c_str(), flags | O_CLOEXEC, 0600));
}

uint32_t BigEndian(const std::array<char, kHeaderBytes>& header, size_t at, size_t bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; ++i)
    value = value << 8 | static_cast<unsigned char>(header[at + i]);
  return value;
}

// The pid that the holder wrote, as text; a few words when there is none yet.
std::string Holder(int fd) {
  char text[32];
  const ssize_t got = pread(fd, text, sizeof text, 0);
  std::string_view pid(text, got > 0 ? static_cast<size_t>(got) : 0);
  while (!pid.empty() && pid.back() == '\n') pid.remove_suffix(1);
  if (pid.empty()) return "another process";
  return "process " + std::string(pid);
}

absl::Status DataLoss(const std::string& path, const std::string& what) {
  return absl::DataLossError(absl::StrCat(
      path, " ", what, "; it was left as it is: restore it from a backup, or name another data ",
      "directory"));
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

absl::Status EnsureDirectory(const std::string& directory) {
  for (size_t at = 1; at <= directory.size(); ++at) {
    if (at != directory.size() && directory[at] != '/') continue;
    const std::string part = directory.substr(0, at);
    if (mkdir(part.c_str(), 0700) == 0) {
      // Else a power cut could take the directory with all that was acknowledged in it.
      const size_t slash = part.rfind('/');
      const std::string parent = slash == std::string::npos ? "." : part.substr(0, slash);
      absl::Status synced = SyncPath(parent.empty() ? "/" : parent);
      if (!synced.ok()) return synced;
    } else if (errno != EEXIST) {
      return ErrnoStatus("creating the directory", part);
    }
  }
  struct stat info;
  if (stat(directory.c_str(), &info) != 0) return ErrnoStatus("looking at", directory);
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " is not a directory: name one for the data"));
  }
  return absl::OkStatus();
}

absl::StatusOr<DirectoryLock> LockDirectory(const std::string& directory) {
  const std::string path = directory + "/lock";
  DirectoryLock lock;
  lock.directory = OpenFile(directory, O_RDONLY | O_DIRECTORY);
  if (lock.directory.get() < 0) return ErrnoStatus("opening", directory);
  lock.file = OpenFile(path, O_RDWR | O_CREAT);
  if (lock.file.get() < 0) return ErrnoStatus("opening", path);
  for (const FileDescriptor* held : {&lock.directory, &lock.file}) {
    if (flock(held->get(), LOCK_EX | LOCK_NB) == 0) continue;
    if (errno != EWOULDBLOCK) return ErrnoStatus("locking", path);
    return absl::FailedPreconditionError(absl::StrCat("the data directory ", directory,
                                                      " is in use by ", Holder(lock.file.get()),
                                                      ": stop it, or name another data directory"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if ((ftruncate(lock.file.get(), 0) != 0 ||
       pwrite(lock.file.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) &&
      AsFullDisk(errno) != ENOSPC) {
    return ErrnoStatus("writing", path);
  }
  return lock;
}

bool FileExists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

absl::StatusOr<int64_t> FileSize(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0) return info.st_size;
  if (errno == ENOENT) return 0;
  return ErrnoStatus("looking at", path);
}

absl::Status RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus("removing", path);
  return absl::OkStatus();
}

absl::Status SyncPath(const std::string& path) {
  const FileDescriptor file = OpenFile(path, O_RDONLY);
  if (file.get() < 0) return ErrnoStatus("opening", path);
  if (fsync(file.get()) != 0) return ErrnoStatus("syncing", path);
  return absl::OkStatus();
}

absl::Status CheckDatabaseHeader(const std::string& path) {
  const FileDescriptor file = OpenFile(path, O_RDONLY);
  if (file.get() < 0) return ErrnoStatus("opening", path);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return ErrnoStatus("looking at", path);
  if (!S_ISREG(info.st_mode)) return DataLoss(path, "is not a file");
  std::array<char, kHeaderBytes> header;
  const ssize_t got = pread(file.get(), header.data(), header.size(), 0);
  if (got < 0) return ErrnoStatus("reading", path);
  if (got != static_cast<ssize_t>(header.size()) ||
      std::string_view(header.data(), kMagic.size()) != kMagic) {
    return DataLoss(path, "is not a SQLite database, so it is not Postrider's");
  }
  if (BigEndian(header, 68, 4) != kApplicationId) {
    return DataLoss(path, "is a SQLite database, but not Postrider's (by its application id)");
  }
  // While there is a write-ahead log the header may be ahead of the file: a checkpoint that was cut
  // short leaves them so, and the log repairs it.
  ASSIGN_OR_RETURN(const int64_t wal_bytes, FileSize(path + "-wal"));
  if (wal_bytes > 0) return absl::OkStatus();
  const uint32_t stored_page_size = BigEndian(header, 16, 2);
  const int64_t page_size = stored_page_size == 1 ? 65536 : stored_page_size;
  const int64_t pages = BigEndian(header, 28, 4);
  if (page_size < 512 || info.st_size < pages * page_size || info.st_size % page_size != 0) {
    return DataLoss(
        path, absl::StrCat("is damaged: it has ", info.st_size, " bytes, but its header says ",
                           pages, " pages of ", page_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> DiskFreeBytes(const std::string& path) {
  struct statvfs info;
  if (statvfs(path.c_str(), &info) != 0) {
    return absl::UnknownError(
        absl::StrCat("asking for the free space of ", path, ": ", std::strerror(errno)));
  }
  return uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace postrider
