// What statistics cost at full size, 16 layers of 64 experts, 8 arms that all analyze:
// about 24,000 series. Scrape: one scrape and its parts. AddStep: one step of 16 decoding
// rows while nobody scrapes, or somebody all the time. `slept` counts the steps in which the
// thread gave up the processor for a mutex; `p99.9` and `max` in microseconds say how long the
// engine's thread is held up, on a machine that has a core for each thread (else they are the
// scheduler's). `policies`: that each arm has had.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "glog/logging.h"
#include "server/http/metrics_text.h"
#include "server/routing/policy.h"
#include "server/stats/server_metrics.h"

namespace olmoe::stats {
namespace {

constexpr routing::RouterShape kShape{16, 64, 8, false};
constexpr int kArms = 8;
constexpr int kRows = 16;

// Metrics of a server that has served every arm, under every policy and in every phase.
class Served {
 public:
  explicit Served(int policies = 1) {
    model::ModelInfo model;
    model.num_layers = kShape.num_layers;
    model.num_experts = kShape.num_experts;
    metrics_ = std::make_unique<ServerMetrics>(
        ServerMetrics::Options{.model = model, .server_version = "bench"});
    for (int policy = 0; policy < policies; ++policy) {
      for (int arm = 0; arm < kArms; ++arm) assignments_.push_back(Assign(arm, policy));
    }
    Route();
    for (const auto phase :
         {engine::Phase::kPrefill, engine::Phase::kScore, engine::Phase::kDecode}) {
      for (int policy = 0; policy < policies; ++policy) {
        SetRows(policy, phase);
        AddStep();
      }
    }
  }

  // One step of the last policies.
  void AddStep() { metrics_->OnStep(rows_, record_, absl::Milliseconds(20)); }
  const ServerMetrics& metrics() const { return *metrics_; }

 private:
  static routing::Assignment Assign(int arm, int policy) {
    routing::PolicySpec spec;
    spec.policy_id = absl::StrCat("policy-", policy);
    spec.analyze = routing::Rule{routing::TopP{0.5}, routing::WeightMode::kModelDefault};
    return {absl::StrCat("arm-", arm),
            routing::RoutingPolicy::Create(std::move(spec), kShape, nullptr, "").value()};
  }
  // Rows of all arms in turn.
  void SetRows(int policy, engine::Phase phase) {
    rows_.clear();
    for (int row = 0; row < kRows; ++row) {
      const size_t arm = static_cast<size_t>(policy) * kArms + static_cast<size_t>(row % kArms);
      rows_.push_back({&assignments_[arm], phase, row, 1});
      if (phase == engine::Phase::kDecode) rows_.back().token_interval = absl::Milliseconds(20);
    }
  }
  void Route() {
    record_.Reset(kShape.num_layers, kRows);
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal(-1.5f, 1.0f);
    std::vector<float> logits(kShape.num_experts);
    routing::RowRouting routing;
    for (int i = 0; i < kShape.num_layers * kRows; ++i) {
      for (float& logit : logits) logit = normal(random);
      CHECK(assignments_[0].policy->Route({.layer = i / kRows}, logits, &routing) ==
            routing::RouteError::kNone);
      record_.Add(routing);
    }
  }

  std::unique_ptr<ServerMetrics> metrics_;
  std::vector<routing::Assignment> assignments_;  // by policy, then arm
  std::vector<engine::StepRows> rows_;
  routing::RoutingRecord record_;
};

void Scrape(benchmark::State& state) {
  const Served served;
  size_t bytes = 0;
  for (auto _ : state) bytes = http::Gzip(http::MetricsText(served.metrics().Collect())).size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(Scrape)->Unit(benchmark::kMillisecond);

void ScrapeSnapshot(benchmark::State& state) {
  const Served served(static_cast<int>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(served.metrics().experts().Snapshot());
}
BENCHMARK(ScrapeSnapshot)->ArgName("policies")->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond);

void ScrapeCollect(benchmark::State& state) {
  const Served served;
  for (auto _ : state) benchmark::DoNotOptimize(served.metrics().Collect());
}
BENCHMARK(ScrapeCollect)->Unit(benchmark::kMillisecond);

void ScrapeText(benchmark::State& state) {
  const Served served;
  const auto families = served.metrics().Collect();
  std::string text;
  for (auto _ : state) text = http::MetricsText(families);
  state.counters["bytes"] = static_cast<double>(text.size());
  size_t series = 0;
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; ++at) {
    if (at + 1 < text.size() && text[at + 1] != '#') ++series;
  }
  state.counters["series"] = static_cast<double>(series);
}
BENCHMARK(ScrapeText)->Unit(benchmark::kMillisecond);

void ScrapeCompress(benchmark::State& state) {
  const Served served;
  const std::string text = http::MetricsText(served.metrics().Collect());
  size_t bytes = 0;
  for (auto _ : state) bytes = http::Gzip(text, static_cast<int>(state.range(0))).size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(ScrapeCompress)->ArgName("level")->Arg(1)->Arg(6)->Unit(benchmark::kMillisecond);

// Waits of this thread so far, without those that the scheduler forced on it.
int64_t NumSleeps() {
  rusage usage = {};
  CHECK_EQ(getrusage(RUSAGE_THREAD, &usage), 0);
  return usage.ru_nvcsw;
}

// Scrapes again and again, until destroyed.
class Scraper {
 public:
  Scraper(bool on, const Served* served) {
    if (!on) return;
    thread_ = std::thread([this, served] {
      while (!stop_) {
        benchmark::DoNotOptimize(served->metrics().Collect());
        ++scrapes_;
      }
    });
  }
  ~Scraper() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int64_t scrapes() const { return scrapes_; }

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<int64_t> scrapes_ = 0;
  std::thread thread_;
};

void AddStep(benchmark::State& state) {
  Served served(static_cast<int>(state.range(1)));
  std::vector<double> micros;
  micros.reserve(size_t{1} << 20);
  Scraper scraper(state.range(0) == 1, &served);
  const int64_t sleeps = NumSleeps();
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    served.AddStep();
    micros.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
            .count());
  }
  state.counters["slept"] = static_cast<double>(NumSleeps() - sleeps);
  std::sort(micros.begin(), micros.end());
  state.counters["p50"] = micros[micros.size() / 2];
  state.counters["p99.9"] = micros[micros.size() * 999 / 1000];
  state.counters["max"] = micros.back();
  state.counters["scrapes"] = static_cast<double>(scraper.scrapes());
}
BENCHMARK(AddStep)
    ->ArgNames({"scraper", "policies"})
    ->Args({0, 1})
    ->Args({1, 1})
    ->Args({0, 8})
    ->Args({1, 8})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace olmoe::stats

BENCHMARK_MAIN();
