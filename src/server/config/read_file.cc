#include "src/server/config/read_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace postrider {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

absl::Status CannotRead(const std::string& path, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("the file ", path, " cannot be read: ", why));
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return CannotRead(path, std::strerror(errno));
  std::string text(kMaxBytes + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return CannotRead(path, std::strerror(errno));
  if (text.size() > kMaxBytes) return CannotRead(path, "it is larger than 1 MiB");
  return text;
}

}  // namespace postrider
