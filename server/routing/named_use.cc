#include "server/routing/named_use.h"

#include <optional>

#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

void AddOf(const std::optional<Rule>& rule, Names* ids) {
  const std::string* id = rule ? NeededCalibration(*rule) : nullptr;
  if (id != nullptr) ids->insert(*id);
}

}  // namespace

Names CalibrationsOf(const PlanSpec& plan) {
  Names ids;
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

Names RoutersOf(const PlanSpec& plan) {
  Names ids;
  for (const ArmSpec& arm : plan.arms) {
    if (!arm.policy.router.empty()) ids.insert(arm.policy.router);
  }
  return ids;
}

}  // namespace olmoe::routing
