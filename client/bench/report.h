#ifndef OLMOE_CLIENT_BENCH_REPORT_H_
#define OLMOE_CLIENT_BENCH_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/bench/benchmark.h"
#include "client/bench/comparison.h"
#include "client/eval/bootstrap.h"
#include "client/render/style.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::bench {

// The same traffic twice.
struct RunPair {
  bool with_first = false;
  RunResult without, with;
};

// p99 of inter-token latency with swaps over that without; unset where one has none.
std::optional<double> P99Ratio(const RunPair& pair);

// The median of the pairs' ratios; unset where there is none.
std::optional<eval::Median> MedianP99Ratio(const std::vector<RunPair>& pairs, uint64_t seed);

struct BenchReport {
  v1::GetModelInfoResponse model;
  Runner::Options load;
  uint64_t seed = 0;
  bool interrupted = false;
  std::optional<RunResult> run;
  std::optional<Comparison> comparison;  // of the run's arms; or
  std::vector<RunPair> pairs;    // measured in this order
};

// For a person: what was measured, by arm where there are several; then errors and swaps.
std::string RenderBench(const BenchReport& report, const render::Style& style);
// One object; its fields are documented in docs/reference/tables.md.
std::string RenderBenchJson(const BenchReport& report, bool indent);

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_REPORT_H_
