#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace postrider {

// A PEM file of the test's own, removed with it.
class PemFile {
 public:
  explicit PemFile(const std::string& content) : path_(testing::TempDir() + "/pem-XXXXXX") {
    const int fd = mkstemp(path_.data());
    if (fd < 0) std::abort();
    close(fd);
    std::ofstream(path_) << content;
  }
  ~PemFile() { std::remove(path_.c_str()); }
  PemFile(const PemFile&) = delete;
  PemFile& operator=(const PemFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace postrider
