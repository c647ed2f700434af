#include "server/ops/cpu/panel_kernels.h"

#include "glog/logging.h"
#include "server/ops/cpu/panel_functions.h"

namespace olmoe::ops {
namespace {

constexpr PanelKernels kPortable = {LinearBf16Portable, LinearF32Portable, SwiGluBf16Portable,
                                    SwiGluF32Portable, nullptr};
#if defined(OLMOE_X86_KERNELS)
constexpr PanelKernels kAvx2 = {LinearBf16Avx2, LinearF32Avx2, SwiGluBf16Avx2, SwiGluF32Avx2,
                                nullptr};
constexpr PanelKernels kAvx512 = {LinearBf16Avx512, LinearF32Avx512, SwiGluBf16Avx512,
                                  SwiGluF32Avx512, nullptr};
// Tiles have no float32 product.
constexpr PanelKernels kAmx = {LinearBf16Amx, LinearF32Avx512, SwiGluBf16Amx, SwiGluF32Avx512,
                               ReleaseTilesAmx};
#endif

}  // namespace

const PanelKernels& PanelKernelsOf(CpuIsa isa) {
  CHECK(Supported(isa)) << IsaName(isa);
#if defined(OLMOE_X86_KERNELS)
  switch (isa) {
    case CpuIsa::kPortable: return kPortable;
    case CpuIsa::kAvx2: return kAvx2;
    case CpuIsa::kAvx512Bf16: return kAvx512;
    case CpuIsa::kAmx: return kAmx;
  }
#endif
  return kPortable;
}

}  // namespace olmoe::ops
