#include "server/engine/token_sink.h"

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

}  // namespace olmoe::engine
