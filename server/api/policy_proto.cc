#include "server/api/policy_proto.h"

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"

namespace olmoe::api {
namespace {

std::optional<uint32_t> Count(uint32_t wire) {  // 0 on the wire is unset
  return wire == 0 ? std::nullopt : std::optional<uint32_t>(wire);
}

routing::PValueKind ToPValueKind(v1::PValueKind kind, const std::string& field,
                                 RequestErrors* errors) {
  switch (kind) {
    case v1::P_VALUE_KIND_UNSPECIFIED:
    case v1::P_VALUE_KIND_LAYER_CDF: return routing::PValueKind::kLayerCdf;
    case v1::P_VALUE_KIND_ONE_MINUS_PROB: return routing::PValueKind::kOneMinusProb;
    default: break;
  }
  errors->Add(field, absl::StrCat("is not a PValueKind: ", static_cast<int>(kind)));
  return routing::PValueKind::kLayerCdf;
}

routing::WeightMode ToWeightMode(v1::WeightMode mode, const std::string& field,
                                 RequestErrors* errors) {
  switch (mode) {
    case v1::WEIGHT_MODE_UNSPECIFIED:
    case v1::WEIGHT_MODE_MODEL_DEFAULT: return routing::WeightMode::kModelDefault;
    case v1::WEIGHT_MODE_NATIVE: return routing::WeightMode::kNative;
    case v1::WEIGHT_MODE_SUM_TO_ONE: return routing::WeightMode::kSumToOne;
    case v1::WEIGHT_MODE_MATCH_TOP_K_MASS: return routing::WeightMode::kMatchTopKMass;
    default: break;
  }
  errors->Add(field, absl::StrCat("is not a WeightMode: ", static_cast<int>(mode)));
  return routing::WeightMode::kModelDefault;
}

routing::BenjaminiHochberg ToRule(const v1::BenjaminiHochberg& bh, const std::string& prefix,
                                  RequestErrors* errors) {
  routing::BenjaminiHochberg out;
  out.alpha = bh.alpha();
  out.bounds.min_k = Count(bh.min_k());
  out.bounds.max_k = Count(bh.max_k());
  out.p_values.kind = ToPValueKind(bh.p_value(), prefix + ".p_value", errors);
  out.p_values.calibration_id = bh.calibration_id();
  if (bh.has_temperature()) out.p_values.temperature = bh.temperature();
  return out;
}

routing::HigherCriticism ToRule(const v1::HigherCriticism& hc, const std::string& prefix,
                                RequestErrors* errors) {
  routing::HigherCriticism out;
  if (hc.beta() != 0) out.beta = hc.beta();  // NaN is kept, and refused
  out.bounds.min_k = Count(hc.min_k());
  out.bounds.max_k = Count(hc.max_k());
  out.p_values.kind = ToPValueKind(hc.p_value(), prefix + ".p_value", errors);
  out.p_values.calibration_id = hc.calibration_id();
  if (hc.has_temperature()) out.p_values.temperature = hc.temperature();
  return out;
}

routing::Rule ToRule(const v1::Rule& rule, const std::string& prefix, RequestErrors* errors) {
  routing::Rule out;
  switch (rule.kind_case()) {
    case v1::Rule::kTopK: out.kind = routing::TopK{rule.top_k().k()}; break;
    case v1::Rule::kTopP: {
      const v1::TopP& top_p = rule.top_p();
      out.kind = routing::TopP{top_p.p(), {Count(top_p.min_k()), Count(top_p.max_k())}};
      break;
    }
    case v1::Rule::kMinP: {
      const v1::MinP& min_p = rule.min_p();
      out.kind = routing::MinP{min_p.ratio(), {Count(min_p.min_k()), Count(min_p.max_k())}};
      break;
    }
    case v1::Rule::kBh: out.kind = ToRule(rule.bh(), prefix + ".bh", errors); break;
    case v1::Rule::kHc: out.kind = ToRule(rule.hc(), prefix + ".hc", errors); break;
    case v1::Rule::KIND_NOT_SET: break;  // monostate: refused by ValidateRule
  }
  out.weight_mode = ToWeightMode(rule.weight_mode(), prefix + ".weight_mode", errors);
  return out;
}

v1::PValueKind ToProto(routing::PValueKind kind) {
  return kind == routing::PValueKind::kLayerCdf ? v1::P_VALUE_KIND_LAYER_CDF
                                                : v1::P_VALUE_KIND_ONE_MINUS_PROB;
}

v1::WeightMode ToProto(routing::WeightMode mode) {
  switch (mode) {
    case routing::WeightMode::kModelDefault: return v1::WEIGHT_MODE_MODEL_DEFAULT;
    case routing::WeightMode::kNative: return v1::WEIGHT_MODE_NATIVE;
    case routing::WeightMode::kSumToOne: return v1::WEIGHT_MODE_SUM_TO_ONE;
    case routing::WeightMode::kMatchTopKMass: return v1::WEIGHT_MODE_MATCH_TOP_K_MASS;
  }
  return v1::WEIGHT_MODE_UNSPECIFIED;
}

// min_k and max_k, which all rules but TopK have.
template <class From, class To>
void CopyBounds(const From& from, To* to) {
  to->set_min_k(from.bounds.min_k.value_or(0));
  to->set_max_k(from.bounds.max_k.value_or(0));
}

template <class From, class To>
void CopyPValue(const From& from, To* to) {
  CopyBounds(from, to);
  to->set_p_value(ToProto(from.p_values.kind));
  to->set_calibration_id(from.p_values.calibration_id);
  to->set_temperature(from.p_values.temperature);
}

// Fills the rule's oneof.
struct RuleWriter {
  v1::Rule* out;
  void operator()(std::monostate) const {}
  void operator()(const routing::TopK& rule) const { out->mutable_top_k()->set_k(rule.k); }
  void operator()(const routing::TopP& rule) const {
    out->mutable_top_p()->set_p(rule.p);
    CopyBounds(rule, out->mutable_top_p());
  }
  void operator()(const routing::MinP& rule) const {
    out->mutable_min_p()->set_ratio(rule.ratio);
    CopyBounds(rule, out->mutable_min_p());
  }
  void operator()(const routing::BenjaminiHochberg& rule) const {
    out->mutable_bh()->set_alpha(rule.alpha);
    CopyPValue(rule, out->mutable_bh());
  }
  void operator()(const routing::HigherCriticism& rule) const {
    out->mutable_hc()->set_beta(rule.beta.value_or(0));
    CopyPValue(rule, out->mutable_hc());
  }
};

v1::Rule ToProto(const routing::Rule& rule) {
  v1::Rule out;
  std::visit(RuleWriter{&out}, rule.kind);
  out.set_weight_mode(ToProto(rule.weight_mode));
  return out;
}

}  // namespace

routing::PolicySpec ToPolicySpec(const v1::RoutingPolicy& policy, const std::string& prefix,
                                 RequestErrors* errors) {
  routing::PolicySpec spec;
  spec.policy_id = policy.policy_id();
  spec.description = policy.description();
  if (policy.has_apply()) spec.apply = ToRule(policy.apply(), prefix + ".apply", errors);
  if (policy.has_analyze()) spec.analyze = ToRule(policy.analyze(), prefix + ".analyze", errors);
  for (int i = 0; i < policy.layer_overrides_size(); ++i) {
    const v1::LayerOverride& from = policy.layer_overrides(i);
    const std::string name = absl::StrCat(prefix, ".layer_overrides[", i, "]");
    routing::LayerOverride& to = spec.layer_overrides.emplace_back();
    to.layers.assign(from.layers().begin(), from.layers().end());
    if (from.has_apply()) to.apply = ToRule(from.apply(), name + ".apply", errors);
    if (from.has_analyze()) to.analyze = ToRule(from.analyze(), name + ".analyze", errors);
  }
  return spec;
}

v1::RoutingPolicy ToProto(const routing::PolicySpec& spec) {
  v1::RoutingPolicy out;
  out.set_policy_id(spec.policy_id);
  out.set_description(spec.description);
  if (spec.apply) *out.mutable_apply() = ToProto(*spec.apply);
  if (spec.analyze) *out.mutable_analyze() = ToProto(*spec.analyze);
  for (const routing::LayerOverride& from : spec.layer_overrides) {
    v1::LayerOverride* to = out.add_layer_overrides();
    to->mutable_layers()->Add(from.layers.begin(), from.layers.end());
    if (from.apply) *to->mutable_apply() = ToProto(*from.apply);
    if (from.analyze) *to->mutable_analyze() = ToProto(*from.analyze);
  }
  return out;
}

}  // namespace olmoe::api
