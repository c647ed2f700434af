#ifndef OLMOE_CLIENT_BENCH_COMPARISON_REPORT_H_
#define OLMOE_CLIENT_BENCH_COMPARISON_REPORT_H_

#include <string>
#include <vector>

#include "client/bench/comparison.h"
#include "client/render/style.h"
#include "nlohmann/json_fwd.hpp"

namespace olmoe::client::bench {

// What it comes to, a sentence each: the split, then each arm in each metric.
std::vector<std::string> Verdict(const Comparison& comparison);

// For a person: the verdict, and what its intervals are.
std::string RenderComparison(const Comparison& comparison, const render::Style& style);
// The object "comparison" of docs/reference/json.md.
nlohmann::ordered_json ComparisonJson(const Comparison& comparison);

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_COMPARISON_REPORT_H_
