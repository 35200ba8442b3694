#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace postrider {

// Which file a path named when it was opened. A process goes on writing to a file that was removed
// or replaced, and what it acknowledges then is in no file that the next start will find. So
// whoever is about to acknowledge something looks whether the path still names that file.
//
// Opens nothing: SQLite's files must not be opened and closed beside SQLite (data_dir.h). A value;
// may be copied.
class FileIdentity {
 public:
  // DATA_LOSS when there is none.
  static absl::StatusOr<FileIdentity> Of(std::string path);

  // Costs about a microsecond. DATA_LOSS when the path names nothing, or another file, by now;
  // UNKNOWN when the system does not tell.
  absl::Status Check() const;

 private:
  FileIdentity(std::string path, dev_t device, ino_t inode)
      : path_(std::move(path)), device_(device), inode_(inode) {}

  std::string path_;
  dev_t device_;
  ino_t inode_;
};

// The files of a data directory, once the database is open.
struct DataFiles {
  // What is acknowledged is in these: looked at before each acknowledgement.
  std::vector<FileIdentity> stored_in;
  // What keeps others away: looked at whenever the room on the disk is.
  std::vector<FileIdentity> guards;

  static absl::StatusOr<DataFiles> Of(const std::string& directory);
  absl::Status CheckStoredIn() const { return CheckAll(stored_in); }
  absl::Status CheckGuards() const { return CheckAll(guards); }

 private:
  static absl::Status CheckAll(const std::vector<FileIdentity>& files);
};

}  // namespace postrider
