#include "server/routing/calibration_use.h"

#include <optional>

#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

void AddOf(const std::optional<Rule>& rule, std::set<std::string, std::less<>>* ids) {
  const std::string* id = rule ? NeededCalibration(*rule) : nullptr;
  if (id != nullptr) ids->insert(*id);
}

}  // namespace

std::set<std::string, std::less<>> CalibrationsOf(const PlanSpec& plan) {
  std::set<std::string, std::less<>> ids;
  for (const ArmSpec& arm : plan.arms) {
    AddOf(arm.policy.apply, &ids);
    AddOf(arm.policy.analyze, &ids);
    AddOf(arm.policy.decode, &ids);
    for (const LayerOverride& layers : arm.policy.layer_overrides) {
      AddOf(layers.apply, &ids);
      AddOf(layers.analyze, &ids);
      AddOf(layers.decode, &ids);
    }
  }
  return ids;
}

}  // namespace olmoe::routing
