// olmoe-model-benchmark: how fast the model computes, beside what the machine allows. Before every
// measured step the limits are probed, so that a machine whose speed changes changes both; figures
// are medians.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "bench/limits.h"
#include "bench/report.h"
#include "bench/step_work.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"
#include "server/model/checkpoint.h"
#include "server/model/load_model.h"
#include "server/model/memory_budget.h"

namespace olmoe::bench {
namespace {

struct Flags {
  std::string model;
  std::string dtype = "bfloat16";
  std::string cpu_isa = "auto";
  std::string peers;
  std::vector<std::string> points;  // empty: all
  int threads = 2;
  int repeats = 7;
  bool json = false;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  CHECK(!values.empty());
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double PeakRssGib() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);  // KiB
}

constexpr size_t kProbeBytes = size_t{2} << 30;
constexpr double kProbeGib = 2;

constexpr double kGiga = 1e9, kTera = 1e12;

// The model and what it is measured against. One thread.
class Benchmark {
 public:
  explicit Benchmark(const Flags& flags) : flags_(flags) {}

  absl::Status Load() {
    const auto checkpoint = model::Checkpoint::Open(flags_.model);
    if (!checkpoint.ok()) return checkpoint.status();
    config_ = (*checkpoint)->config();
    if (config_.max_positions < kPrompt + kDecodeReserve) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model's context has ", config_.max_positions,
                       " tokens, the measured streams need ", kPrompt + kDecodeReserve));
    }
    model::LoadOptions options;
    options.dir = flags_.model;
    options.dtype = flags_.dtype == "float32" ? DType::kFloat32 : DType::kBFloat16;
    options.cpu_isa = flags_.cpu_isa;
    options.threads = flags_.threads;
    options.max_batch_tokens = kLongPrompt;
    options.max_context = std::min(kLongPrompt, config_.max_positions);
    element_bytes_ = options.dtype == DType::kFloat32 ? 4 : 2;
    options.page_tokens = kPageTokens;
    options.kv_cache_bytes = int64_t{kMaxStreams} * PagesOfStream() * kPageTokens *
                             model::KvBytesPerToken(config_, element_bytes_);
    // Before the model, which leaves no whole 2 MiB pages where memory is short.
    probe_ = std::make_unique<MemoryProbe>(kProbeBytes);
    const double start = Now();
    auto loaded = model::LoadModel(options, nullptr);
    if (!loaded.ok()) return loaded.status();
    report_["load_seconds"] = Now() - start;
    report_["load_peak_rss_gib"] = PeakRssGib() - kProbeGib;
    report_["weights_gib"] = static_cast<double>((*checkpoint)->total_bytes()) / (1 << 30);
    model_ = *std::move(loaded);
    isa_ = ops::ParseIsa(model_->info().kernels).value_or(ops::DetectIsa());
    policy_ = routing::RoutingPolicy::Native(config_.router_shape());
    return absl::OkStatus();
  }

  void Run() {
    const model::ModelInfo& info = model_->info();
    report_["model"] = info.model_id;
    report_["dtype"] = info.dtype;
    report_["kernels"] = info.kernels;
    report_["threads"] = flags_.threads;
    report_["points"] = nlohmann::ordered_json::object();
    MakeStreams();
    Measure("prefill_512", {.rows = kPrompt});
    if (config_.max_positions >= kLongPrompt) {
      Measure("prefill_2048", {.rows = kLongPrompt});
      Measure("prefill_2048_in_one_step", {.rows = kLongPrompt, .group_rows = kLongPrompt});
    }
    for (const int streams : {1, 8, 16}) {
      Measure(absl::StrCat("decode_", streams), {.streams = streams, .past = kPrompt});
    }
    MeasureMixed();
    report_["read_gb_per_s"] = Median(bandwidths_) / kGiga;
    report_["peak_tflops"] = Median(peaks_) / kTera;
    report_["peak_rss_gib"] = PeakRssGib() - kProbeGib;
  }

  const nlohmann::ordered_json& report() const { return report_; }

 private:
  static constexpr int kMaxStreams = 16;
  static constexpr int kPrompt = 512, kLongPrompt = 2048, kGroupRows = 512;
  static constexpr int kDecodeReserve = 64;  // positions that decoding may take
  static constexpr int kPageTokens = 16;
  static constexpr double kPeakSeconds = 0.1;

  // `streams` sequences of `rows` tokens, after `past` that are in the cache.
  struct Workload {
    int streams = 1;
    int rows = 1;
    int past = 0;
    int group_rows = kGroupRows;  // of a prompt in one step
  };

  struct Limits {
    double bytes_per_s = 0;
    double flops = 0;
    // Of work that is bound by nothing else.
    double Seconds(const StepWork& work) const {
      return std::max(work.bytes / bytes_per_s, flops > 0 ? work.flops / flops : 0);
    }
  };

  int PagesOfStream() const { return (kPrompt + kDecodeReserve) / kPageTokens; }

  void MakeStreams() {
    std::mt19937 random(17);
    for (int stream = 0; stream < kMaxStreams; ++stream) {
      std::vector<TokenId>& tokens = tokens_.emplace_back();
      for (int i = 0; i < kLongPrompt; ++i) {
        tokens.push_back(
            static_cast<TokenId>(random() % static_cast<uint32_t>(config_.vocab_size)));
      }
      std::vector<model::PageId>& pages = pages_.emplace_back();
      for (int i = 0; i < PagesOfStream(); ++i) pages.push_back(stream * PagesOfStream() + i);
    }
    // The long prompt runs when nothing else does.
    for (int i = 0; i < kLongPrompt / kPageTokens; ++i) long_pages_.push_back(i);
  }

  // The last rows of a prompt sample its first token.
  model::Chunk MakeChunk(int stream, int first, int rows, bool sample,
                         const std::vector<model::PageId>& pages) const {
    model::Chunk chunk;
    chunk.tokens = std::span(tokens_[static_cast<size_t>(stream)])
                       .subspan(static_cast<size_t>(first), static_cast<size_t>(rows));
    chunk.first_position = first;
    chunk.pages = pages;
    chunk.policy = policy_.get();
    if (sample) chunk.sample.emplace().params.temperature = 0;
    return chunk;
  }

  double StepSeconds(const model::StepBatch& batch, StepWork* work) {
    const double start = Now();
    const absl::Status status = model_->Step(batch, &output_);
    const double seconds = Now() - start;
    CHECK(status.ok()) << status;
    if (work != nullptr) *work += WorkOf(batch, output_.routing, config_, element_bytes_);
    return seconds;
  }

  model::StepBatch DecodeBatch(int streams, int position) const {
    model::StepBatch batch;
    for (int stream = 0; stream < streams; ++stream) {
      batch.chunks.push_back(
          MakeChunk(stream, position, 1, true, pages_[static_cast<size_t>(stream)]));
    }
    return batch;
  }

  // A prompt in groups, as the server runs it with --max-batch-tokens of `group_rows`.
  double PrefillSeconds(int stream, int rows, int group_rows, StepWork* work) {
    const std::vector<model::PageId>& pages =
        rows > kPrompt ? long_pages_ : pages_[static_cast<size_t>(stream)];
    double seconds = 0;
    for (int first = 0; first < rows; first += group_rows) {
      const int group = std::min(group_rows, rows - first);
      model::StepBatch step;
      step.chunks.push_back(MakeChunk(stream, first, group, first + group == rows, pages));
      seconds += StepSeconds(step, work);
    }
    return seconds;
  }

  Limits Probe() {
    const Limits limits = {.bytes_per_s = probe_->BytesPerSecond(flags_.threads),
                           .flops = PeakFlops(isa_, flags_.threads, kPeakSeconds)};
    bandwidths_.push_back(limits.bytes_per_s);
    peaks_.push_back(limits.flops);
    return limits;
  }

  bool Wanted(std::string_view point) const {
    return flags_.points.empty() || std::ranges::find(flags_.points, point) != flags_.points.end();
  }

  void Measure(const std::string& name, const Workload& load) {
    if (!Wanted(name)) return;
    for (int stream = 0; stream < load.streams && load.past > 0; ++stream) {
      PrefillSeconds(stream, load.past, kGroupRows, nullptr);
    }
    std::vector<double> seconds, of_bandwidth, of_peak, of_limit;
    for (int i = 0; i <= flags_.repeats; ++i) {
      const Limits limits = Probe();
      StepWork work;
      const double taken = load.past > 0
                               ? StepSeconds(DecodeBatch(load.streams, load.past + i), &work)
                               : PrefillSeconds(0, load.rows, load.group_rows, &work);
      if (i == 0) continue;  // warms up
      seconds.push_back(taken);
      of_bandwidth.push_back(work.bytes / taken / limits.bytes_per_s);
      of_peak.push_back(limits.flops > 0 ? work.flops / taken / limits.flops : 0);
      of_limit.push_back(limits.Seconds(work) / taken);
    }
    report_["points"][name] = {{"tokens_per_s", load.streams * load.rows / Median(seconds)},
                               {"step_ms", Median(seconds) * 1e3},
                               {"bw_util", Median(of_bandwidth)},
                               {"of_peak_flops", Median(of_peak)},
                               {"of_limit", Median(of_limit)}};
  }

  // The step that gives a prompt of 32 tokens its first token while 8 streams decode, beside the
  // step that they have without it.
  void MeasureMixed() {
    if (!Wanted("first_token_of_32_beside_8")) return;
    constexpr int kStreams = 8, kShortPrompt = 32;
    std::vector<double> alone, mixed, ratios;
    for (int i = 0; i <= flags_.repeats; ++i) {
      Probe();
      model::StepBatch batch = DecodeBatch(kStreams, kPrompt + i);
      const double without = StepSeconds(batch, nullptr);
      batch.chunks.push_back(MakeChunk(kStreams, 0, kShortPrompt, true, pages_[kStreams]));
      const double with = StepSeconds(batch, nullptr);
      if (i == 0) continue;
      alone.push_back(without);
      mixed.push_back(with);
      ratios.push_back(with / without);
    }
    report_["first_token_of_32_beside_8"] = {{"decode_steps", Median(ratios)},
                                             {"step_ms", Median(mixed) * 1e3},
                                             {"decode_ms", Median(alone) * 1e3}};
  }

  const Flags flags_;
  ops::CpuIsa isa_ = ops::CpuIsa::kPortable;  // whose peak is the limit
  nlohmann::ordered_json report_;
  int64_t element_bytes_ = 2;
  model::OlmoeConfig config_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<MemoryProbe> probe_;
  std::shared_ptr<const routing::RoutingPolicy> policy_;
  std::vector<std::vector<TokenId>> tokens_;       // [streams][kLongPrompt]
  std::vector<std::vector<model::PageId>> pages_;  // [streams]
  std::vector<model::PageId> long_pages_;
  std::vector<double> bandwidths_, peaks_;
  model::StepOutput output_;
};

int Fail(const absl::Status& status) {
  std::cerr << "olmoe-model-benchmark: " << status.message() << "\n";
  return 1;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "Measures the model beside the limits of the machine: prefill, decode with 1, 8 and "
      "16 streams");
  app.add_option("--model", flags.model, "checkpoint folder")->required();
  app.add_option("--dtype", flags.dtype)->check(CLI::IsMember({"bfloat16", "float32"}));
  app.add_option("--cpu-isa", flags.cpu_isa, "as olmoe-server's")->capture_default_str();
  app.add_option("--threads", flags.threads)->check(CLI::Range(1, 1024));
  app.add_option("--repeats", flags.repeats, "measured steps; the median counts")
      ->check(CLI::Range(5, 50));
  app.add_option("--points", flags.points, "as prefill_512,decode_1; default: all")
      ->delimiter(',')
      ->check(CLI::IsMember({"prefill_512", "prefill_2048", "prefill_2048_in_one_step", "decode_1",
                             "decode_8", "decode_16", "first_token_of_32_beside_8"}));
  app.add_option("--peers", flags.peers,
                 "tokens per second of others as JSON, {\"engine\": {\"decode_1\": 10.8}}");
  app.add_flag("--json", flags.json);
  CLI11_PARSE(app, argc, argv);
  Peers peers;
  if (!flags.peers.empty()) {
    absl::StatusOr<Peers> read = ReadPeers(flags.peers);
    if (!read.ok()) return Fail(read.status());
    peers = *std::move(read);
  }
  Benchmark benchmark(flags);
  if (absl::Status status = benchmark.Load(); !status.ok()) return Fail(status);
  benchmark.Run();
  std::cout << (flags.json ? benchmark.report().dump(2) + "\n" : Table(benchmark.report(), peers));
  return 0;
}

}  // namespace
}  // namespace olmoe::bench

int main(int argc, char** argv) { return olmoe::bench::Main(argc, argv); }
