#include "server/util/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace olmoe {
namespace {

// The whole text of a file of the kernel, whose size says nothing; empty where there is none.
std::string ReadKernelFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Lower(double quota, std::optional<double>* least) {
  if (!least->has_value() || quota < **least) *least = quota;
}

// "150000 100000": microseconds in a period. "max 100000" and -1 are no quota.
void LowerTo(const std::string& quota_and_period, std::optional<double>* least) {
  const std::vector<std::string> parts =
      absl::StrSplit(quota_and_period, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  double quota = 0, period = 0;
  if (parts.size() < 2 || !absl::SimpleAtod(parts[0], &quota) ||
      !absl::SimpleAtod(parts[1], &period)) {
    return;
  }
  if (quota > 0 && period > 0) Lower(quota / period, least);
}

// Calls `visit` with the folder of `group` below `mount`, and with each above it. A container may
// see its own group at the mount, whatever the name that the host has for it.
template <class Visit>
void ForEachGroup(const std::string& mount, std::string group, Visit visit) {
  while (!group.empty() && group != "/") {
    visit(mount + group);
    group.resize(group.rfind('/') == group.npos ? 0 : group.rfind('/'));
  }
  visit(mount);
}

}  // namespace

std::optional<double> CgroupCpuQuota(const std::string& root) {
  std::optional<double> least;
  const std::string groups = ReadKernelFile(root + "/proc/self/cgroup");
  // A line is "0::/GROUP" in v2 and "4:cpu,cpuacct:/GROUP" in v1.
  for (const absl::string_view line : absl::StrSplit(groups, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(fields[1], ',');
    if (fields[1].empty()) {
      ForEachGroup(root + "/sys/fs/cgroup", fields[2], [&least](const std::string& folder) {
        LowerTo(ReadKernelFile(folder + "/cpu.max"), &least);
      });
    } else if (std::count(controllers.begin(), controllers.end(), "cpu") > 0) {
      ForEachGroup(absl::StrCat(root, "/sys/fs/cgroup/", fields[1]), fields[2],
                   [&least](const std::string& folder) {
                     LowerTo(absl::StrCat(ReadKernelFile(folder + "/cpu.cfs_quota_us"), " ",
                                          ReadKernelFile(folder + "/cpu.cfs_period_us")),
                             &least);
                   });
    }
  }
  return least;
}

int AvailableCores() {
  double cores = std::max(1u, std::thread::hardware_concurrency());  // those of the machine
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  return static_cast<int>(
      std::max(1.0, std::floor(std::min(cores, CgroupCpuQuota().value_or(cores)))));
}

}  // namespace olmoe
