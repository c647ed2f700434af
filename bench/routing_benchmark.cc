// Nanoseconds per row of one router: 64 experts, the native top-8 and the rules that
// replace it. Every iteration routes one of 512 different rows, so that branches are
// predicted as badly as in service.
#include <cmath>
#include <random>
#include <vector>

#include "benchmark/benchmark.h"
#include "glog/logging.h"
#include "server/routing/calibration_builder.h"
#include "server/routing/policy.h"

namespace olmoe::routing {
namespace {

constexpr RouterShape kShape{1, 64, 8, false};
constexpr size_t kNumRows = 512;

const std::vector<std::vector<float>>& Rows() {
  static const auto* const rows = [] {
    auto* rows = new std::vector<std::vector<float>>;
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal(-1.5f, 1.0f);
    for (size_t i = 0; i < kNumRows; ++i) {
      std::vector<float>& row = rows->emplace_back(kShape.num_experts);
      for (float& logit : row) logit = normal(random);
    }
    return rows;
  }();
  return *rows;
}

// Fitted on the rows themselves, the 8 highest of each left out.
CalibrationSet* Calibrations() {
  static CalibrationSet* const calibrations = [] {
    CalibrationBuilder builder = CalibrationBuilder::Create(kShape, 8).value();
    for (const std::vector<float>& row : Rows()) CHECK(builder.AddRow(0, row).ok());
    auto* set = new CalibrationSet;
    CHECK(set->Add(builder.Build("rows").value()).ok());
    return set;
  }();
  return calibrations;
}

Rule BhRule() {
  BenjaminiHochberg bh;
  bh.alpha = 0.12;
  bh.calibration_id = "rows";
  return {bh, WeightMode::kModelDefault};
}

Rule HcRule() {
  HigherCriticism hc;
  hc.calibration_id = "rows";
  return {hc, WeightMode::kModelDefault};
}

Rule TopPRule() {
  TopP top_p;
  top_p.p = 0.5;
  return {top_p, WeightMode::kModelDefault};
}

void RouteRows(benchmark::State& state, std::optional<Rule> apply,
               std::optional<Rule> analyze = std::nullopt) {
  PolicySpec spec;
  spec.policy_id = "bench";
  spec.apply = std::move(apply);
  spec.analyze = std::move(analyze);
  const auto policy = RoutingPolicy::Create(spec, kShape, Calibrations(), "").value();
  RowRouting routing;
  size_t row = 0;
  int64_t experts = 0;
  for (auto _ : state) {
    CHECK(policy->Route(0, Rows()[row], &routing) == RouteError::kNone);
    benchmark::DoNotOptimize(routing);
    experts += routing.applied.k;
    row = (row + 1) % kNumRows;
  }
  state.counters["experts"] =
      benchmark::Counter(static_cast<double>(experts), benchmark::Counter::kAvgIterations);
}

BENCHMARK_CAPTURE(RouteRows, native_top_8, std::nullopt);
BENCHMARK_CAPTURE(RouteRows, top_p, TopPRule());
BENCHMARK_CAPTURE(RouteRows, bh, BhRule());
BENCHMARK_CAPTURE(RouteRows, hc, HcRule());
BENCHMARK_CAPTURE(RouteRows, dense_top_64, Rule{TopK{64}, WeightMode::kModelDefault});
BENCHMARK_CAPTURE(RouteRows, native_analyze_bh, std::nullopt, BhRule());

}  // namespace
}  // namespace olmoe::routing

BENCHMARK_MAIN();
