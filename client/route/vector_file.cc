#include "client/route/vector_file.h"

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/notation/json_fields.h"
#include "client/route/routed_row.h"
#include "server/routing/rule_fields.h"

namespace olmoe::client::route {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Vectors call some things otherwise.
std::string KindOf(const std::string& name) {
  if (name == "BENJAMINI_HOCHBERG") return "bh";
  if (name == "HIGHER_CRITICISM") return "hc";
  return absl::AsciiStrToLower(name);
}
std::string VectorName(const std::string& field) { return field == "p_value" ? "pvalue" : field; }

// Reads the parameters of a rule. There is one calibration for all rules of a line.
class ParameterReader {
 public:
  ParameterReader(const std::string& calibration, notation::JsonFields* fields)
      : calibration_(calibration), fields_(*fields) {}

  template <class Field, class Value>
  void operator()(const Field& field, Value& value) const {
    Read(VectorName(field.name), &value);
  }

 private:
  void Read(const std::string& name, uint32_t* value) const { *value = fields_.Count(name); }
  void Read(const std::string& name, double* value) const { *value = fields_.Number(name); }
  void Read(const std::string& name, std::string* value) const {
    *value = name == "calibration_id" ? calibration_ : fields_.Text(name);
  }
  template <class Value>
  void Read(const std::string& name, std::optional<Value>* value) const {
    if (fields_.Object(name) != "auto") Read(name, &value->emplace());
  }
  template <class Enum>
    requires std::is_enum_v<Enum>
  void Read(const std::string& name, Enum* value) const {
    const std::string text = fields_.Text(name);
    const auto& names = routing::ValueNames<Enum>::kNames;
    const auto found = std::find(names.begin(), names.end(), absl::AsciiStrToLower(text));
    if (found == names.end()) {
      fields_.Fail(name, absl::StrCat("is not known: ", text));
    } else {
      *value = static_cast<Enum>(found - names.begin());
    }
  }

  const std::string& calibration_;
  notation::JsonFields& fields_;
};

routing::Rule ReadRule(const std::string& calibration, notation::JsonFields* fields) {
  const ParameterReader reader(calibration, fields);
  routing::Rule rule;
  routing::ForEachField(rule, reader);
  const std::string kind = fields->Text("kind");
  rule.kind = routing::MakeKind(KindOf(kind));
  if (std::holds_alternative<std::monostate>(rule.kind)) {
    fields->Fail("kind", absl::StrCat("is not known: ", kind));
  }
  std::visit([&reader](auto& parameters) { routing::ForEachField(parameters, reader); }, rule.kind);
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
    line->Fail("logits", absl::StrCat("must have E = ", result.shape.num_experts, " values, has ",
                                      result.logits.size()));
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
