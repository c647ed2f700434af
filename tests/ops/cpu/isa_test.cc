#include "server/ops/cpu/isa.h"

#include <gtest/gtest.h>

namespace olmoe::ops {
namespace {

TEST(CpuIsa, NamesAreReadBack) {
  for (const CpuIsa isa : kAllIsas) EXPECT_EQ(ParseIsa(IsaName(isa)), isa);
  EXPECT_EQ(ParseIsa("avx512"), std::nullopt);
  EXPECT_EQ(ParseIsa(""), std::nullopt);
}

TEST(CpuIsa, TheBestOneIsDetectedAndAllBelowItAreSupported) {
  EXPECT_TRUE(Supported(CpuIsa::kPortable));
  for (const CpuIsa isa : kAllIsas) EXPECT_EQ(Supported(isa), isa <= DetectIsa()) << IsaName(isa);
}

#if defined(__x86_64__)
TEST(CpuIsa, DetectionAgreesWithTheCompilersOwn) {
  EXPECT_EQ(Supported(CpuIsa::kAvx2),
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(Supported(CpuIsa::kAvx512Bf16),
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"));
}
#endif

}  // namespace
}  // namespace olmoe::ops
