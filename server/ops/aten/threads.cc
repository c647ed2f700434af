#include "server/ops/aten/threads.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <mutex>

#include "glog/logging.h"

namespace olmoe::ops {
namespace {

void SetBlasThreads(int threads) {
  // Through the dynamic linker: BLAS is whatever libblas.so.3 is on this machine.
  using SetThreads = void (*)(int);
  const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
  if (set != nullptr) set(threads);
}

#if defined(__x86_64__)
bool AnnouncesAmx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kAmxTile = 1u << 24;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAmxTile) != 0;
}

bool HasTilePalette() {
  unsigned max_palette = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(0x1d, 0, &max_palette, &ebx, &ecx, &edx) != 0 && max_palette >= 1;
}
#else
bool AnnouncesAmx() { return false; }
bool HasTilePalette() { return false; }
#endif

}  // namespace

void ConfigureThreads(int threads) {
  static std::once_flag once;
  std::call_once(once, [] { at::set_num_interop_threads(1); });
  at::set_num_threads(threads);
  SetBlasThreads(1);
}

void AvoidBrokenAmx() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (!AnnouncesAmx() || HasTilePalette()) return;
    LOG(INFO) << "AMX is announced without a tile palette: oneDNN is limited to AVX512-BF16";
    setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", /*overwrite=*/0);
    setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE_BF16", /*overwrite=*/0);
  });
}

}  // namespace olmoe::ops
