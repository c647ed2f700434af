#include "server/ops/aten/host_libraries.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <malloc.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <mutex>
#include <string_view>

#include "glog/logging.h"

namespace olmoe::ops {
namespace {

// Of whatever BLAS libblas.so.3 is on this machine; null where it has no such function.
template <typename Function>
Function BlasFunction(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

void SetBlasThreads(int threads) {
  const auto set = BlasFunction<void (*)(int)>("openblas_set_num_threads");
  if (set != nullptr) set(threads);
}

#if defined(__x86_64__)

// CPUID announces AMX, but leaf 1DH, the tile palette, is hidden (by some hypervisors).
bool HasAmxWithoutPalette() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kAmxTile = 1u << 24;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & kAmxTile) == 0) return false;
  unsigned max_palette = 0;
  return __get_cpuid_count(0x1d, 0, &max_palette, &ebx, &ecx, &edx) == 0 || max_palette == 0;
}

// OpenBLAS' name of the best kernels that this CPU runs; null: its own choice is fine.
const char* WantedBlasCore() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return "SkylakeX";
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
  return nullptr;
}

#else

bool HasAmxWithoutPalette() { return false; }
const char* WantedBlasCore() { return nullptr; }

#endif

// oneDNN would configure no tiles and die by SIGILL. What the operator set stands.
void AvoidBrokenAmx() {
  if (!HasAmxWithoutPalette()) return;
  LOG(INFO) << "AMX is announced without a tile palette: oneDNN is limited to AVX512-BF16";
  setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", /*overwrite=*/0);
  setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE_BF16", /*overwrite=*/0);
}

// OpenBLAS chooses its kernels by the model number of the CPU, when it is loaded. One
// that is newer than the library gets those of 2004 (SSE3, core "Prescott"), a fifth of
// the speed. It can choose again; OPENBLAS_CORETYPE set by the operator stands.
void AvoidOldBlasKernels() {
  const auto core_name = BlasFunction<char* (*)()>("openblas_get_corename");
  const auto forget = BlasFunction<void (*)()>("gotoblas_dynamic_quit");
  const auto choose = BlasFunction<void (*)()>("gotoblas_dynamic_init");
  const char* wanted = WantedBlasCore();
  if (core_name == nullptr || forget == nullptr || choose == nullptr || wanted == nullptr) return;
  if (std::string_view(core_name()) != "Prescott" || getenv("OPENBLAS_CORETYPE") != nullptr) return;
  setenv("OPENBLAS_CORETYPE", wanted, /*overwrite=*/1);
  forget();
  choose();
  LOG(INFO) << "OpenBLAS does not know this CPU: told to use its " << core_name() << " kernels";
}

// Tensors of a large step come and go with it, megabytes each. By default glibc gives such
// memory back to the kernel and pays for new, zeroed pages in the next step.
void KeepFreedMemory() {
  constexpr int kBytes = 1 << 30;
  mallopt(M_MMAP_THRESHOLD, kBytes);
  mallopt(M_TRIM_THRESHOLD, kBytes);
}

}  // namespace

void ConfigureHostLibraries(int threads) {
  static std::once_flag once;
  std::call_once(once, [] {
    AvoidBrokenAmx();
    AvoidOldBlasKernels();
    KeepFreedMemory();
    at::set_num_interop_threads(1);
  });
  at::set_num_threads(threads);
  SetBlasThreads(1);
}

}  // namespace olmoe::ops
