#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// What is done to the data directory with plain system calls, before SQLite touches anything. Once
// a SQLite connection is open in the process its file must not be opened and closed outside of
// SQLite: that drops the process's POSIX locks.

namespace postrider {

// A file descriptor, closed at the end.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  int get() const { return fd_; }

 private:
  int fd_;
};

// Makes the directory, and those above it, for its owner alone; leaves one that exists as it is.
absl::Status EnsureDirectory(const std::string& directory);

// What holds a directory: itself, which nobody can put another in the place of while it is in use,
// and the file `lock` in it, which older versions hold alone.
struct DirectoryLock {
  FileDescriptor directory;
  FileDescriptor file;
};

// Holds the directory against other processes for as long as the descriptors are open, by flock(2).
// The pid of the holder stands in `lock` as text, where there is room for it. FAILED_PRECONDITION,
// naming the directory and the holder, when another process has it.
absl::StatusOr<DirectoryLock> LockDirectory(const std::string& directory);

bool FileExists(const std::string& path);
// 0 when there is none.
absl::StatusOr<int64_t> FileSize(const std::string& path);
// OK when there is none.
absl::Status RemoveFile(const std::string& path);
absl::Status SyncPath(const std::string& path);

// Whether `path` begins as a database of Postrider and is as long as its header says. DATA_LOSS,
// naming the file and what is wrong with it, when not. Reads only.
// REQUIRES: no SQLite connection to it is open in this process.
absl::Status CheckDatabaseHeader(const std::string& path);

// The bytes that an unprivileged process may still write to the file system of `path`. UNKNOWN when
// the system does not tell.
absl::StatusOr<uint64_t> DiskFreeBytes(const std::string& path);

}  // namespace postrider
