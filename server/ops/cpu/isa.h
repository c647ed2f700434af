#ifndef OLMOE_SERVER_OPS_CPU_ISA_H_
#define OLMOE_SERVER_OPS_CPU_ISA_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace olmoe::ops {

// The instruction sets that there are kernels for, each with all that the one before it
// needs. One process uses one of them for everything: they round differently, and a row
// must have the same bits whatever shares its step.
enum class CpuIsa {
  kPortable,     // plain C++
  kAvx2,         // AVX2, FMA, F16C
  kAvx512Bf16,   // AVX512 F, BW, DQ, VL and BF16
  kAmx,          // AMX tiles of bfloat16 beside AVX512-BF16
};

inline constexpr CpuIsa kAllIsas[] = {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512Bf16,
                                      CpuIsa::kAmx};

// Whether this build has kernels for it, and the CPU and the kernel of the system can
// run them. Asking for kAmx asks Linux for the permission to use tiles, which threads
// that start later inherit: call it before there are any. Thread-safe.
bool Supported(CpuIsa isa);

// The best that is supported.
CpuIsa DetectIsa();

// All that are supported, kPortable first.
std::vector<CpuIsa> SupportedIsas();

// "portable", "avx2", "avx512-bf16", "amx".
std::string_view IsaName(CpuIsa isa);
std::optional<CpuIsa> ParseIsa(std::string_view name);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_ISA_H_
