#ifndef OLMOE_BENCH_REPORT_H_
#define OLMOE_BENCH_REPORT_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace olmoe::bench {

// Figures of other engines beside ours, tokens per second by point:
//   {"ik_llama.cpp BF16": {"prefill_512": 90, "decode_1": 10.8}, ...}
// They are only worth comparing when they were measured in the same minutes.
// Errors name the file, and what in it is wrong.
using Peers = std::map<std::string, std::map<std::string, double>>;
absl::StatusOr<Peers> ReadPeers(const std::string& path);

// The report of the benchmark as a table, with a column of ratios for each peer.
std::string Table(const nlohmann::ordered_json& report, const Peers& peers);

}  // namespace olmoe::bench

#endif  // OLMOE_BENCH_REPORT_H_
