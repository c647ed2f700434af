// olmoe-model-benchmark: how fast the model computes, beside what the machine and plain
// ATen operations allow. The sides are measured in turn, so that a machine whose speed
// changes changes all of them; figures are medians.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <random>
#include <string>

#include "CLI/CLI.hpp"
#include "bench/bare_step.h"
#include "bench/limits.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"
#include "server/model/checkpoint.h"
#include "server/model/load_parts.h"
#include "server/model/memory_budget.h"
#include "server/ops/aten/aten_ops.h"
#include "server/ops/aten/guard.h"

namespace olmoe::bench {
namespace {

struct Flags {
  std::string model;
  std::string dtype = "bfloat16";
  int threads = 2;
  int repeats = 7;
  int context = 512;
  bool json = false;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double PeakRssGib() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);  // KiB
}

constexpr double kGiga = 1e9;

// The model and what it is measured against. One thread.
class Benchmark {
 public:
  explicit Benchmark(const Flags& flags) : flags_(flags) {}

  absl::Status Load() {
    const auto checkpoint = model::Checkpoint::Open(flags_.model);
    if (!checkpoint.ok()) return checkpoint.status();
    config_ = (*checkpoint)->config();
    model::LoadOptions options;
    options.dir = flags_.model;
    options.dtype = flags_.dtype == "float32" ? model::DType::kFloat32 : model::DType::kBFloat16;
    options.threads = flags_.threads;
    options.max_batch_tokens = std::max(512, flags_.context);
    options.max_context = flags_.context + kDecodeReserve;
    element_bytes_ = options.dtype == model::DType::kFloat32 ? 4 : 2;
    options.kv_cache_bytes = kStreams * (options.max_context + options.page_tokens) *
                             model::KvBytesPerToken(config_, element_bytes_);
    const double start = Now();
    auto parts = model::LoadParts<ops::AtenOps>(options, nullptr);
    if (!parts.ok()) return parts.status();
    report_["load_seconds"] = Now() - start;
    report_["load_peak_rss_gib"] = PeakRssGib();
    weights_ = parts->weights;  // handles of the same memory
    model_ = std::make_unique<model::OlmoeModel<ops::AtenOps>>(*std::move(parts));
    policy_ = routing::RoutingPolicy::Native(config_.router_shape());
    PrepareProbes();
    return absl::OkStatus();
  }

  void Run() {
    report_["model"] = model_->info().model_id;
    report_["dtype"] = model_->info().dtype;
    report_["threads"] = flags_.threads;
    MeasureLinear();
    MakeStreams();
    Measure("prefill", {.streams = 1, .rows = flags_.context, .past = 0});
    Measure("decode_1", {.streams = 1, .rows = 1, .past = flags_.context});
    Measure("decode_8", {.streams = kStreams, .rows = 1, .past = flags_.context});
    report_["peak_rss_gib"] = PeakRssGib();
  }

  const nlohmann::json& report() const { return report_; }

 private:
  static constexpr int kStreams = 8;
  static constexpr int kDecodeReserve = 64;  // positions that decoding may take

  // Weights of the model where they are large enough to be no matter of caches.
  void PrepareProbes() {
    constexpr int64_t kProbeBytes = int64_t{2} << 30;
    int64_t bytes = 0;
    for (const auto& layer : weights_.layers) {
      const at::Tensor& experts = layer.experts.gate_up;
      for (int64_t expert = 0; expert < experts.size(0) && bytes < kProbeBytes; ++expert) {
        matrices_.push_back(experts.select(0, expert));
        bytes += static_cast<int64_t>(matrices_.back().nbytes());
      }
    }
    if (bytes < kProbeBytes) memory_ = MakeRegions(kProbeBytes);
    for (const at::Tensor& tensor : bytes < kProbeBytes ? memory_ : matrices_) {
      regions_.emplace_back(static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes());
      region_bytes_ += static_cast<double>(tensor.nbytes());
    }
  }

  void MeasureLinear() {
    constexpr int64_t kRows = 512;
    std::vector<double> bandwidth, flops;
    const std::vector<at::Tensor> some(
        matrices_.begin(), matrices_.begin() + std::min<ptrdiff_t>(32, std::ssize(matrices_)));
    const double elements = static_cast<double>(matrices_[0].numel());
    for (int i = 0; i < flags_.repeats; ++i) {
      bandwidth.push_back(static_cast<double>(matrices_[0].nbytes() * matrices_.size()) /
                          LinearSeconds(matrices_, 1));
      flops.push_back(2 * elements * kRows * static_cast<double>(some.size()) /
                      LinearSeconds(some, kRows));
    }
    report_["at_linear"] = {{"shape", matrices_[0].sizes().vec()},
                            {"rows_1_gb_per_s", Median(bandwidth) / kGiga},
                            {"rows_512_tflops", Median(flops) / 1e12}};
  }

  // `streams` sequences of `rows` tokens a step, after `past` that are in the cache.
  struct Workload {
    int streams = 1;
    int rows = 1;
    int past = 0;
  };

  int PagesOfStream() const {
    const int page_tokens = model_->kv_cache().page_tokens;
    return (flags_.context + kDecodeReserve + page_tokens - 1) / page_tokens;
  }

  void MakeStreams() {
    std::mt19937 random(17);
    for (int stream = 0; stream < kStreams; ++stream) {
      std::vector<TokenId>& tokens = tokens_.emplace_back();
      for (int i = 0; i < flags_.context + kDecodeReserve; ++i) {
        tokens.push_back(
            static_cast<TokenId>(random() % static_cast<uint32_t>(config_.vocab_size)));
      }
      std::vector<model::PageId>& pages = pages_.emplace_back();
      for (int i = 0; i < PagesOfStream(); ++i) pages.push_back(stream * PagesOfStream() + i);
    }
  }

  model::Chunk MakeChunk(int stream, int first, int rows) const {
    model::Chunk chunk;
    chunk.tokens = std::span(tokens_[static_cast<size_t>(stream)])
                       .subspan(static_cast<size_t>(first), static_cast<size_t>(rows));
    chunk.first_position = first;
    chunk.pages = pages_[static_cast<size_t>(stream)];
    chunk.policy = policy_.get();
    chunk.sample.emplace();
    chunk.sample->params.temperature = 0;
    return chunk;
  }

  double StepSeconds(const model::StepBatch& batch) {
    const double start = Now();
    const absl::Status status = model_->Step(batch, &output_);
    CHECK(status.ok()) << status;
    return Now() - start;
  }

  void FillCache(const Workload& work) {
    for (int stream = 0; stream < work.streams && work.past > 0; ++stream) {
      StepSeconds({{MakeChunk(stream, 0, work.past)}});
    }
  }

  void Measure(const std::string& name, const Workload& work) {
    FillCache(work);
    std::vector<double> seconds, bandwidths, of_bandwidth, of_bare;
    for (int i = 0; i <= flags_.repeats; ++i) {
      const int first = work.past > 0 ? work.past + i : 0;
      model::StepBatch batch;
      for (int stream = 0; stream < work.streams; ++stream) {
        batch.chunks.push_back(MakeChunk(stream, first, work.rows));
      }
      const double bandwidth = region_bytes_ / ReadSeconds(regions_, flags_.threads);
      const double step = StepSeconds(batch);
      const BareStep shapes =
          ShapesOf(std::vector<BareSequence>(batch.chunks.size(), {work.rows, first + work.rows}),
                   work.streams, output_.routing, config_.num_experts);
      const double bare = BareSeconds(shapes, config_, weights_);
      if (i == 0) continue;  // warms up
      seconds.push_back(step);
      bandwidths.push_back(bandwidth);
      of_bandwidth.push_back(static_cast<double>(BytesRead(shapes, config_, element_bytes_)) /
                             step / bandwidth);
      of_bare.push_back(bare / step);
    }
    report_[name] = {{"tokens_per_s", work.streams * work.rows / Median(seconds)},
                     {"step_ms", Median(seconds) * 1e3},
                     {"read_gb_per_s", Median(bandwidths) / kGiga},
                     {"bw_util", Median(of_bandwidth)},
                     {"of_bare_aten", Median(of_bare)}};
  }

  const Flags flags_;
  nlohmann::json report_;
  int64_t element_bytes_ = 2;
  model::OlmoeConfig config_;
  model::Weights<ops::AtenOps> weights_;
  std::unique_ptr<model::Model> model_;
  std::shared_ptr<const routing::RoutingPolicy> policy_;
  std::vector<std::vector<TokenId>> tokens_;       // [streams][context + reserve]
  std::vector<std::vector<model::PageId>> pages_;  // [streams]
  model::StepOutput output_;
  std::vector<at::Tensor> matrices_;  // [2 I, H]: at::linear is measured on them
  std::vector<at::Tensor> memory_;
  std::vector<Region> regions_;
  double region_bytes_ = 0;
};

void Print(const nlohmann::json& report) {
  const auto number = [](const nlohmann::json& value) { return value.get<double>(); };
  std::printf("%s, %s, %d threads: loaded in %.1f s, peak RSS %.2f GiB (%.2f while loading)\n",
              report.at("model").get<std::string>().c_str(),
              report.at("dtype").get<std::string>().c_str(), report.at("threads").get<int>(),
              number(report.at("load_seconds")), number(report.at("peak_rss_gib")),
              number(report.at("load_peak_rss_gib")));
  std::printf("at::linear on one expert's gate and up: 1 row %.1f GB/s, 512 rows %.2f TFLOPS\n",
              number(report.at("at_linear").at("rows_1_gb_per_s")),
              number(report.at("at_linear").at("rows_512_tflops")));
  std::printf("%-10s %10s %10s %12s %9s %13s\n", "", "tok/s", "ms/step", "probe GB/s", "bw_util",
              "of bare ATen");
  for (const char* name : {"prefill", "decode_1", "decode_8"}) {
    const nlohmann::json& row = report.at(name);
    std::printf("%-10s %10.2f %10.1f %12.1f %9.2f %13.2f\n", name,
                number(row.at("tokens_per_s")), number(row.at("step_ms")),
                number(row.at("read_gb_per_s")), number(row.at("bw_util")),
                number(row.at("of_bare_aten")));
  }
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Measures the model: prefill, decode with 1 and 8 streams");
  app.add_option("--model", flags.model, "checkpoint folder")->required();
  app.add_option("--dtype", flags.dtype)->check(CLI::IsMember({"bfloat16", "float32"}));
  app.add_option("--threads", flags.threads)->check(CLI::Range(1, 1024));
  app.add_option("--repeats", flags.repeats, "measured steps; the median counts")
      ->check(CLI::Range(5, 50));
  app.add_option("--context", flags.context, "tokens of the prompt")->check(CLI::Range(2, 512));
  app.add_flag("--json", flags.json);
  CLI11_PARSE(app, argc, argv);
  Benchmark benchmark(flags);
  absl::Status status = benchmark.Load();
  if (status.ok()) {
    status = ops::RunAten([&] {
      benchmark.Run();
      return absl::OkStatus();
    });
  }
  if (!status.ok()) {
    std::cerr << status << "\n";
    return 1;
  }
  if (flags.json) {
    std::cout << benchmark.report().dump(2) << "\n";
  } else {
    Print(benchmark.report());
  }
  return 0;
}

}  // namespace
}  // namespace olmoe::bench

int main(int argc, char** argv) { return olmoe::bench::Main(argc, argv); }
