// Expert statistics put together: phases summed, policies compared.
#ifndef OLMOE_CLIENT_RENDER_EXPERT_STATS_H_
#define OLMOE_CLIENT_RENDER_EXPERT_STATS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::render {

// `arms` with the phases of one arm, policy and kind of decision summed, derived
// values made anew from the sums. Order of first appearance; layers ascending. The
// phase of a sum of two is PHASE_UNSPECIFIED.
std::vector<v1::ArmExpertStats> SumPhases(const v1::GetExpertStatsResponse& response);

// Tokens that were routed, and experts per token and layer.
uint64_t TokensRouted(const v1::ArmExpertStats& stats);
double MeanExperts(const v1::ArmExpertStats& stats);

// The load of each expert over the even share of its layer, 1 = balanced. All 0 for
// a layer without tokens.
std::vector<double> RelativeLoad(const v1::LayerExpertStats& layer);

// How the experts of one layer are used by two policies.
struct LayerDifference {
  uint32_t layer = 0;
  std::vector<double> load_a, load_b;  // [num_experts], relative
  double total_variation = 0;          // [0, 1] between the shares of the experts
  double jensen_shannon_bits = 0;      // [0, 1]
};

// Of the layers that both have.
std::vector<LayerDifference> Compare(const v1::ArmExpertStats& a, const v1::ArmExpertStats& b);

// "control" or "control:POLICY" where the arm has had several policies. NOT_FOUND
// and FAILED_PRECONDITION (ambiguous) list what there is.
absl::StatusOr<v1::ArmExpertStats> FindArm(const std::vector<v1::ArmExpertStats>& arms,
                                           const std::string& name);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_EXPERT_STATS_H_
