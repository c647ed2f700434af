#include "server/util/cpu_count.h"

#include <sched.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace olmoe {
namespace {

class CgroupTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::string file = root() + path;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file) << text;
  }
  std::string root() const { return folder_.path(); }

 private:
  testing::TempFolder folder_;
};

TEST_F(CgroupTest, WithoutControlGroupsThereIsNoQuota) {
  EXPECT_EQ(CgroupCpuQuota(root()), std::nullopt);
  Write("/proc/self/cgroup", "garbage\n\n0::\n");
  EXPECT_EQ(CgroupCpuQuota(root()), std::nullopt);
}

TEST_F(CgroupTest, TheSmallestQuotaOfAGroupAndThoseAboveCounts) {
  Write("/proc/self/cgroup", "0::/kubepods/pod1/c1\n");
  Write("/sys/fs/cgroup/kubepods/pod1/c1/cpu.max", "max 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root()), std::nullopt);
  Write("/sys/fs/cgroup/kubepods/cpu.max", "800000 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root()), 8.0);
  Write("/sys/fs/cgroup/kubepods/pod1/cpu.max", "75000 50000\n");
  EXPECT_EQ(CgroupCpuQuota(root()), 1.5);
}

// The container's group is mounted as the root, and its name is the host's.
TEST_F(CgroupTest, AContainerSeesItsOwnGroupAtTheMount) {
  Write("/proc/self/cgroup", "0::/../../host/name\n");
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root()), 2.0);
}

TEST_F(CgroupTest, VersionOneHasTheQuotaInTwoFiles) {
  Write("/proc/self/cgroup", "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpuQuota(root()), std::nullopt);
  Write("/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "50000\n");
  EXPECT_EQ(CgroupCpuQuota(root()), 0.5);
}

TEST(AvailableCores, AreThoseOfTheAffinityMaskAtMost) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(AvailableCores(), 1);
  EXPECT_LE(AvailableCores(), CPU_COUNT(&before));
  std::thread([&before] {
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
      if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(AvailableCores(), 1);
  }).join();
}

}  // namespace
}  // namespace olmoe
