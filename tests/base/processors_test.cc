#include "src/base/processors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/scratch_dir.h"

namespace postrider {
namespace {

class ProcessorsTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& content) {
    const std::filesystem::path file = root_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }
  int Usable() const { return UsableProcessors(root_.path()); }
  // No more than this machine has.
  int AtMost(int count) const { return std::min(count, all_); }

  const int all_ = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  ScratchDir root_;
};

TEST_F(ProcessorsTest, WithoutCgroupsAllCount) {
  EXPECT_EQ(Usable(), all_);
  EXPECT_GE(UsableProcessors(), 1);
}

TEST_F(ProcessorsTest, AQuotaOfVersion2Counts) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(Usable(), 1);
  Write("/sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(Usable(), AtMost(2));
  Write("/sys/fs/cgroup/cpu.max", "1000 100000\n");
  EXPECT_EQ(Usable(), 1);
  Write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(Usable(), all_);
}

TEST_F(ProcessorsTest, TheQuotaOfAGroupAboveCounts) {
  Write("/proc/self/cgroup", "0::/system.slice/postrider.service\n");
  Write("/sys/fs/cgroup/system.slice/postrider.service/cpu.max", "max 100000\n");
  Write("/sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n");
  EXPECT_EQ(Usable(), 1);
}

TEST_F(ProcessorsTest, AQuotaOfVersion1Counts) {
  Write("/proc/self/cgroup", "9:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n0::/\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Usable(), 1);
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Usable(), all_);
  Write("/sys/fs/cgroup/cpu/docker/1f/cpu.cfs_quota_us", "20000\n");
  Write("/sys/fs/cgroup/cpu/docker/1f/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Usable(), 1);
}

TEST_F(ProcessorsTest, NonsenseIsNoQuota) {
  Write("/proc/self/cgroup", "nonsense\n\n0::\n0::/\n");
  for (const char* text : {"", "\n", "x y\n", "100000\n", "0 100000\n", "100000 0\n"}) {
    Write("/sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(Usable(), all_) << text;
  }
}

}  // namespace
}  // namespace postrider
