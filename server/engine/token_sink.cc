#include "server/engine/token_sink.h"

#include <numeric>
#include <utility>

#include "glog/logging.h"

namespace olmoe::engine {

void RoutingTrace::Append(RoutingTrace next) {
  if (next.num_positions == 0) return;
  if (num_positions == 0) {
    *this = std::move(next);
    return;
  }
  CHECK_EQ(next.first_position, first_position + num_positions);
  CHECK_EQ(next.num_layers, num_layers);
  num_positions += next.num_positions;
  counts.insert(counts.end(), next.counts.begin(), next.counts.end());
  experts.insert(experts.end(), next.experts.begin(), next.experts.end());
  weights.insert(weights.end(), next.weights.begin(), next.weights.end());
  logits.insert(logits.end(), next.logits.begin(), next.logits.end());
}

RoutingTrace RoutingTrace::Slice(int first, int num) const {
  CHECK(first >= 0 && num >= 0 && first + num <= num_positions);
  RoutingTrace slice;
  if (num == 0) return slice;
  slice.first_position = first_position + first;
  slice.num_positions = num;
  slice.num_layers = num_layers;
  const auto begin = counts.begin() + int64_t{first} * num_layers;
  const auto end = begin + int64_t{num} * num_layers;
  slice.counts.assign(begin, end);
  const auto first_expert = experts.begin() + std::accumulate(counts.begin(), begin, int64_t{0});
  slice.experts.assign(first_expert, first_expert + std::accumulate(begin, end, int64_t{0}));
  return slice;
}

}  // namespace olmoe::engine
