#include "server/net/descriptors.h"

#include <sys/resource.h>

#include "gtest/gtest.h"

namespace olmoe::net {
namespace {

TEST(RaiseDescriptorLimitTest, TheSoftLimitBecomesTheHardOne) {
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max / 2;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), limit.rlim_max);
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, limit.rlim_max);
}

TEST(GrpcPortLimitsTest, BothPortsTogetherLeaveSomethingToOthers) {
  for (const uint64_t descriptors : {128, 256, 1024, 4096, 20000}) {
    const ConnectionLimits limits = GrpcPortLimits(descriptors);
    EXPECT_LE(2 * 2 * static_cast<uint64_t>(limits.in_all), descriptors * 3 / 4 - 64);
    EXPECT_GE(limits.in_all, 8);
    EXPECT_GE(limits.per_client, 16);
    EXPECT_GE(4 * limits.per_client, limits.in_all);
  }
}

TEST(GrpcPortLimitsTest, AreBoundedWhereDescriptorsAreNot) {
  EXPECT_EQ(GrpcPortLimits(uint64_t{1} << 40).in_all, GrpcPortLimits(uint64_t{1} << 20).in_all);
  EXPECT_EQ(GrpcPortLimits(0).in_all, 8);
}

}  // namespace
}  // namespace olmoe::net
