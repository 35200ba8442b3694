#include "src/cli/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace postrider {

std::optional<std::string> SecretFile::Open(const std::string& path,
                                            std::unique_ptr<SecretFile>* file) {
  constexpr int kFlags = O_RDWR | O_APPEND | O_CLOEXEC;
  bool made = true;
  int fd = open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0600);
  if (fd < 0 && errno == EEXIST) {
    made = false;
    fd = open(path.c_str(), kFlags);
  }
  struct stat status {};
  if (fd < 0 || fstat(fd, &status) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return absl::StrCat(path, " cannot be written: ", std::strerror(error));
  }
  if (!S_ISREG(status.st_mode)) {
    close(fd);
    return absl::StrCat(path, " is no file that could keep a secret");
  }
  // One that was there may be open to others. It is not ours to close when somebody else owns it.
  if ((status.st_mode & 0077) != 0 && fchmod(fd, 0600) != 0) {
    close(fd);
    return absl::StrCat(path, " can be read by others: make it yours, with mode 0600");
  }
  char last = '\n';
  if (status.st_size > 0 && pread(fd, &last, 1, status.st_size - 1) != 1) last = 0;
  file->reset(new SecretFile(path, fd, made, last == '\n'));
  return std::nullopt;
}

SecretFile::~SecretFile() {
  close(fd_);
  if (made_) unlink(path_.c_str());
}

std::optional<std::string> SecretFile::Add(const std::string& secret) {
  const std::string line = absl::StrCat(ends_in_line_ ? "" : "\n", secret, "\n");
  made_ = false;
  if (write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      fsync(fd_) != 0) {
    return absl::StrCat(path_, " cannot be written: ", std::strerror(errno));
  }
  return std::nullopt;
}

}  // namespace postrider
