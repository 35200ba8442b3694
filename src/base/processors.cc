#include "src/base/processors.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>
#include <vector>

namespace postrider {
namespace {

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

std::vector<std::string> LinesOf(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

double QuotientOf(const std::string& quota, const std::string& period) {
  // "max" and -1 stand for none.
  std::istringstream numbers(quota + " " + period);
  double microseconds = 0;
  double of = 0;
  if (!(numbers >> microseconds >> of) || microseconds <= 0 || of <= 0) return kNoQuota;
  return microseconds / of;
}

// Version 2: "200000 100000" in one file.
double QuotaOfUnified(const std::string& folder) {
  const std::vector<std::string> lines = LinesOf(folder + "/cpu.max");
  if (lines.empty()) return kNoQuota;
  const size_t blank = lines[0].find(' ');
  if (blank == std::string::npos) return kNoQuota;
  return QuotientOf(lines[0].substr(0, blank), lines[0].substr(blank + 1));
}

// Version 1: a file for each.
double QuotaOfController(const std::string& folder) {
  const std::vector<std::string> quota = LinesOf(folder + "/cpu.cfs_quota_us");
  const std::vector<std::string> period = LinesOf(folder + "/cpu.cfs_period_us");
  if (quota.empty() || period.empty()) return kNoQuota;
  return QuotientOf(quota[0], period[0]);
}

// The least of the group's own and those of all above it, up to what is mounted: in a container
// that is its own group, whatever path the host knows it by.
template <typename Quota>
double LeastUpwards(const std::string& mount, std::string path, Quota quota) {
  double least = quota(mount);
  while (path.size() > 1) {
    least = std::min(least, quota(mount + path));
    path.erase(path.rfind('/'));
  }
  return least;
}

}  // namespace

int UsableProcessors(const std::string& root) {
  double quota = kNoQuota;
  // "0::/path", or "4:cpu,cpuacct:/path" of version 1.
  for (const std::string& line : LinesOf(root + "/proc/self/cgroup")) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (path.empty() || path.front() != '/') continue;
    if (controllers.empty()) {
      quota = std::min(quota, LeastUpwards(root + "/sys/fs/cgroup", path, QuotaOfUnified));
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      for (const std::string& mount : {std::string("/sys/fs/cgroup/cpu"),
                                       "/sys/fs/cgroup/" + controllers}) {
        quota = std::min(quota, LeastUpwards(root + mount, path, QuotaOfController));
      }
    }
  }
  // It looks at the processors that the thread may run on.
  const double processors = std::max(1U, std::thread::hardware_concurrency());
  return static_cast<int>(std::max(1.0, std::min(processors, std::ceil(quota))));
}

}  // namespace postrider
