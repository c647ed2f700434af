#include "server/experiment/plan_check.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe::experiment {
namespace {

// An arm or an analyzed rule costs memory in Prometheus: who adds one should see how much.
void WarnOfSeries(const routing::RoutingPlan& plan, const Serving& serving,
                  std::vector<std::string>* warnings) {
  const std::vector<routing::Arm>& arms = plan.arms();
  const bool analyzes = std::any_of(arms.begin(), arms.end(),
                                    [](const routing::Arm& arm) { return arm.policy->analyzes(); });
  if (!serving.count_series || (arms.size() == 1 && !analyzes)) return;
  warnings->push_back(absl::StrCat(
      "the routers of this plan's arms export ", serving.count_series(plan),
      " Prometheus series; --expert-metrics=layer exports fewer, --expert-metrics=off none"));
}

}  // namespace

std::function<absl::Status(const routing::RoutingPlan& candidate)> MakePlanCheck(
    std::optional<ProbeInput> probe, absl::Time deadline, const Serving& serving,
    PlanFindings* findings) {
  return [probe = std::move(probe), deadline, &serving,
          findings](const routing::RoutingPlan& candidate) {
    WarnOfSeries(candidate, serving, &findings->warnings);
    if (!probe.has_value()) return absl::OkStatus();
    auto results = RunProbe(candidate, *probe, deadline, serving);
    if (results.ok()) findings->probe_results = *std::move(results);
    return results.status();
  };
}

void AddFindings(const PlanFindings& findings, v1::PatchRoutersResponse* response) {
  response->mutable_warnings()->Add(findings.warnings.begin(), findings.warnings.end());
  response->mutable_probe_results()->Add(findings.probe_results.begin(),
                                         findings.probe_results.end());
}

}  // namespace olmoe::experiment
