// Experts to steer by: those that two readings use most differently. SteerMoE, arXiv 2509.09660.
#ifndef OLMOE_CLIENT_COMPARE_STEERING_H_
#define OLMOE_CLIENT_COMPARE_STEERING_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/compare/expert_differences.h"
#include "olmoe/v1/routing.pb.h"

namespace olmoe::client::compare {

// Each by size of the change, the largest first; equal ones by layer and expert.
struct SteerSets {
  std::vector<ExpertDifference> toward, away;

  bool empty() const { return toward.empty() && away.empty(); }
};

// The `count` experts whose share rises most and the `count` whose share falls most, over all
// layers together: the paper's risk difference of activation rates. Fewer where fewer rise or fall.
SteerSets ChooseSteering(const std::vector<ExpertDifference>& differences, size_t count);

// Top-k with the experts of `sets` steered in their layers, the model's own routing in the
// others: a model that routes as the reading `to`. Its name is "steer-" and the number of experts.
v1::RoutingPolicy SteerPolicy(const SteerSets& sets, uint32_t k);

}  // namespace olmoe::client::compare

#endif  // OLMOE_CLIENT_COMPARE_STEERING_H_
