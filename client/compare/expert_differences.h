// How often two policies run each expert, and whether that differs.
#ifndef OLMOE_CLIENT_COMPARE_EXPERT_DIFFERENCES_H_
#define OLMOE_CLIENT_COMPARE_EXPERT_DIFFERENCES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "client/compare/proportions.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::compare {

// One expert of one layer.
struct ExpertDifference {
  uint32_t layer = 0;
  uint32_t expert = 0;
  Proportion from, to;  // tokens that ran the expert, of those that the layer routed
  ProportionTest test;
  double q = 1;  // over all experts that are compared
  bool significant = false;

  double Change() const { return to.Share() - from.Share(); }  // [-1, 1]
};

// Compares all experts of the layers that both have, by layer and expert as `from` has them.
// Significant are the discoveries of Benjamini and Hochberg at false discovery rate `alpha`.
// INVALID_ARGUMENT, naming the layer, where the two cannot be compared: another number of experts,
// counts that cannot be, no layer in common.
absl::StatusOr<std::vector<ExpertDifference>> CompareExperts(const v1::ArmExpertStats& from,
                                                             const v1::ArmExpertStats& to,
                                                             double alpha);

}  // namespace olmoe::client::compare

#endif  // OLMOE_CLIENT_COMPARE_EXPERT_DIFFERENCES_H_
