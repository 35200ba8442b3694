#include "tests/e2e/full_disk_server.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

constexpr size_t kDiskBytes = size_t{16} << 20;
constexpr size_t kBallastBytes = size_t{12} << 20;

// Async-signal-safe.
bool WriteTo(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const auto size = static_cast<ssize_t>(std::strlen(text));
  const bool written = write(fd, text, static_cast<size_t>(size)) == size;
  close(fd);
  return written;
}

// Mounts a tmpfs over the directory, for this process alone. Async-signal-safe.
bool MountOver(const char* directory, const char* uid_map, const char* gid_map) {
  if (unshare(CLONE_NEWNS) != 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    if (!WriteTo("/proc/self/setgroups", "deny") || !WriteTo("/proc/self/uid_map", uid_map) ||
        !WriteTo("/proc/self/gid_map", gid_map)) {
      return false;
    }
  }
  // Else the mount would be seen outside.
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return mount("disk", directory, "tmpfs", 0, "size=16m,mode=700") == 0;
}
static_assert(kDiskBytes == size_t{16} << 20);

std::string OwnMap(unsigned id) { return absl::StrCat("0 ", id, " 1"); }

// Tries it in a process that ends at once.
bool CanMount(const std::string& directory) {
  const char* const forced = std::getenv("FULL_DISK");
  if (forced != nullptr && std::string_view(forced) == "preload") return false;
  const std::string uid_map = OwnMap(geteuid());
  const std::string gid_map = OwnMap(getegid());
  const pid_t pid = fork();
  if (pid == 0) _exit(MountOver(directory.c_str(), uid_map.c_str(), gid_map.c_str()) ? 0 : 1);
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

FullDiskServer::FullDiskServer() : mounts_(CanMount(server_.data_dir())) {
  std::printf("the full disk is %s\n", mounts_ ? "a small tmpfs" : "played by a preloaded library");
  if (mounts_) {
    server_.before_exec = [directory = server_.data_dir(), uid_map = OwnMap(geteuid()),
                           gid_map = OwnMap(getegid())] {
      if (!MountOver(directory.c_str(), uid_map.c_str(), gid_map.c_str())) _exit(126);
    };
    return;
  }
  ballast_ = server_.data_dir() + ".full";
  server_.environment = {absl::StrCat("LD_PRELOAD=", FULL_DISK_LIBRARY),
                         absl::StrCat("FULL_DISK_FLAG=", ballast_)};
  // AddressSanitizer wants to be first, but need not be.
  const char* const options = std::getenv("ASAN_OPTIONS");
  server_.environment.push_back(absl::StrCat("ASAN_OPTIONS=", options != nullptr ? options : "",
                                             ":verify_asan_link_order=0"));
}

FullDiskServer::~FullDiskServer() {
  std::error_code ignored;
  std::filesystem::remove(ballast_, ignored);
}

bool FullDiskServer::Start() {
  if (!server_.Start()) return false;
  if (mounts_) {
    ballast_ =
        absl::StrCat("/proc/", server_.process().pid(), "/root", server_.data_dir(), "/ballast");
  }
  return true;
}

void FullDiskServer::FillUp() {
  std::ofstream file(ballast_);
  if (mounts_) file << std::string(kBallastBytes, 'b');
  file.flush();
  EXPECT_TRUE(file.good()) << ballast_;
}

void FullDiskServer::MakeRoom() { EXPECT_TRUE(std::filesystem::remove(ballast_)) << ballast_; }

}  // namespace postrider
