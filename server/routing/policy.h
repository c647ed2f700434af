#ifndef OLMOE_SERVER_ROUTING_POLICY_H_
#define OLMOE_SERVER_ROUTING_POLICY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/routing/route.h"
#include "server/routing/rule.h"
#include "server/util/status_details.h"

namespace olmoe::routing {

class Calibration;     // calibration.h: the tables of one name
class CalibrationSet;  // calibration.h: named tables
class Router;          // router.h: the weights of one name
class RouterSet;       // router.h: named weights

// What policies refer to by name. Null: there are none. Both outlive what is made with them.
struct NamedSets {
  // Calibrations alone are such sets too. NOLINTNEXTLINE(google-explicit-constructor)
  NamedSets(const CalibrationSet* calibrations_in = nullptr, const RouterSet* routers_in = nullptr)
      : calibrations(calibrations_in), routers(routers_in) {}
  const CalibrationSet* calibrations;
  const RouterSet* routers;
};

// The rules of some layers, in place of the policy's own. A rule that is unset
// here is the policy's.
struct LayerOverride {
  std::vector<uint32_t> layers;  // 0-based, no layer twice in one policy
  std::optional<Rule> apply;
  std::optional<Rule> analyze;
  std::optional<Rule> decode = {};
  bool operator==(const LayerOverride&) const = default;
};

// A policy as an operator writes it. No rule: the model's own routing. A late row, whose token is
// beyond the prompt, runs the first that is set: the override's `decode`, the policy's `decode`,
// the override's `apply`, the policy's `apply`.
struct PolicySpec {
  std::string policy_id;         // [a-z0-9][a-z0-9-]{0,31}
  std::optional<Rule> apply;     // unset = the model's own top-k
  std::optional<Rule> analyze;   // counted, never run
  std::optional<Rule> decode = {};  // of late rows, in place of apply
  std::vector<LayerOverride> layer_overrides;
  std::string description;       // <= 256 bytes
  std::string router = {};       // the weights of its rows; empty = the model's own
  bool operator==(const PolicySpec&) const = default;
};

// Appends one violation per field that is out of range for `shape`, named below
// `prefix`: "plan.arms[0].policy" gives "plan.arms[0].policy.layer_overrides[2].layers[0]".
void ValidatePolicy(const PolicySpec& spec, const RouterShape& shape, std::string_view prefix,
                    std::vector<FieldViolation>* violations);

// Experts of a layer about which no row decides.
struct FixedExperts {
  ExpertSet banned;  // run for no row
  ExpertSet forced;  // run for every row
};

// A policy that can run: checked against the model, defaults filled in, layer
// overrides expanded, calibration tables and router resolved and kept alive. The one
// argument by which the forward pass learns how to route. Immutable: thread-safe.
class RoutingPolicy {
 public:
  // Errors: INVALID_ARGUMENT with one violation per field, named below `prefix`;
  // FAILED_PRECONDITION (PreconditionFailure of type CALIBRATION_MISSING, subject
  // "calibrations/<id>") where a calibration, or a layer of it, is missing; the same with
  // ROUTER_MISSING and "routers/<id>" for a router.
  static absl::StatusOr<std::shared_ptr<const RoutingPolicy>> Create(PolicySpec spec,
                                                                     const RouterShape& shape,
                                                                     const NamedSets& named,
                                                                     std::string_view prefix);

  // The model's own routing, policy id "native".
  static std::shared_ptr<const RoutingPolicy> Native(const RouterShape& shape);

  // Routes one row; `logits`: [num_experts], by the weights of router() where that has the layer.
  RouteError Route(const RowPlace& place, std::span<const float> logits, RowRouting* out) const;

  // That of the rule which runs the row; never kModelDefault.
  WeightMode weight_mode(const RowPlace& place) const { return RuleOf(place).rule.weight_mode; }

  const PolicySpec& spec() const { return spec_; }
  const RouterShape& shape() const { return shape_; }
  // SHA-256 of the canonical form: equal behaviour, equal digest. Lower-case hex.
  const std::string& digest() const { return digest_; }
  // Of what it applies to rows that are not late; empty where that depends on the request: noise.
  const std::string& prompt_digest() const { return prompt_digest_; }
  bool analyzes() const { return analyzes_; }
  // The weights of its rows, in the layers that it has; null: the model's own.
  const Router* router() const { return router_.get(); }
  // What holds for all rows of a layer, late or not, that are applied.
  FixedExperts FixedApplied(int layer) const;
  // Of the analyzed rule; empty sets where nothing is analyzed.
  FixedExperts FixedAnalyzed(int layer) const;
  // Layers whose applied rule, weights of experts or router differ from the model's own.
  int num_changed_layers() const { return num_changed_layers_; }

 private:
  RoutingPolicy() = default;

  // What runs the row.
  const LayerRule& RuleOf(const RowPlace& place) const;

  PolicySpec spec_;
  RouterShape shape_;
  std::string digest_;
  std::string prompt_digest_;
  bool analyzes_ = false;
  int num_changed_layers_ = 0;
  std::vector<LayerRule> apply_;                    // [num_layers]
  std::vector<std::optional<LayerRule>> decode_;    // [num_layers]
  std::vector<std::optional<LayerRule>> analyze_;   // [num_layers]
  // Keeps the tables that the LayerRules point to.
  std::vector<std::shared_ptr<const Calibration>> calibrations_;
  std::shared_ptr<const Router> router_;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_POLICY_H_
