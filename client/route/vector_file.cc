#include "client/route/vector_file.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/notation/json_numbers.h"
#include "client/route/routed_row.h"
#include "server/routing/rule_fields.h"

namespace olmoe::client::route {
namespace {

using nlohmann::ordered_json;

// Vectors call some things otherwise.
std::string KindOf(const std::string& name) {
  if (name == "BENJAMINI_HOCHBERG") return "bh";
  if (name == "HIGHER_CRITICISM") return "hc";
  return absl::AsciiStrToLower(name);
}
std::string VectorName(const std::string& field) { return field == "p_value" ? "pvalue" : field; }

// A whole number. What uint32 cannot hold becomes its nearest bound, which the checks of a rule
// refuse.
uint32_t ReadCount(const JsonCursor& value) {
  constexpr double kMost = std::numeric_limits<uint32_t>::max();
  const double number = value.Number();
  if (number != std::floor(number)) value.Fail("must be a whole number");
  return static_cast<uint32_t>(std::clamp(number, 0.0, kMost));
}

// Reads the parameters of a rule. There is one calibration for all rules of a line.
class ParameterReader {
 public:
  ParameterReader(const std::string& calibration, const JsonCursor& rule)
      : calibration_(calibration), rule_(rule) {}

  template <class Field, class Value>
  void operator()(const Field& field, Value& value) const {
    const std::string name = VectorName(field.name);
    Read(rule_[name], &value);
  }

 private:
  void Read(const JsonCursor& field, uint32_t* value) const { *value = ReadCount(field); }
  void Read(const JsonCursor& field, double* value) const { *value = notation::ReadNumber(field); }
  // The only text is the calibration's name.
  void Read(const JsonCursor&, std::string* value) const { *value = calibration_; }
  template <class Value>
  void Read(const JsonCursor& field, std::optional<Value>* value) const {
    if (!field.IsString() || field.String() != "auto") Read(field, &value->emplace());
  }
  template <class Enum>
    requires std::is_enum_v<Enum>
  void Read(const JsonCursor& field, Enum* value) const {
    const auto& names = routing::ValueNames<Enum>::kNames;
    const auto found = std::find(names.begin(), names.end(), absl::AsciiStrToLower(field.String()));
    if (found == names.end()) return field.Fail(absl::StrCat("is not known: ", field.Shown()));
    *value = static_cast<Enum>(found - names.begin());
  }

  const std::string& calibration_;
  const JsonCursor rule_;
};

routing::Rule ReadRule(const JsonCursor& value, const std::string& calibration) {
  const ParameterReader reader(calibration, value);
  routing::Rule rule;
  routing::ForEachField(rule, reader);
  rule.kind = routing::MakeKind(KindOf(value["kind"].String()));
  if (std::holds_alternative<std::monostate>(rule.kind)) {
    value["kind"].Fail(absl::StrCat("is not known: ", value["kind"].Shown()));
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

Case ReadCase(const JsonCursor& line) {
  Case result;
  result.shape.num_layers = 1;
  result.shape.num_experts = static_cast<int>(line["E"].Integer(1, routing::kMaxExperts));
  result.shape.default_k = static_cast<int>(line["k0"].Integer(1, result.shape.num_experts));
  if (const JsonCursor layer = line["layer"]; !layer.IsAbsent()) {
    result.layer = static_cast<int>(layer.Integer(0, 1023));
  }
  const JsonCursor calibration = line["calibration"];
  result.calibration = calibration.IsAbsent() ? "none" : calibration.String();
  result.logits = ToLogits(notation::ReadNumbers(line["logits"]));
  if (result.logits.size() != static_cast<size_t>(result.shape.num_experts)) {
    line["logits"].Fail(absl::StrCat("must have E = ", result.shape.num_experts, " values, has ",
                                     result.logits.size()));
  }
  result.policy = ReadRule(line["policy"], result.calibration);
  const JsonCursor base = line["base"];
  if (!base.IsAbsent()) result.base = ReadRule(base, result.calibration);
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
  Case c;
  const absl::Status status =
      ReadJson(text, notation::kJsonLimits, [&c](const JsonCursor& line) { c = ReadCase(line); });
  if (!status.ok()) return status;
  return Decide(c, tables);
}

}  // namespace olmoe::client::route
