#include "server/stats/derived.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace olmoe::stats {
namespace {

void DeriveTokens(const LayerCounts& counts, DerivedStats* out) {
  if (counts.tokens == 0) return;
  const double tokens = static_cast<double>(counts.tokens);
  double sum = 0;
  for (size_t k = 0; k < counts.experts_per_token.size(); ++k) {
    sum += static_cast<double>(k) * static_cast<double>(counts.experts_per_token[k]);
  }
  const double mean = sum / tokens;
  // Around the mean, in a second pass: a constant k has deviation 0 and not the rounding
  // of a difference of squares.
  double squares = 0;
  for (size_t k = 0; k < counts.experts_per_token.size(); ++k) {
    const double distance = static_cast<double>(k) - mean;
    squares += distance * distance * static_cast<double>(counts.experts_per_token[k]);
  }
  out->mean_experts_per_token = mean;
  out->stddev_experts_per_token = std::sqrt(squares / tokens);
}

void DeriveLoad(const std::vector<uint64_t>& load, DerivedStats* out) {
  out->idle_experts = static_cast<uint32_t>(std::count(load.begin(), load.end(), 0u));
  const uint64_t all = std::accumulate(load.begin(), load.end(), uint64_t{0});
  if (all == 0) return;
  const double experts = static_cast<double>(load.size());
  double squares = 0, entropy = 0;
  for (const uint64_t count : load) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(all);
    squares += share * share;
    entropy -= share * std::log(share);
  }
  const double largest = static_cast<double>(*std::max_element(load.begin(), load.end()));
  out->load_max_over_mean = largest * experts / static_cast<double>(all);
  out->load_jain = std::min(1.0, 1 / (experts * squares));
  out->load_entropy_ratio = load.size() == 1 ? 1 : std::min(1.0, entropy / std::log(experts));
}

}  // namespace

DerivedStats Derive(const LayerCounts& counts) {
  DerivedStats out;
  DeriveTokens(counts, &out);
  DeriveLoad(counts.expert_tokens, &out);
  return out;
}

}  // namespace olmoe::stats
