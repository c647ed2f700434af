// Attention of the CPU operations, one thread, OLMoE's shape: 16 heads of 128, bfloat16,
// pages of 16 positions.
// Decode/ISA/CONTEXT: one row after another, each of another sequence, over keys and values
// that no cache holds: `read` is their bytes a second, `of_probe` the share of what one
// thread reads from memory in one piece, probed before and after (bench/limits.h).
// Prefill/ISA/TOKENS: a prompt at once, 16 heads of one layer; `flops` counts the two
// products of the pairs of a token and a position before or at it.
// Store/ISA/TOKENS: norm, rope and storing of a prompt's keys and values.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/limits.h"
#include "benchmark/benchmark.h"
#include "server/ops/cpu/attention.h"
#include "server/ops/cpu/huge_buffer.h"
#include "server/ops/cpu/row_kernels.h"

namespace olmoe::bench {
namespace {

constexpr int kHeads = 16;
constexpr int kHeadSize = 128;
constexpr int kWidth = kHeads * kHeadSize;
constexpr int kPageTokens = 16;
constexpr int64_t kPoolBytes = int64_t{640} << 20;

ops::OpsOptions Options() {
  ops::OpsOptions options;
  options.compute = ops::Precision::kBFloat16;
  options.num_heads = kHeads;
  options.num_kv_heads = kHeads;
  options.head_size = kHeadSize;
  options.page_tokens = kPageTokens;
  return options;
}

std::vector<float> Random(size_t size) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

// Pages of keys and values, and a thread's scratch.
class Pool {
 public:
  explicit Pool(const ops::CpuAttention& attention)
      : memory_(static_cast<size_t>(kPoolBytes)),
        scratch_(attention.scratch_bytes()),
        probe_(static_cast<size_t>(kPoolBytes)),
        page_ids_(static_cast<size_t>(kPoolBytes) / attention.page_bytes()) {
    std::iota(page_ids_.begin(), page_ids_.end(), 0);
    std::shuffle(page_ids_.begin(), page_ids_.end(), std::mt19937(1));
    // Ordinary numbers: subnormal ones are slow.
    const std::vector<float> rows = Random(size_t{64} * kWidth);
    for (size_t i = 0; i < page_ids_.size() * kPageTokens; i += 32) {
      attention.StoreKv(rows.data(), kWidth, rows.data() + 32 * kWidth, kWidth, 32, page_ids_,
                        static_cast<int>(i), pages());
    }
  }
  void* pages() { return memory_.data(); }
  void* scratch() { return scratch_.data(); }
  const std::vector<int32_t>& page_ids() const { return page_ids_; }
  double ReadBytesPerSecond() const { return probe_.BytesPerSecond(/*threads=*/1); }

 private:
  ops::HugeBuffer memory_, scratch_;
  MemoryProbe probe_;
  std::vector<int32_t> page_ids_;
};

void RunTasks(const ops::CpuAttention& attention, const std::vector<ops::AttentionTask>& tasks,
              const std::vector<float>& queries, Pool* pool, std::vector<float>* output) {
  for (const ops::AttentionTask& task : tasks) {
    attention.Attend(task, queries.data(), kWidth, pool->pages(), output->data(), kWidth,
                     pool->scratch());
  }
}

void Decode(benchmark::State& state, ops::CpuIsa isa, int context) {
  const ops::CpuAttention attention(isa, Options());
  Pool pool(attention);
  const std::vector<float> queries = Random(kWidth);
  std::vector<float> output(kWidth);
  const size_t pages = static_cast<size_t>(context / kPageTokens);
  std::vector<ops::AttentionTask> tasks;
  size_t first = 0;
  double probe = pool.ReadBytesPerSecond();
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    first = first + pages <= pool.page_ids().size() ? first : 0;
    ops::RowBatch batch;
    batch.sequences = {{.first_row = 0,
                        .num_rows = 1,
                        .first_position = context - 1,
                        .pages = std::span(pool.page_ids()).subspan(first, pages)}};
    attention.Plan(batch, &tasks);
    RunTasks(attention, tasks, queries, &pool, &output);
    first += pages;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  probe = (probe + pool.ReadBytesPerSecond()) / 2;
  const double bytes = static_cast<double>(pages * attention.page_bytes());
  const double read = bytes * static_cast<double>(state.iterations()) / elapsed.count();
  state.counters["read"] =
      benchmark::Counter(read, benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  state.counters["of_probe"] = read / probe;
}

void Prefill(benchmark::State& state, ops::CpuIsa isa, int tokens) {
  const ops::CpuAttention attention(isa, Options());
  Pool pool(attention);
  const std::vector<float> queries = Random(static_cast<size_t>(tokens) * kWidth);
  std::vector<float> output(queries.size());
  attention.StoreKv(queries.data(), kWidth, queries.data(), kWidth, tokens, pool.page_ids(), 0,
                    pool.pages());
  ops::RowBatch batch;
  batch.sequences = {{0, tokens, 0, pool.page_ids()}};
  std::vector<ops::AttentionTask> tasks;
  attention.Plan(batch, &tasks);
  for (auto _ : state) RunTasks(attention, tasks, queries, &pool, &output);
  const double pairs = 0.5 * tokens * (tokens + 1);
  state.counters["flops"] =
      benchmark::Counter(pairs * 4 * kWidth, benchmark::Counter::kIsIterationInvariantRate);
}

void Store(benchmark::State& state, ops::CpuIsa isa, int tokens) {
  const ops::CpuAttention attention(isa, Options());
  const ops::RowKernels& kernels = ops::RowKernelsFor(isa);
  Pool pool(attention);
  const std::vector<float> weights(kWidth, 1.0f);
  std::vector<float> rows = Random(static_cast<size_t>(tokens) * kWidth * 3);
  const ops::QkvFinish finish = {weights.data(), weights.data(), 1e-5f,    0,
                                 kHeads,         kHeads,         kHeadSize};
  for (auto _ : state) {
    for (int row = 0; row < tokens; ++row) {
      FinishQkvRow(kernels, finish, weights.data(), weights.data(),
                   rows.data() + size_t{3} * kWidth * static_cast<size_t>(row));
    }
    attention.StoreKv(rows.data() + kWidth, 3 * kWidth, rows.data() + 2 * kWidth, 3 * kWidth,
                      tokens, pool.page_ids(), 0, pool.pages());
  }
  state.counters["rows"] =
      benchmark::Counter(tokens, benchmark::Counter::kIsIterationInvariantRate);
}

using Body = void (*)(benchmark::State&, ops::CpuIsa, int);

void Register(const char* name, Body body, std::initializer_list<int> sizes) {
  for (const ops::CpuIsa isa : ops::SupportedIsas()) {
    for (const int size : sizes) {
      benchmark::RegisterBenchmark(
          absl::StrCat(name, "/", std::string(ops::IsaName(isa)), "/", size).c_str(),
          [=](benchmark::State& state) { body(state, isa, size); })
          ->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace
}  // namespace olmoe::bench

int main(int argc, char** argv) {
  using olmoe::bench::Register;
  Register("Decode", olmoe::bench::Decode, {512, 2048, 4096});
  Register("Prefill", olmoe::bench::Prefill, {512, 2048});
  Register("Store", olmoe::bench::Store, {1, 512});
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
