#ifndef OLMOE_SERVER_UTIL_CPU_COUNT_H_
#define OLMOE_SERVER_UTIL_CPU_COUNT_H_

#include <optional>
#include <string>

namespace olmoe {

// Returns how many cores the process may keep busy: those of its affinity mask, and no more than
// its control groups have a quota for, rounded down (a thread too many has all of them wait while
// the group is throttled); at least 1.
int AvailableCores();

// Returns the smallest CPU quota of this process's control group and those above it, in cores
// (1.5: 150 ms of CPU time in 100 ms), of cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us); nothing
// where there is none. `root` is where /proc and /sys are found.
std::optional<double> CgroupCpuQuota(const std::string& root = "");

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_CPU_COUNT_H_
