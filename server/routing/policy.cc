#include "server/routing/policy.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/routing/calibration.h"
#include "server/routing/canonical.h"
#include "server/routing/field_checks.h"
#include "server/routing/router.h"
#include "server/routing/rule_fields.h"
#include "server/util/sha256.h"

namespace olmoe::routing {
namespace {

// `owner[layer]` is the override that has the layer, so that no layer has two.
void ValidateLayers(const std::vector<uint32_t>& layers, size_t override_index,
                    std::string_view prefix, std::vector<std::optional<size_t>>* owner,
                    std::vector<FieldViolation>* violations) {
  const size_t num_layers = owner->size();
  if (layers.empty() || layers.size() > num_layers) {
    violations->push_back(
        {FieldPath(prefix, "layers"),
         absl::StrCat("must name 1..", num_layers, " layers, names ", layers.size())});
    return;
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string field = FieldPath(prefix, "layers", i);
    if (layers[i] >= num_layers) {
      violations->push_back(
          {field, absl::StrCat("must be 0..", num_layers - 1, ", is ", layers[i])});
    } else if ((*owner)[layers[i]].has_value()) {
      violations->push_back({field, absl::StrCat("layer ", layers[i], " is in layer_overrides[",
                                                 *(*owner)[layers[i]], "] already")});
    } else {
      (*owner)[layers[i]] = override_index;
    }
  }
}

// Those of a policy, or of an override.
template <class Ruled>
void ValidateRules(const Ruled& rules, const RouterShape& shape, std::string_view prefix,
                   std::vector<FieldViolation>* violations) {
  for (const auto& [rule, name] :
       {std::pair(&rules.apply, "apply"), std::pair(&rules.analyze, "analyze"),
        std::pair(&rules.decode, "decode")}) {
    if (rule->has_value()) {
      ValidateRule(**rule, shape.num_experts, FieldPath(prefix, name), violations);
    }
  }
}

void ValidateOverrides(const std::vector<LayerOverride>& overrides, const RouterShape& shape,
                       std::string_view prefix, std::vector<FieldViolation>* violations) {
  const size_t num_layers = static_cast<size_t>(shape.num_layers);
  if (overrides.size() > num_layers) {
    violations->push_back({FieldPath(prefix, "layer_overrides"),
                           absl::StrCat("must have at most one for each layer (", num_layers,
                                        "), has ", overrides.size())});
    return;
  }
  std::vector<std::optional<size_t>> owner(num_layers);
  for (size_t i = 0; i < overrides.size(); ++i) {
    const LayerOverride& override = overrides[i];
    const std::string path = FieldPath(prefix, "layer_overrides", i);
    ValidateLayers(override.layers, i, path, &owner, violations);
    if (!override.apply && !override.analyze && !override.decode) {
      violations->push_back({path, "must have a rule: apply, analyze or decode"});
    }
    ValidateRules(override, shape, path, violations);
  }
}

// A rule as written and where it was written.
struct RuleSource {
  const Rule* rule = nullptr;
  std::string path;
};

// What a policy says about one layer; analyze and decode may have no rule.
struct LayerSource {
  RuleSource apply, analyze, decode;
};

std::vector<LayerSource> ExpandLayers(const PolicySpec& spec, const Rule& native,
                                      const RouterShape& shape, std::string_view prefix) {
  LayerSource common;
  common.apply = {spec.apply ? &*spec.apply : &native, FieldPath(prefix, "apply")};
  if (spec.analyze) common.analyze = {&*spec.analyze, FieldPath(prefix, "analyze")};
  if (spec.decode) common.decode = {&*spec.decode, FieldPath(prefix, "decode")};
  std::vector<LayerSource> layers(static_cast<size_t>(shape.num_layers), common);
  for (size_t i = 0; i < spec.layer_overrides.size(); ++i) {
    const LayerOverride& override = spec.layer_overrides[i];
    const std::string path = FieldPath(prefix, "layer_overrides", i);
    for (const uint32_t layer : override.layers) {
      if (override.apply) layers[layer].apply = {&*override.apply, FieldPath(path, "apply")};
      if (override.analyze) {
        layers[layer].analyze = {&*override.analyze, FieldPath(path, "analyze")};
      }
      if (override.decode) layers[layer].decode = {&*override.decode, FieldPath(path, "decode")};
    }
  }
  return layers;
}

absl::Status MissingCalibration(const RuleSource& source, const std::string& id,
                                const std::string& what) {
  const std::string field =
      FieldPath(FieldPath(source.path, KindName(*source.rule)), "calibration_id");
  return WithPrecondition(
      absl::FailedPreconditionError(absl::StrCat(field, ": calibration \"", id, "\" ", what)),
      "CALIBRATION_MISSING", absl::StrCat("calibrations/", id));
}

struct CompiledRule {
  LayerRule rule;
  std::shared_ptr<const Calibration> calibration;  // null where the rule needs none
  std::string calibration_digest() const { return calibration ? calibration->digest() : ""; }
};

struct CompiledLayer {
  CompiledRule apply;
  std::optional<CompiledRule> analyze, decode;

  std::string ApplyText() const {
    return CanonicalApply(apply.rule.rule, apply.calibration_digest());
  }
  // That of late rows: equal where they run the same.
  std::string DecodeText() const {
    return decode ? CanonicalApply(decode->rule.rule, decode->calibration_digest()) : ApplyText();
  }
  std::string Text() const {
    std::string text = absl::StrCat("apply ", ApplyText());
    if (DecodeText() != ApplyText()) absl::StrAppend(&text, " decode ", DecodeText());
    if (analyze) {
      absl::StrAppend(&text, " analyze ",
                      CanonicalAnalyze(analyze->rule.rule, analyze->calibration_digest()));
    }
    return text;
  }
};

// Null where the policy names none.
absl::StatusOr<std::shared_ptr<const Router>> FindRouter(const PolicySpec& spec,
                                                         const RouterShape& shape,
                                                         const RouterSet* routers,
                                                         std::string_view prefix) {
  if (spec.router.empty()) return nullptr;
  std::shared_ptr<const Router> router = routers == nullptr ? nullptr : routers->Find(spec.router);
  if (router != nullptr && router->layers().rbegin()->first < shape.num_layers) return router;
  return WithPrecondition(
      absl::FailedPreconditionError(
          absl::StrCat(FieldPath(prefix, "router"), ": router \"", spec.router, "\" ",
                       router == nullptr ? "does not exist" : "has layers that the model has not")),
      "ROUTER_MISSING", absl::StrCat("routers/", spec.router));
}

absl::StatusOr<CompiledRule> Compile(const RuleSource& source, int layer, const RouterShape& shape,
                                     const CalibrationSet* calibrations) {
  const std::string* id = NeededCalibration(*source.rule);
  if (id == nullptr) return CompiledRule{MakeLayerRule(*source.rule, shape, nullptr), nullptr};
  std::shared_ptr<const Calibration> calibration =
      calibrations == nullptr ? nullptr : calibrations->Find(*id);
  if (calibration == nullptr) return MissingCalibration(source, *id, "does not exist");
  const CdfTable* table = calibration->table(layer);
  if (table == nullptr) {
    return MissingCalibration(source, *id, absl::StrCat("has no table for layer ", layer));
  }
  return CompiledRule{MakeLayerRule(*source.rule, shape, table), std::move(calibration)};
}

absl::StatusOr<CompiledLayer> CompileLayer(const LayerSource& source, int layer,
                                           const RouterShape& shape,
                                           const CalibrationSet* calibrations) {
  absl::StatusOr<CompiledRule> apply = Compile(source.apply, layer, shape, calibrations);
  if (!apply.ok()) return apply.status();
  CompiledLayer compiled{*std::move(apply), std::nullopt, std::nullopt};
  for (const auto& [from, to] : {std::pair(&source.analyze, &compiled.analyze),
                                 std::pair(&source.decode, &compiled.decode)}) {
    if (from->rule == nullptr) continue;
    absl::StatusOr<CompiledRule> rule = Compile(*from, layer, shape, calibrations);
    if (!rule.ok()) return rule.status();
    *to = *std::move(rule);
  }
  return compiled;
}

FixedExperts FixedBy(const Rule& rule) {
  FixedExperts fixed;
  for (const uint32_t id : rule.adjust.ban) fixed.banned.set(id);
  for (const uint32_t id : rule.adjust.force) fixed.forced.set(id);
  return fixed;
}

}  // namespace

void ValidatePolicy(const PolicySpec& spec, const RouterShape& shape, std::string_view prefix,
                    std::vector<FieldViolation>* violations) {
  CheckName(spec.policy_id, FieldPath(prefix, "policy_id"), violations);
  CheckText(spec.description, FieldPath(prefix, "description"), violations);
  if (!spec.router.empty()) CheckLongName(spec.router, FieldPath(prefix, "router"), violations);
  ValidateRules(spec, shape, prefix, violations);
  ValidateOverrides(spec.layer_overrides, shape, prefix, violations);
}

absl::StatusOr<std::shared_ptr<const RoutingPolicy>> RoutingPolicy::Create(
    PolicySpec spec, const RouterShape& shape, const NamedSets& named, std::string_view prefix) {
  std::vector<FieldViolation> violations;
  ValidatePolicy(spec, shape, prefix, &violations);
  if (!violations.empty()) return InvalidFields(violations);
  absl::StatusOr<std::shared_ptr<const Router>> router =
      FindRouter(spec, shape, named.routers, prefix);
  if (!router.ok()) return router.status();

  const Rule native{TopK{static_cast<uint32_t>(shape.default_k)}, WeightMode::kModelDefault};
  const std::string native_text = CanonicalApply(MakeLayerRule(native, shape, nullptr).rule, "");
  const std::vector<LayerSource> sources = ExpandLayers(spec, native, shape, prefix);
  std::shared_ptr<RoutingPolicy> policy(new RoutingPolicy);
  std::string text = absl::StrCat(CanonicalShape(shape), "\n");
  std::string prompt_text = text;
  bool noisy = false;
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    absl::StatusOr<CompiledLayer> compiled =
        CompileLayer(sources[static_cast<size_t>(layer)], layer, shape, named.calibrations);
    if (!compiled.ok()) return compiled.status();
    absl::StrAppend(&text, "layer ", layer, " ", compiled->Text(), "\n");
    absl::StrAppend(&prompt_text, "layer ", layer, " ", compiled->ApplyText(), "\n");
    noisy = noisy || compiled->apply.rule.rule.adjust.noise.has_value();
    const bool changed = compiled->ApplyText() != native_text ||
                         compiled->DecodeText() != native_text ||
                         (*router != nullptr && (*router)->has_layer(layer));
    if (changed) ++policy->num_changed_layers_;
    policy->analyzes_ = policy->analyzes_ || compiled->analyze.has_value();
    const auto keep = [&policy](CompiledRule from) {
      policy->calibrations_.push_back(std::move(from.calibration));
      return std::move(from.rule);
    };
    policy->apply_.push_back(keep(std::move(compiled->apply)));
    policy->analyze_.emplace_back();
    policy->decode_.emplace_back();
    if (compiled->analyze) policy->analyze_.back() = keep(*std::move(compiled->analyze));
    if (compiled->decode) policy->decode_.back() = keep(*std::move(compiled->decode));
  }
  if (*router != nullptr) {
    const std::string line = absl::StrCat("router ", (*router)->digest(), "\n");
    absl::StrAppend(&text, line);
    absl::StrAppend(&prompt_text, line);
  }
  policy->digest_ = Sha256Hex(text);
  if (!noisy) policy->prompt_digest_ = Sha256Hex(prompt_text);
  policy->router_ = *std::move(router);
  policy->spec_ = std::move(spec);
  policy->shape_ = shape;
  return std::shared_ptr<const RoutingPolicy>(std::move(policy));
}

std::shared_ptr<const RoutingPolicy> RoutingPolicy::Native(const RouterShape& shape) {
  PolicySpec spec;
  spec.policy_id = "native";
  absl::StatusOr<std::shared_ptr<const RoutingPolicy>> policy =
      Create(std::move(spec), shape, nullptr, "");
  CHECK(policy.ok()) << policy.status();
  return *std::move(policy);
}

FixedExperts RoutingPolicy::FixedApplied(int layer) const {
  const size_t i = static_cast<size_t>(layer);
  FixedExperts fixed = FixedBy(apply_[i].rule);
  if (decode_[i]) {
    const FixedExperts late = FixedBy(decode_[i]->rule);
    fixed.banned &= late.banned;
    fixed.forced &= late.forced;
  }
  return fixed;
}

FixedExperts RoutingPolicy::FixedAnalyzed(int layer) const {
  const std::optional<LayerRule>& analyze = analyze_[static_cast<size_t>(layer)];
  return analyze ? FixedBy(analyze->rule) : FixedExperts{};
}

const LayerRule& RoutingPolicy::RuleOf(const RowPlace& place) const {
  CHECK(place.layer >= 0 && place.layer < shape_.num_layers);
  const size_t layer = static_cast<size_t>(place.layer);
  return place.late && decode_[layer].has_value() ? *decode_[layer] : apply_[layer];
}

RouteError RoutingPolicy::Route(const RowPlace& place, std::span<const float> logits,
                                RowRouting* out) const {
  const LayerRule& rule = RuleOf(place);
  const size_t layer = static_cast<size_t>(place.layer);
  return RouteRow(logits, shape_, rule, analyze_[layer] ? &*analyze_[layer] : nullptr, place, out);
}

}  // namespace olmoe::routing
