#include "bench/limits.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cstdint>
#include <thread>

#include "server/ops/aten/weight_memory.h"

namespace olmoe::bench {
namespace {

// A cache line at a time; the compiler makes vector loads of it.
using Line = uint64_t __attribute__((vector_size(64)));

uint64_t ReadAll(Region region) {
  constexpr size_t kPrefetchBytes = 4096;
  Line sum[4] = {};
  const std::byte* data = region.data();
  for (size_t i = 0; i + sizeof(sum) <= region.size(); i += sizeof(sum)) {
    for (size_t line = 0; line < 4; ++line) {
      __builtin_prefetch(data + i + line * sizeof(Line) + kPrefetchBytes);
      sum[line] ^= *reinterpret_cast<const Line*>(data + i + line * sizeof(Line));
    }
  }
  const Line all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
  return all[0] ^ all[1] ^ all[2] ^ all[3] ^ all[4] ^ all[5] ^ all[6] ^ all[7];
}

template <typename Body>
double Seconds(const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::vector<at::Tensor> MakeRegions(int64_t bytes) {
  const at::Tensor memory = ops::NewWeight({bytes}, at::TensorOptions().dtype(at::kByte));
  memory.fill_(1);
  return {memory};
}

double ReadSeconds(const std::vector<Region>& regions, int threads) {
  return Seconds([&] {
    std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);  // a cache line each
    std::vector<std::thread> workers;
    for (size_t worker = 0; worker < static_cast<size_t>(threads); ++worker) {
      workers.emplace_back([&, worker] {
        for (const Region region : regions) {
          const size_t part = region.size() / static_cast<size_t>(threads) / 64 * 64;
          sums[worker * 8] ^= ReadAll(region.subspan(worker * part, part));
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
    // The sums are used, so the reads cannot be left out.
    static volatile uint64_t sink;
    for (const uint64_t sum : sums) sink = sink ^ sum;
  });
}

double LinearSeconds(const std::vector<at::Tensor>& matrices, int64_t rows) {
  const at::Tensor x = at::ones({rows, matrices.front().size(1)}, matrices.front().options());
  return Seconds([&] {
    for (const at::Tensor& matrix : matrices) at::linear(x, matrix);
  });
}

}  // namespace olmoe::bench
