// Counts for tests of what reads them.
#ifndef OLMOE_TESTS_STATS_COUNTS_H_
#define OLMOE_TESTS_STATS_COUNTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/stats/expert_stats.h"

namespace olmoe::stats {

// Adds a failure for every equality that does not hold: selections = sum of k x tokens(k),
// tokens = sum of tokens(k), and the same tokens in all layers.
void ExpectEqualities(const std::vector<ExpertCounts>& snapshot);

// Summed over policies and phases.
using ArmTotals = std::map<std::pair<std::string, DecisionKind>, std::vector<LayerCounts>>;
void AddTo(const std::vector<ExpertCounts>& counts, ArmTotals* totals);
ArmTotals TotalsOf(const std::vector<ExpertCounts>& counts);

// The same counts; sums of reals are compared up to rounding.
void ExpectSameTotals(const ArmTotals& a, const ArmTotals& b);

uint64_t Selections(const LayerCounts& layer);

}  // namespace olmoe::stats

#endif  // OLMOE_TESTS_STATS_COUNTS_H_
