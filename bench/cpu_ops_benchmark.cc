// Products of the CPU operations at the shapes of OLMoE-1B-7B in bfloat16, two threads.
// Linear/ISA/ROWS: [ROWS, 2048] x [2048, 1024], the weights cycling through 1 GiB.
// Experts/ISA/ROWS: the experts of two layers in turn (64 of 2048 x 1024, top-8, picked at
// random by each row), 1.5 GiB. Router/ISA/ROWS: float32 [ROWS, 2048] x [2048, 64].
// Beside each figure the share of the limit, which is probed before and after
// (bench/limits.h): `read` is the bytes a second of the weights that the rows need, each
// once; `flops` counts two for a multiplication and its addition.
#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/limits.h"
#include "benchmark/benchmark.h"
#include "glog/logging.h"
#include "server/ops/cpu/cpu_ops.h"

namespace olmoe::bench {
namespace {

using ops::CpuOps;

constexpr int kThreads = 2;
constexpr int64_t kHidden = 2048, kIntermediate = 1024, kNumExperts = 64, kTopK = 8;
constexpr size_t kProbeBytes = size_t{1} << 30;
constexpr double kPeakSeconds = 0.1;

// Ordinary numbers of mean 0, whose products neither grow nor vanish.
void FillBlock(CpuOps* ops, const CpuOps::Block& block, int64_t elements) {
  uint32_t state = 1;
  void* staged = ops->Stage(block);
  for (int64_t i = 0; i < elements; ++i) {
    state = state * 1664525 + 1013904223;
    const float value = static_cast<float>(static_cast<int32_t>(state) >> 24) / 4096.0f;
    if (ops->PrecisionOf(block) == ops::Precision::kFloat32) {
      static_cast<float*>(staged)[i] = value;
    } else {
      static_cast<uint16_t*>(staged)[i] =
          static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    }
  }
  ops->Commit(block);
}

std::unique_ptr<CpuOps> MakeOps(ops::CpuIsa isa) {
  ops::OpsOptions options;
  options.cpu_isa = ops::IsaName(isa);
  options.threads = kThreads;
  options.compute = ops::Precision::kBFloat16;
  options.num_heads = options.num_kv_heads = 16;
  options.head_size = 128;
  options.page_tokens = 16;
  auto ops = CpuOps::Create(options);
  CHECK(ops.ok()) << ops.status();
  return *std::move(ops);
}

CpuOps::Tensor MakeRows(CpuOps* ops, int rows) {
  const CpuOps::Matrix matrix = ops->NewMatrix(rows, kHidden, ops::Precision::kFloat32, false);
  FillBlock(ops, ops->Rows(matrix, 0, rows), rows * kHidden);
  ops::RowBatch batch;
  batch.tokens.resize(static_cast<size_t>(rows));
  std::iota(batch.tokens.begin(), batch.tokens.end(), 0);
  return ops->Embed(matrix, CpuOps::Batch{&batch});
}

// Bandwidth and peak, as the mean of before and after.
class Limits {
 public:
  explicit Limits(ops::CpuIsa isa) : isa_(isa) { Probe(); }

  void Report(benchmark::State* state, double bytes, double flops) {
    Probe();
    const auto rate = benchmark::Counter::kIsIterationInvariantRate;
    state->counters["read"] = benchmark::Counter(bytes, rate);
    state->counters["of_probe"] = benchmark::Counter(2 * bytes / bytes_per_s_, rate);
    state->counters["flops"] = benchmark::Counter(flops, rate);
    if (flops_ > 0) state->counters["of_peak"] = benchmark::Counter(2 * flops / flops_, rate);
  }

 private:
  void Probe() {
    static const MemoryProbe probe(kProbeBytes);
    bytes_per_s_ += probe.BytesPerSecond(kThreads);
    flops_ += PeakFlops(isa_, kThreads, kPeakSeconds);
  }

  const ops::CpuIsa isa_;
  double bytes_per_s_ = 0, flops_ = 0;  // sums of both probes
};

// Weights are the same for every instruction set, so they are made once.
const std::vector<CpuOps::Matrix>& Matrices(int64_t out, ops::Precision precision,
                                            int64_t bytes_of_all) {
  static std::map<int64_t, std::vector<CpuOps::Matrix>> all;
  std::vector<CpuOps::Matrix>& matrices = all[out];
  if (!matrices.empty()) return matrices;
  const auto ops = MakeOps(ops::CpuIsa::kPortable);
  for (int64_t bytes = 0; bytes < bytes_of_all;
       bytes += out * kHidden * ops::BytesPerElement(precision)) {
    matrices.push_back(ops->NewMatrix(out, kHidden, precision, /*bias=*/false));
    FillBlock(ops.get(), ops->Rows(matrices.back(), 0, out), out * kHidden);
  }
  return matrices;
}

void MeasureLinear(benchmark::State& state, ops::CpuIsa isa, int rows, int64_t out,
                   const std::vector<CpuOps::Matrix>& matrices) {
  const auto ops = MakeOps(isa);
  const CpuOps::Tensor x = MakeRows(ops.get(), rows);
  Limits limits(isa);
  size_t next = 0;
  for (auto _ : state) {
    ops->Linear(x, matrices[next]);
    next = (next + 1) % matrices.size();
  }
  const double elements = static_cast<double>(out * kHidden);
  const int64_t element_bytes = ops::BytesPerElement(matrices[0].weight->precision());
  limits.Report(&state, elements * static_cast<double>(element_bytes), 2.0 * rows * elements);
}

void Linear(benchmark::State& state, ops::CpuIsa isa, int rows) {
  constexpr int64_t kOut = 1024;
  MeasureLinear(state, isa, rows, kOut,
                Matrices(kOut, ops::Precision::kBFloat16, int64_t{1} << 30));
}

void Router(benchmark::State& state, ops::CpuIsa isa, int rows) {
  MeasureLinear(state, isa, rows, kNumExperts,
                Matrices(kNumExperts, ops::Precision::kFloat32, int64_t{1} << 29));
}

// Every row picks its experts anew.
ops::ExpertSelection Select(int rows, std::mt19937* random) {
  routing::RoutingRecord record;
  record.Reset(1, rows);
  std::vector<uint8_t> experts(kNumExperts);
  std::iota(experts.begin(), experts.end(), uint8_t{0});
  for (int row = 0; row < rows; ++row) {
    std::shuffle(experts.begin(), experts.end(), *random);
    routing::RowRouting routing;
    routing.applied.k = kTopK;
    std::copy_n(experts.begin(), kTopK, routing.experts.begin());
    std::fill_n(routing.weights.begin(), kTopK, 1.0f / kTopK);
    record.Add(routing);
  }
  ops::ExpertSelection selection;
  selection.Build(record, 0, kNumExperts);
  return selection;
}

double BytesOf(const ops::ExpertSelection& selection) {
  double bytes = 0;
  for (size_t expert = 0; expert < kNumExperts; ++expert) {
    if (selection.slot_begin()[expert] < selection.slot_begin()[expert + 1]) {
      bytes += 2.0 * 3 * kHidden * kIntermediate;
    }
  }
  return bytes;
}

const std::vector<CpuOps::Experts>& Layers() {
  static std::vector<CpuOps::Experts> layers;
  if (!layers.empty()) return layers;
  const auto ops = MakeOps(ops::CpuIsa::kPortable);
  for (int layer = 0; layer < 2; ++layer) {
    layers.push_back(ops->NewExperts(kNumExperts, kIntermediate, kHidden));
    for (int64_t expert = 0; expert < kNumExperts; ++expert) {
      for (const CpuOps::Block& block :
           {ops->Gate(layers.back(), expert), ops->Up(layers.back(), expert),
            ops->Down(layers.back(), expert)}) {
        FillBlock(ops.get(), block, kHidden * kIntermediate);
      }
    }
  }
  return layers;
}

void Experts(benchmark::State& state, ops::CpuIsa isa, int rows) {
  const auto ops = MakeOps(isa);
  const std::vector<CpuOps::Experts>& layers = Layers();
  std::mt19937 random(1);
  std::vector<ops::ExpertSelection> selections;
  for (int i = 0; i < 32; ++i) selections.push_back(Select(rows, &random));
  const CpuOps::Tensor x = MakeRows(ops.get(), rows);
  CpuOps::Tensor sum = MakeRows(ops.get(), rows);
  Limits limits(isa);
  size_t step = 0;
  double bytes = 0;
  for (auto _ : state) {
    const ops::ExpertSelection& selection = selections[step % selections.size()];
    ops->AddExperts(x, layers[step % 2], selection, &sum);
    bytes += BytesOf(selection);
    ++step;
  }
  limits.Report(&state, bytes / static_cast<double>(step),
                2.0 * rows * kTopK * 3 * kHidden * kIntermediate);
}

using Body = void (*)(benchmark::State&, ops::CpuIsa, int);

void Register(const char* name, Body body, std::initializer_list<int> all_rows) {
  for (const ops::CpuIsa isa : ops::SupportedIsas()) {
    for (const int rows : all_rows) {
      benchmark::RegisterBenchmark(
          absl::StrCat(name, "/", std::string(ops::IsaName(isa)), "/", rows).c_str(),
          [=](benchmark::State& state) { body(state, isa, rows); })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
}

}  // namespace
}  // namespace olmoe::bench

int main(int argc, char** argv) {
  using olmoe::bench::Register;
  Register("Linear", olmoe::bench::Linear, {1, 8, 64, 512});
  Register("Router", olmoe::bench::Router, {1, 8, 512});
  Register("Experts", olmoe::bench::Experts, {1, 8, 16, 512});
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
