#include "src/outbox/sqlite/file_identity.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"

namespace postrider {
namespace {

absl::Status Gone(const std::string& path, const char* what) {
  return absl::DataLossError(
      absl::StrCat(path, " was ", what,
                   " while Postrider had it open, so nothing more is stored: see what did that, "
                   "put the data directory back in order (from a backup, where it must be), then "
                   "start again"));
}

absl::Status Look(const std::string& path, struct stat* info) {
  if (stat(path.c_str(), info) == 0) return absl::OkStatus();
  if (errno == ENOENT || errno == ENOTDIR) return Gone(path, "removed");
  return absl::UnknownError(absl::StrCat("looking at ", path, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<FileIdentity> FileIdentity::Of(std::string path) {
  struct stat info;
  if (absl::Status looked = Look(path, &info); !looked.ok()) return looked;
  return FileIdentity(std::move(path), info.st_dev, info.st_ino);
}

absl::Status FileIdentity::Check() const {
  struct stat info;
  if (absl::Status looked = Look(path_, &info); !looked.ok()) return looked;
  if (info.st_dev == device_ && info.st_ino == inode_) return absl::OkStatus();
  return Gone(path_, "replaced by another file");
}

absl::StatusOr<DataFiles> DataFiles::Of(const std::string& directory) {
  DataFiles files;
  for (const char* name : {"/outbox.db", "/outbox.db-wal"}) {
    ASSIGN_OR_RETURN(FileIdentity file, FileIdentity::Of(directory + name));
    files.stored_in.push_back(std::move(file));
  }
  for (const char* name : {"", "/lock", "/outbox.db-shm"}) {
    ASSIGN_OR_RETURN(FileIdentity file, FileIdentity::Of(directory + name));
    files.guards.push_back(std::move(file));
  }
  return files;
}

absl::Status DataFiles::CheckAll(const std::vector<FileIdentity>& files) {
  for (const FileIdentity& file : files) RETURN_IF_ERROR(file.Check());
  return absl::OkStatus();
}

}  // namespace postrider
