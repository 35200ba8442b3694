#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>

#include "absl/time/time.h"

namespace postrider {

// What tells a file from another one that took its place, and from its later self. One that is not
// there has a stamp, too.
struct FileStamp {
  explicit FileStamp(const std::string& path) {
    struct stat found;
    if (stat(path.c_str(), &found) != 0) return;
    device = found.st_dev;
    inode = found.st_ino;
    size = found.st_size;
    changed = absl::TimeFromTimespec(found.st_mtim);
  }
  bool operator==(const FileStamp&) const = default;

  dev_t device = 0;
  ino_t inode = 0;
  off_t size = -1;
  absl::Time changed;
};

}  // namespace postrider
