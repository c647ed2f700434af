#include "bench/limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "glog/logging.h"

namespace olmoe::bench {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Seconds from the common start to the last end of body(thread) on every thread.
template <typename Body>
double OnThreads(int threads, const Body& body) {
  std::barrier start(threads);
  std::vector<Clock::time_point> begins(static_cast<size_t>(threads));
  std::vector<Clock::time_point> ends(begins.size());
  std::vector<std::thread> workers;
  for (size_t worker = 0; worker < begins.size(); ++worker) {
    workers.emplace_back([&, worker] {
      start.arrive_and_wait();
      begins[worker] = Clock::now();
      body(worker);
      ends[worker] = Clock::now();
    });
  }
  for (std::thread& worker : workers) worker.join();
  return std::chrono::duration<double>(*std::ranges::max_element(ends) -
                                       *std::ranges::min_element(begins))
      .count();
}

// A cache line at a time; the compiler makes vector loads of it.
using Line = uint64_t __attribute__((vector_size(64)));

// kStreams equal parts side by side, as a product reads several panels: hardware that prefetches
// each keeps more of memory's channels busy than it does for one.
template <size_t kStreams>
uint64_t ReadStreams(const std::byte* data, size_t bytes) {
  const size_t part = bytes / kStreams / sizeof(Line) * sizeof(Line);
  Line sums[kStreams] = {};
  for (size_t i = 0; i < part; i += sizeof(Line)) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      sums[stream] ^= *reinterpret_cast<const Line*>(data + stream * part + i);
    }
  }
  uint64_t all = 0;
  for (const Line& sum : sums) {
    for (size_t word = 0; word < 8; ++word) all ^= sum[word];
  }
  return all;
}

#if defined(__x86_64__)

// Every loop below keeps enough independent sums in registers that the latency of the
// instruction hides, and names the registers itself, so that no compiler can move them
// to memory.

#define OLMOE_TWELVE_SUMS(INSTRUCTION, REGISTER)                                              \
  "1:\n\t" INSTRUCTION " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER "0\n\t" INSTRUCTION \
  " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER "1\n\t" INSTRUCTION " %%" REGISTER       \
  "14, %%" REGISTER "15, %%" REGISTER "2\n\t" INSTRUCTION " %%" REGISTER "14, %%" REGISTER    \
  "15, %%" REGISTER "3\n\t" INSTRUCTION " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER    \
  "4\n\t" INSTRUCTION " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER "5\n\t" INSTRUCTION  \
  " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER "6\n\t" INSTRUCTION " %%" REGISTER       \
  "14, %%" REGISTER "15, %%" REGISTER "7\n\t" INSTRUCTION " %%" REGISTER "14, %%" REGISTER    \
  "15, %%" REGISTER "8\n\t" INSTRUCTION " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER    \
  "9\n\t" INSTRUCTION " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER "10\n\t" INSTRUCTION \
  " %%" REGISTER "14, %%" REGISTER "15, %%" REGISTER                                          \
  "11\n\t"                                                                                    \
  "dec %[turns]\n\tjnz 1b\n\t"
constexpr double kSumsPerTurn = 12;

__attribute__((target("avx2,fma"))) void BurnAvx2(int64_t turns) {
  asm volatile(
      "vpxor %%ymm14, %%ymm14, %%ymm14\n\tvpxor %%ymm15, %%ymm15, %%ymm15\n\t" OLMOE_TWELVE_SUMS(
          "vfmadd231ps", "ymm")
      : [turns] "+r"(turns)
      :
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm14", "xmm15", "cc");
}

__attribute__((target("avx512f,avx512bf16"))) void BurnAvx512Bf16(int64_t turns) {
  asm volatile(
      "vpxord %%zmm14, %%zmm14, %%zmm14\n\tvpxord %%zmm15, %%zmm15, %%zmm15\n\t" OLMOE_TWELVE_SUMS(
          "vdpbf16ps", "zmm")
      : [turns] "+r"(turns)
      :
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm14", "xmm15", "cc");
}

// Four sums, two operands each, as a kernel holds them.
void BurnAmx(int64_t turns) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  static_assert(sizeof(config) == 64);
  asm volatile(
      "ldtilecfg %[config]\n\t"
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
      "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7\n\t"
      "1:\n\ttdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
      "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
      "dec %[turns]\n\tjnz 1b\n\ttilerelease\n\t"
      : [turns] "+r"(turns)
      : [config] "m"(config)
      : "cc");
}

#endif

// A loop, and the operations of one turn of it.
struct Burner {
  void (*burn)(int64_t turns) = nullptr;
  double flops_per_turn = 0;
};

Burner BurnerOf(ops::CpuIsa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case ops::CpuIsa::kPortable: break;
    case ops::CpuIsa::kAvx2: return {BurnAvx2, 2 * kSumsPerTurn * 8};
    case ops::CpuIsa::kAvx512Bf16: return {BurnAvx512Bf16, 2 * kSumsPerTurn * 32};
    case ops::CpuIsa::kAmx: return {BurnAmx, 2 * 4.0 * 16 * 16 * 32};
  }
#endif
  return {};
}

}  // namespace

MemoryProbe::MemoryProbe(size_t bytes)
    : bytes_(bytes),
      data_(static_cast<std::byte*>(
          mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
  CHECK(static_cast<void*>(data_) != MAP_FAILED) << "no memory for the probe";
  madvise(data_, bytes, MADV_HUGEPAGE);
  std::memset(data_, 1, bytes);
}

MemoryProbe::~MemoryProbe() { munmap(data_, bytes_); }

double MemoryProbe::BytesPerSecond(int threads) const {
  const size_t part = bytes_ / static_cast<size_t>(threads) / 4096 * 4096;
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);  // a cache line each
  double best = 0;
  for (const auto read : {ReadStreams<1>, ReadStreams<4>, ReadStreams<8>}) {
    const double seconds = OnThreads(
        threads, [&](size_t worker) { sums[worker * 8] ^= read(data_ + worker * part, part); });
    best = std::max(best, static_cast<double>(part) * threads / seconds);
  }
  // The sums are used, so the reads cannot be left out.
  static volatile uint64_t sink;
  for (const uint64_t sum : sums) sink = sink ^ sum;
  return best;
}

double PeakFlops(ops::CpuIsa isa, int threads, double seconds) {
  const Burner burner = BurnerOf(isa);
  if (burner.burn == nullptr) return 0;
  constexpr int64_t kTurns = 100'000;
  const Clock::time_point start = Clock::now();
  burner.burn(kTurns);  // also wakes the units up
  const double turns = kTurns / Since(start) * seconds;
  const int64_t number = std::max(kTurns, static_cast<int64_t>(turns));
  const double taken = OnThreads(threads, [&](size_t) { burner.burn(number); });
  return static_cast<double>(number) * burner.flops_per_turn * threads / taken;
}

}  // namespace olmoe::bench
