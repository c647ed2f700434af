// RouteRows: nanoseconds per row of one router: 64 experts, the native top-8 and the rules
// that replace it. RouteStep: microseconds that routing and statistics take of a whole step
// of the full-size model, 16 layers: Route, the record, ExpertStats. The time of the step
// itself is what olmoe-model-benchmark prints; --benchmark_filter=RouteStep gives the share.
// Every iteration takes other rows, so that branches are predicted as badly as in service.
#include <cmath>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "glog/logging.h"
#include "server/engine/step_observer.h"
#include "server/routing/calibration_builder.h"
#include "server/routing/policy.h"
#include "server/routing/record.h"
#include "server/stats/expert_stats.h"

namespace olmoe::routing {
namespace {

constexpr RouterShape kShape{16, 64, 8, false};
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
    for (int layer = 0; layer < kShape.num_layers; ++layer) {
      for (const std::vector<float>& row : Rows()) CHECK(builder.AddRow(layer, row).ok());
    }
    auto* set = new CalibrationSet;
    CHECK(set->Add(builder.Build("rows").value()).ok());
    return set;
  }();
  return calibrations;
}

Rule BhRule() {
  BenjaminiHochberg bh;
  bh.alpha = 0.12;
  bh.p_values.calibration_id = "rows";
  return {bh, WeightMode::kModelDefault};
}

Rule HcRule() {
  HigherCriticism hc;
  hc.p_values.calibration_id = "rows";
  return {hc, WeightMode::kModelDefault};
}

Rule TopPRule() {
  TopP top_p;
  top_p.p = 0.5;
  return {top_p, WeightMode::kModelDefault};
}

Rule MinPRule() {
  MinP min_p;
  min_p.ratio = 0.1;
  return {min_p, WeightMode::kModelDefault};
}

Rule KeepRule() {
  return {Expression{"p > 0.3 * p1 && rank <= 12", {2, {}}}, WeightMode::kModelDefault};
}

Rule BanRule() {
  Adjust adjust;
  adjust.ban = {3, 17};
  return {TopK{8}, WeightMode::kModelDefault, adjust};
}

Rule NoiseRule() {
  Adjust adjust;
  adjust.noise = Noise{0.5};
  return {TopK{8}, WeightMode::kModelDefault, adjust};
}

std::shared_ptr<const RoutingPolicy> Compile(std::optional<Rule> apply,
                                             std::optional<Rule> analyze) {
  PolicySpec spec;
  spec.policy_id = "bench";
  spec.apply = std::move(apply);
  spec.analyze = std::move(analyze);
  return RoutingPolicy::Create(std::move(spec), kShape, Calibrations(), "").value();
}

void RouteRows(benchmark::State& state, std::optional<Rule> apply,
               std::optional<Rule> analyze = std::nullopt) {
  const auto policy = Compile(std::move(apply), std::move(analyze));
  RowRouting routing;
  size_t row = 0;
  int64_t experts = 0;
  for (auto _ : state) {
    CHECK(policy->Route({.layer = 0}, Rows()[row], &routing) == RouteError::kNone);
    benchmark::DoNotOptimize(routing);
    experts += routing.applied.k;
    row = (row + 1) % kNumRows;
  }
  state.counters["experts"] =
      benchmark::Counter(static_cast<double>(experts), benchmark::Counter::kAvgIterations);
}

// The rows of a step as the engine reports them: a decoding row is a range of its own, a
// prompt is one range. `assignment` is alive as long as the ranges.
std::vector<engine::StepRows> Ranges(int rows, const Assignment& assignment) {
  constexpr int kMaxDecodeRows = 64;
  if (rows > kMaxDecodeRows) return {{&assignment, engine::Phase::kPrefill, 0, rows}};
  std::vector<engine::StepRows> ranges;
  for (int row = 0; row < rows; ++row) {
    ranges.push_back({&assignment, engine::Phase::kDecode, row, 1});
  }
  return ranges;
}

// Argument: rows of the step.
void RouteStep(benchmark::State& state, std::optional<Rule> apply,
               std::optional<Rule> analyze = std::nullopt) {
  const int rows = static_cast<int>(state.range(0));
  const Assignment assignment{"default", Compile(std::move(apply), std::move(analyze))};
  const std::vector<engine::StepRows> ranges = Ranges(rows, assignment);
  stats::ExpertStats stats(kShape.num_layers, kShape.num_experts);
  RoutingRecord record;
  RowRouting routing;
  size_t next = 0;
  for (auto _ : state) {
    record.Reset(kShape.num_layers, rows);
    for (int layer = 0; layer < kShape.num_layers; ++layer) {
      for (int row = 0; row < rows; ++row) {
        CHECK(assignment.policy->Route({.layer = layer}, Rows()[next], &routing) ==
              RouteError::kNone);
        record.Add(routing);
        next = (next + 1) % kNumRows;
      }
    }
    stats.AddStep(ranges, record);
  }
  state.SetLabel(absl::StrCat(rows, rows == 1 ? " row" : " rows", " x 16 layers"));
}

void StepSizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("rows")->Arg(1)->Arg(8)->Arg(16)->Arg(512)->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(RouteStep, native_top_8, std::nullopt)->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, top_p, TopPRule())->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, min_p, MinPRule())->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, bh, BhRule())->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, hc, HcRule())->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, dense_top_64, Rule{TopK{64}, WeightMode::kModelDefault})
    ->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, native_analyze_bh, std::nullopt, BhRule())->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, keep, KeepRule())->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, ban, BanRule())->Apply(StepSizes);
BENCHMARK_CAPTURE(RouteStep, noise, NoiseRule())->Apply(StepSizes);

BENCHMARK_CAPTURE(RouteRows, native_top_8, std::nullopt);
BENCHMARK_CAPTURE(RouteRows, top_p, TopPRule());
BENCHMARK_CAPTURE(RouteRows, min_p, MinPRule());
BENCHMARK_CAPTURE(RouteRows, bh, BhRule());
BENCHMARK_CAPTURE(RouteRows, hc, HcRule());
BENCHMARK_CAPTURE(RouteRows, dense_top_64, Rule{TopK{64}, WeightMode::kModelDefault});
BENCHMARK_CAPTURE(RouteRows, native_analyze_bh, std::nullopt, BhRule());
BENCHMARK_CAPTURE(RouteRows, keep, KeepRule());
BENCHMARK_CAPTURE(RouteRows, ban, BanRule());
BENCHMARK_CAPTURE(RouteRows, noise, NoiseRule());

}  // namespace
}  // namespace olmoe::routing

BENCHMARK_MAIN();
