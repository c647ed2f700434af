#include "client/route/policy_rules.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "server/api/policy_proto.h"
#include "server/routing/rule_fields.h"

namespace olmoe::client::route {
namespace {

// The rule of `layer`: that of its override where it has one, else the policy's own.
std::optional<routing::Rule> RuleOf(const routing::PolicySpec& spec, int layer,
                                    std::optional<routing::Rule> routing::LayerOverride::* own,
                                    const std::optional<routing::Rule>& otherwise) {
  for (const routing::LayerOverride& some : spec.layer_overrides) {
    const bool here = std::find(some.layers.begin(), some.layers.end(),
                                static_cast<uint32_t>(layer)) != some.layers.end();
    if (here && (some.*own).has_value()) return some.*own;
  }
  return otherwise;
}

}  // namespace

absl::StatusOr<PolicyRules> PolicyRules::Create(const v1::RoutingPolicy& policy,
                                                const routing::RouterShape& shape,
                                                const CdfTables* tables) {
  api::RequestErrors errors;
  routing::PolicySpec spec = api::ToPolicySpec(policy, "policy", &errors);
  if (!spec.router.empty()) {
    errors.Add("policy.router",
               "must not be set: the logits are there, and say what router gave "
               "them; recorded under another one, they are another file");
  }
  std::vector<FieldViolation> violations;
  routing::ValidatePolicy(spec, shape, "policy", &violations);
  for (FieldViolation& violation : violations) {
    errors.Add(std::move(violation.field), std::move(violation.description));
  }
  if (!errors.empty()) return errors.ToStatus();
  return PolicyRules(std::move(spec), shape, tables);
}

routing::LayerRule PolicyRules::Resolve(const routing::Rule& rule, int layer) const {
  const std::string* calibration = routing::NeededCalibration(rule);
  const routing::CdfTable* table =
      calibration == nullptr ? nullptr : FindTable(*tables_, *calibration, layer);
  return routing::MakeLayerRule(rule, shape_, table);
}

const RowRules& PolicyRules::Of(int layer) {
  const auto found = by_layer_.find(layer);
  if (found != by_layer_.end()) return found->second;
  const routing::Rule own{routing::TopK{static_cast<uint32_t>(shape_.default_k)}};
  RowRules rules{.shape = shape_, .apply = {}, .analyze = {}, .decode = {}};
  rules.apply = Resolve(
      RuleOf(spec_, layer, &routing::LayerOverride::apply, spec_.apply).value_or(own), layer);
  const auto analyze = RuleOf(spec_, layer, &routing::LayerOverride::analyze, spec_.analyze);
  if (analyze) rules.analyze = Resolve(*analyze, layer);
  const auto decode = RuleOf(spec_, layer, &routing::LayerOverride::decode, spec_.decode);
  if (decode) rules.decode = Resolve(*decode, layer);
  return by_layer_.emplace(layer, std::move(rules)).first->second;
}

}  // namespace olmoe::client::route
