#include "server/routing/calibration_use.h"

#include <optional>
#include <variant>

namespace olmoe::routing {
namespace {

void AddOf(const std::optional<Rule>& rule, std::set<std::string, std::less<>>* ids) {
  if (!rule) return;
  std::visit(
      [ids](const auto& kind) {
        if constexpr (requires { kind.calibration_id; }) {
          if (kind.p_value == PValueKind::kLayerCdf) ids->insert(kind.calibration_id);
        }
      },
      rule->kind);
}

}  // namespace

std::set<std::string, std::less<>> CalibrationsOf(const PlanSpec& plan) {
  std::set<std::string, std::less<>> ids;
  for (const ArmSpec& arm : plan.arms) {
    AddOf(arm.policy.apply, &ids);
    AddOf(arm.policy.analyze, &ids);
    for (const LayerOverride& layers : arm.policy.layer_overrides) {
      AddOf(layers.apply, &ids);
      AddOf(layers.analyze, &ids);
    }
  }
  return ids;
}

}  // namespace olmoe::routing
