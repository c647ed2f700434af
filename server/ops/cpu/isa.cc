#include "server/ops/cpu/isa.h"

#if defined(OLMOE_X86_KERNELS)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>

namespace olmoe::ops {
namespace {

#if defined(OLMOE_X86_KERNELS)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers Cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool HasBits(uint64_t value, uint64_t bits) { return (value & bits) == bits; }

constexpr unsigned Bit(int bit) { return 1u << bit; }

// The register state that the system saves when it switches threads (XCR0).
uint64_t SavedState() {
  if (!HasBits(Cpuid(1, 0).ecx, Bit(27))) return 0;  // OSXSAVE
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

constexpr uint64_t kAvxState = Bit(1) | Bit(2);
constexpr uint64_t kAvx512State = kAvxState | Bit(5) | Bit(6) | Bit(7);
constexpr uint64_t kTileState = Bit(17) | Bit(18);

bool HasAvx2() {
  return HasBits(SavedState(), kAvxState) &&
         HasBits(Cpuid(1, 0).ecx, Bit(12) | Bit(28) | Bit(29)) &&  // FMA, AVX, F16C
         HasBits(Cpuid(7, 0).ebx, Bit(5));                         // AVX2
}

bool HasAvx512Bf16() {
  return HasAvx2() && HasBits(SavedState(), kAvx512State) &&
         HasBits(Cpuid(7, 0).ebx, Bit(16) | Bit(17) | Bit(30) | Bit(31)) &&  // F, DQ, BW, VL
         HasBits(Cpuid(7, 1).eax, Bit(5));                                   // BF16
}

bool AskForTiles() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Leaf 1DH, the list of tile palettes, is not asked: some hypervisors hide it, and
// palette 1 is the one that every CPU with AMX has.
bool HasAmx() {
  static const bool has = HasAvx512Bf16() &&
                          HasBits(Cpuid(7, 0).edx, Bit(22) | Bit(24)) &&  // BF16, TILE
                          HasBits(SavedState(), kTileState) && AskForTiles();
  return has;
}

#else

bool HasAvx2() { return false; }
bool HasAvx512Bf16() { return false; }
bool HasAmx() { return false; }

#endif

}  // namespace

bool Supported(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kPortable: return true;
    case CpuIsa::kAvx2: return HasAvx2();
    case CpuIsa::kAvx512Bf16: return HasAvx512Bf16();
    case CpuIsa::kAmx: return HasAmx();
  }
  return false;
}

CpuIsa DetectIsa() { return SupportedIsas().back(); }

std::vector<CpuIsa> SupportedIsas() {
  std::vector<CpuIsa> supported;
  for (const CpuIsa isa : kAllIsas) {
    if (Supported(isa)) supported.push_back(isa);
  }
  return supported;
}

std::string_view IsaName(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kPortable: return "portable";
    case CpuIsa::kAvx2: return "avx2";
    case CpuIsa::kAvx512Bf16: return "avx512-bf16";
    case CpuIsa::kAmx: return "amx";
  }
  return "unknown";
}

std::optional<CpuIsa> ParseIsa(std::string_view name) {
  for (const CpuIsa isa : kAllIsas) {
    if (name == IsaName(isa)) return isa;
  }
  return std::nullopt;
}

}  // namespace olmoe::ops
