#include "client/route/vector_file.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/notation/json_numbers.h"
#include "client/route/routed_row.h"
#include "server/routing/replay.h"
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

// The counts or the ids of a trace. What a byte cannot hold becomes the largest, which is no count
// and the id of no expert.
std::vector<uint8_t> ReadBytes(const JsonCursor& array) {
  static constexpr uint32_t kMost = std::numeric_limits<uint8_t>::max();
  std::vector<uint8_t> bytes;
  array.ForEach([&bytes](const JsonCursor& value) {
    const uint32_t number = value.Number() < 0 ? kMost : ReadCount(value);
    bytes.push_back(static_cast<uint8_t>(std::min(number, kMost)));
  });
  return bytes;
}

// Whole numbers; a negative one becomes the largest, which is the id of no expert.
std::vector<uint32_t> ReadCounts(const JsonCursor& array) {
  constexpr uint32_t kMost = std::numeric_limits<uint32_t>::max();
  std::vector<uint32_t> counts;
  array.ForEach([&counts](const JsonCursor& value) {
    counts.push_back(value.Number() < 0 ? kMost : ReadCount(value));
  });
  return counts;
}

// Reads the parameters of a rule, or of a group of them. There is one calibration for all rules
// of a line.
class ParameterReader {
 public:
  // `may_miss`: any of them.
  ParameterReader(const std::string& calibration, bool may_miss, const JsonCursor& object)
      : calibration_(calibration), may_miss_(may_miss), object_(object) {}

  template <class Field, class Value>
  void operator()(const Field& field, Value& value) const {
    const std::string name = VectorName(field.name);
    const JsonCursor read = object_[name];
    if (name == "calibration_id") {
      if constexpr (std::is_same_v<Value, std::string>) {
        if (!object_["pvalue"].IsAbsent()) value = calibration_;
      }
    } else if (!may_miss_ || !read.IsAbsent()) {
      Read(read, &value);
    }
  }

 private:
  void Read(const JsonCursor& field, uint32_t* value) const { *value = ReadCount(field); }
  void Read(const JsonCursor& field, double* value) const { *value = notation::ReadNumber(field); }
  void Read(const JsonCursor& field, std::string* value) const { *value = field.String(); }
  void Read(const JsonCursor& field, std::vector<uint32_t>* value) const {
    *value = ReadCounts(field);
  }
  void Read(const JsonCursor& field, std::vector<float>* value) const {
    *value = ToLogits(notation::ReadNumbers(field));
  }
  template <class Value>
  void Read(const JsonCursor& field, std::optional<Value>* value) const {
    const bool is_auto = field.IsString() && field.String() == "auto";
    if (!field.IsAbsent() && !is_auto) Read(field, &value->emplace());
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
  const bool may_miss_;
  const JsonCursor object_;
};

template <class Owner>
void ReadGroups(Owner& owner, const JsonCursor& object) {
  routing::ForEachGroup(owner, [&object](const auto& group, auto& value) {
    const JsonCursor inner = object[group.name];
    if (inner.IsAbsent()) return;
    auto& present = routing::MakePresent(value);
    routing::ForEachField(present, ParameterReader("", /*may_miss=*/true, inner));
    ReadGroups(present, inner);
  });
}

routing::Rule ReadRule(const JsonCursor& object, const std::string& calibration) {
  const ParameterReader own(calibration, /*may_miss=*/false, object);
  const ParameterReader shared(calibration, /*may_miss=*/true, object);
  routing::Rule rule;
  routing::ForEachField(rule, shared);
  ReadGroups(rule, object);
  rule.kind = routing::MakeKind(KindOf(object["kind"].String()));
  if (std::holds_alternative<std::monostate>(rule.kind)) {
    object["kind"].Fail(absl::StrCat("is not known: ", object["kind"].Shown()));
  }
  std::visit(
      [&](auto& kind) {
        routing::ForEachEntry(kind, own, [&](auto& part) { routing::ForEachField(part, shared); });
      },
      rule.kind);
  return rule;
}

struct Case {
  routing::RouterShape shape;
  routing::RowPlace place;
  std::string calibration;  // "none" where the case names no table
  std::vector<float> logits;
  routing::Rule policy;
  std::optional<routing::Rule> base;    // it runs, and `policy` is only analyzed
  std::optional<routing::Rule> decode;  // runs late rows
  std::optional<routing::Replay> replay;  // the rules are those of rows that it does not cover

  const routing::Rule& Runs() const {
    return base ? *base : place.late && decode ? *decode : policy;
  }
};

routing::Replay ReadReplay(const JsonCursor& object) {
  const JsonCursor trace = object["trace"];
  routing::Replay replay;
  replay.first_position = trace["first_position"].Unsigned();
  replay.num_positions = trace["num_positions"].Unsigned();
  replay.num_layers = trace["num_layers"].Unsigned();
  replay.counts = ReadBytes(trace["counts"]);
  replay.experts = ReadBytes(trace["experts"]);
  if (const JsonCursor weights = trace["weights"]; !weights.IsAbsent()) {
    replay.weights = ToLogits(notation::ReadNumbers(weights));
  }
  const JsonCursor mode = object["weights"];
  const std::string name = mode.IsAbsent() ? "LIVE" : mode.String();
  if (name == "RECORDED") replay.mode = routing::ReplayWeights::kRecorded;
  if (name != "RECORDED" && name != "LIVE") mode.Fail(absl::StrCat("is not known: ", name));
  return replay;
}

void ReadPlace(const JsonCursor& line, Case* result) {
  routing::RowPlace& place = result->place;
  if (const JsonCursor layer = line["layer"]; !layer.IsAbsent()) {
    place.layer = static_cast<int>(layer.Integer(0, 1023));
  }
  result->shape.num_layers = place.layer + 1;
  if (const JsonCursor layers = line["layers"]; !layers.IsAbsent()) {
    result->shape.num_layers = static_cast<int>(layers.Integer(place.layer + 1, 1024));
  }
  const auto unsigned_or_zero = [&line](std::string_view name) {
    const JsonCursor field = line[name];
    return field.IsAbsent() ? 0 : field.Unsigned();
  };
  place.position = unsigned_or_zero("position");
  place.routing_seed = unsigned_or_zero("routing_seed");
  const JsonCursor prompt_tokens = line["prompt_tokens"];
  place.late = !prompt_tokens.IsAbsent() && place.position >= prompt_tokens.Unsigned();
}

Case ReadCase(const JsonCursor& line) {
  Case result;
  result.shape.num_experts = static_cast<int>(line["E"].Integer(1, routing::kMaxExperts));
  result.shape.default_k = static_cast<int>(line["k0"].Integer(1, result.shape.num_experts));
  ReadPlace(line, &result);
  const JsonCursor calibration = line["calibration"];
  result.calibration = calibration.IsAbsent() ? "none" : calibration.String();
  result.logits = ToLogits(notation::ReadNumbers(line["logits"]));
  if (result.logits.size() != static_cast<size_t>(result.shape.num_experts)) {
    line["logits"].Fail(absl::StrCat("must have E = ", result.shape.num_experts, " values, has ",
                                     result.logits.size()));
  }
  const auto rule_of = [&](const JsonCursor& field) { return ReadRule(field, result.calibration); };
  result.policy = rule_of(line["policy"]);
  if (const JsonCursor base = line["base"]; !base.IsAbsent()) result.base = rule_of(base);
  if (const JsonCursor decode = line["decode"]; !decode.IsAbsent()) result.decode = rule_of(decode);
  if (const JsonCursor replay = line["replay"]; !replay.IsAbsent()) {
    result.replay = ReadReplay(replay);
  }
  return result;
}

// The offending fields, sorted: those of a rule by their path below it without the kind ("alpha",
// "adjust.ban"), those of the rule of late rows below "decode.", those of a replay by their path.
std::set<std::string> InvalidFields(const Case& c) {
  std::set<std::string> names;
  const auto add = [&](const routing::Rule& rule, const char* before) {
    std::vector<FieldViolation> violations;
    routing::ValidateRule(rule, c.shape.num_experts, "", &violations);
    for (const FieldViolation& violation : violations) {
      const bool of_kind = !absl::StartsWith(violation.field, "adjust.");
      names.insert(before + violation.field.substr(of_kind ? violation.field.rfind('.') + 1 : 0));
    }
  };
  add(c.policy, "");
  if (c.base) add(*c.base, "");
  if (c.decode) add(*c.decode, "decode.");
  std::vector<FieldViolation> violations;
  if (c.replay) routing::ValidateReplay(*c.replay, c.shape, "replay", &violations);
  for (const FieldViolation& violation : violations) names.insert(violation.field);
  return names;
}

ordered_json Decide(const Case& c, const CdfTables& tables) {
  const std::set<std::string> invalid = InvalidFields(c);
  if (!invalid.empty()) return {{"invalid", invalid}};
  const routing::CdfTable* table = FindTable(tables, c.calibration, c.place.layer);
  RowRules rules{.shape = c.shape,
                 .apply = routing::MakeLayerRule(c.Runs(), c.shape, table),
                 .analyze = {},
                 .decode = {}};
  if (c.base) rules.analyze = routing::MakeLayerRule(c.policy, c.shape, table);
  if (!c.replay) return RouteLogits(c.logits, rules, c.place).json;
  const routing::RecordedRouting replay(*c.replay);
  const auto recorded = replay.At(c.place);
  if (!recorded) return RouteLogits(c.logits, rules, c.place).json;
  routing::RowRouting decision;
  const routing::RouteError error =
      routing::ReplayRow(c.logits, c.shape, rules.apply.rule.weight_mode, *recorded, &decision);
  return error == routing::RouteError::kNone ? RecordedJson(decision) : ErrorJson(error);
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
