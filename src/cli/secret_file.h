#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace postrider {

// A file that takes a secret, for its owner alone (0600). It is opened before the secret is made,
// so that none is lost for want of a place, and secrets are added to what it holds: nothing that is
// in it is ever lost. Used by one thread.
class SecretFile {
 public:
  // Opens the file, or makes it. Returns what is wrong otherwise. A file that was made, and got
  // nothing, is removed with this.
  static std::optional<std::string> Open(const std::string& path,
                                         std::unique_ptr<SecretFile>* file);
  ~SecretFile();
  SecretFile(const SecretFile&) = delete;
  SecretFile& operator=(const SecretFile&) = delete;

  // Adds a line, and waits until it is on disk. Returns what went wrong.
  std::optional<std::string> Add(const std::string& secret);

  const std::string& path() const { return path_; }

 private:
  SecretFile(std::string path, int fd, bool made, bool ends_in_line)
      : path_(std::move(path)), fd_(fd), made_(made), ends_in_line_(ends_in_line) {}

  const std::string path_;
  const int fd_;
  bool made_;
  // It is empty, or its last line is whole.
  const bool ends_in_line_;
};

}  // namespace postrider
