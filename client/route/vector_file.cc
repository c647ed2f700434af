#include "client/route/vector_file.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/notation/json_fields.h"
#include "client/route/routed_row.h"

namespace olmoe::client::route {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

routing::WeightMode ReadWeightMode(notation::JsonFields* fields) {
  const std::string mode = fields->Text("weight_mode");
  if (mode == "SUM_TO_ONE") return routing::WeightMode::kSumToOne;
  if (mode == "MATCH_TOP_K_MASS") return routing::WeightMode::kMatchTopKMass;
  if (mode != "NATIVE") fields->Fail("weight_mode", absl::StrCat("is not known: ", mode));
  return routing::WeightMode::kNative;
}

template <typename Kind>
Kind WithBounds(Kind kind, notation::JsonFields* fields) {
  kind.bounds.min_k = fields->Count("min_k");
  kind.bounds.max_k = fields->Count("max_k");
  return kind;
}

template <typename Kind>
Kind WithPValue(Kind kind, const std::string& calibration, notation::JsonFields* fields) {
  const std::string p_value = fields->Text("pvalue");
  if (p_value != "LAYER_CDF" && p_value != "ONE_MINUS_PROB") {
    fields->Fail("pvalue", absl::StrCat("is not known: ", p_value));
  }
  kind.p_values.kind = p_value == "LAYER_CDF" ? routing::PValueKind::kLayerCdf
                                              : routing::PValueKind::kOneMinusProb;
  kind.p_values.calibration_id = calibration;
  kind.p_values.temperature = fields->Number("temperature");
  return WithBounds(std::move(kind), fields);
}

routing::HigherCriticism ReadHigherCriticism(const std::string& calibration,
                                             notation::JsonFields* fields) {
  routing::HigherCriticism hc;
  if (fields->Object("beta") != "auto") hc.beta = fields->Number("beta");
  return WithPValue(std::move(hc), calibration, fields);
}

routing::Rule ReadRule(const std::string& calibration, notation::JsonFields* fields) {
  routing::Rule rule;
  rule.weight_mode = ReadWeightMode(fields);
  const std::string kind = fields->Text("kind");
  if (kind == "TOP_K") {
    rule.kind = routing::TopK{fields->Count("k")};
  } else if (kind == "TOP_P") {
    rule.kind = WithBounds(routing::TopP{fields->Number("p")}, fields);
  } else if (kind == "MIN_P") {
    rule.kind = WithBounds(routing::MinP{fields->Number("ratio")}, fields);
  } else if (kind == "BENJAMINI_HOCHBERG") {
    routing::BenjaminiHochberg bh;
    bh.alpha = fields->Number("alpha");
    rule.kind = WithPValue(std::move(bh), calibration, fields);
  } else if (kind == "HIGHER_CRITICISM") {
    rule.kind = ReadHigherCriticism(calibration, fields);
  } else {
    fields->Fail("kind", absl::StrCat("is not known: ", kind));
  }
  return rule;
}

struct Case {
  routing::RouterShape shape;
  int layer = -1;           // of the table
  std::string calibration;  // "none" where the case names no table
  std::vector<float> logits;
  routing::Rule policy;
  std::optional<routing::Rule> base;  // it runs, and `policy` is only analyzed
};

routing::Rule ReadRuleOf(const std::string& name, const std::string& calibration,
                         notation::JsonFields* line) {
  notation::JsonFields fields(line->Object(name), name);
  routing::Rule rule = ReadRule(calibration, &fields);
  if (!fields.error().empty()) line->Fail("", fields.error());
  return rule;
}

Case ReadCase(notation::JsonFields* line) {
  Case result;
  result.shape.num_layers = 1;
  result.shape.num_experts = line->Integer("E", 1, routing::kMaxExperts);
  result.shape.default_k = line->Integer("k0", 1, result.shape.num_experts);
  if (line->Has("layer")) result.layer = line->Integer("layer", 0, 1023);
  result.calibration = line->Has("calibration") ? line->Text("calibration") : "none";
  result.logits = ToLogits(line->Numbers("logits"));
  if (result.logits.size() != static_cast<size_t>(result.shape.num_experts)) {
    line->Fail("logits", absl::StrCat("must have E = ", result.shape.num_experts,
                                      " values, has ", result.logits.size()));
  }
  result.policy = ReadRuleOf("policy", result.calibration, line);
  if (line->Has("base")) result.base = ReadRuleOf("base", result.calibration, line);
  return result;
}

// The offending fields of a rule, sorted, by their last name: "bh.alpha" is "alpha".
std::vector<std::string> InvalidFields(const routing::Rule& rule, int num_experts) {
  std::vector<FieldViolation> violations;
  routing::ValidateRule(rule, num_experts, "", &violations);
  std::vector<std::string> names;
  for (const FieldViolation& violation : violations) {
    names.push_back(violation.field.substr(violation.field.rfind('.') + 1));
  }
  std::sort(names.begin(), names.end());
  return names;
}

ordered_json Decide(const Case& c, const CdfTables& tables) {
  for (const routing::Rule* rule : {&c.policy, c.base ? &*c.base : nullptr}) {
    if (rule == nullptr) continue;
    const std::vector<std::string> invalid = InvalidFields(*rule, c.shape.num_experts);
    if (!invalid.empty()) return {{"invalid", invalid}};
  }
  const routing::CdfTable* table = FindTable(tables, c.calibration, c.layer);
  RowRules rules{.shape = c.shape,
                 .apply = routing::MakeLayerRule(c.base.value_or(c.policy), c.shape, table),
                 .analyze = {}};
  if (c.base) rules.analyze = routing::MakeLayerRule(c.policy, c.shape, table);
  return RouteLogits(c.logits, rules).json;
}

}  // namespace

absl::StatusOr<ordered_json> DecideCase(std::string_view text, const CdfTables& tables) {
  const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::InvalidArgumentError("is not JSON");
  notation::JsonFields line(value, "");
  const Case c = ReadCase(&line);
  if (!line.error().empty()) return absl::InvalidArgumentError(line.error());
  return Decide(c, tables);
}

}  // namespace olmoe::client::route
