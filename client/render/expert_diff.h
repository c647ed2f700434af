// How two arms use the experts differently.
#ifndef OLMOE_CLIENT_RENDER_EXPERT_DIFF_H_
#define OLMOE_CLIENT_RENDER_EXPERT_DIFF_H_

#include <string>
#include <vector>

#include "client/compare/expert_differences.h"
#include "client/render/style.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::render {

// Two readings and the tests of all their experts.
struct ExpertDiff {
  v1::ArmExpertStats from, to;
  double alpha = 0;  // rate of false discoveries
  std::vector<compare::ExpertDifference> experts;  // CompareExperts of the two
};

// A map of what `to` does more and less than `from`, how many experts differ significantly in each
// layer, and the `top` experts whose share changes most.
std::string RenderExpertDiff(const ExpertDiff& diff, int top, const Style& style);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_EXPERT_DIFF_H_
