// What is looked at in a candidate plan before it is published: PatchOptions::check.
#ifndef OLMOE_SERVER_EXPERIMENT_PLAN_CHECK_H_
#define OLMOE_SERVER_EXPERIMENT_PLAN_CHECK_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "olmoe/v1/admin.pb.h"
#include "server/experiment/probe.h"
#include "server/experiment/serving.h"
#include "server/routing/plan.h"

namespace olmoe::experiment {

struct PlanFindings {
  std::vector<v1::ProbeResult> probe_results;
  std::vector<std::string> warnings;
};

// Says in a warning how many series the plan's arms export where there are several arms or an
// analyzed rule; then runs the probe, if any, whose error refuses the plan. `context` and
// `findings` outlive the check.
std::function<absl::Status(const routing::RoutingPlan& candidate)> MakePlanCheck(
    std::optional<ProbeInput> probe, absl::Time deadline, const Serving& serving,
    PlanFindings* findings);

// Into the answer to the patch.
void AddFindings(const PlanFindings& findings, v1::PatchRoutersResponse* response);

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_PLAN_CHECK_H_
