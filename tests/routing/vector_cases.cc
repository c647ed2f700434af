#include "tests/routing/vector_cases.h"

#include <sstream>

#include "glog/logging.h"
#include "tests/support/test_data.h"

namespace olmoe::routing {
namespace {

using nlohmann::json;

WeightMode WeightModeOf(const json& policy) {
  const std::string mode = policy.at("weight_mode");
  if (mode == "NATIVE") return WeightMode::kNative;
  if (mode == "SUM_TO_ONE") return WeightMode::kSumToOne;
  CHECK_EQ(mode, "MATCH_TOP_K_MASS");
  return WeightMode::kMatchTopKMass;
}

template <typename Kind>
Kind WithBounds(Kind kind, const json& policy) {
  kind.bounds.min_k = policy.at("min_k").get<uint32_t>();
  kind.bounds.max_k = policy.at("max_k").get<uint32_t>();
  return kind;
}

template <typename Kind>
Kind WithPValue(Kind kind, const json& policy, const std::string& calibration) {
  const std::string p_value = policy.at("pvalue");
  CHECK(p_value == "LAYER_CDF" || p_value == "ONE_MINUS_PROB");
  kind.p_values.kind = p_value == "LAYER_CDF" ? PValueKind::kLayerCdf : PValueKind::kOneMinusProb;
  kind.p_values.calibration_id = calibration;
  kind.p_values.temperature = NumberOf(policy.at("temperature"));
  return WithBounds(kind, policy);
}

Rule RuleOf(const json& policy, const std::string& calibration) {
  const std::string kind = policy.at("kind");
  Rule rule;
  rule.weight_mode = WeightModeOf(policy);
  if (kind == "TOP_K") {
    rule.kind = TopK{policy.at("k").get<uint32_t>()};
  } else if (kind == "TOP_P") {
    TopP top_p;
    top_p.p = NumberOf(policy.at("p"));
    rule.kind = WithBounds(top_p, policy);
  } else if (kind == "MIN_P") {
    MinP min_p;
    min_p.ratio = NumberOf(policy.at("ratio"));
    rule.kind = WithBounds(min_p, policy);
  } else if (kind == "BENJAMINI_HOCHBERG") {
    BenjaminiHochberg bh;
    bh.alpha = NumberOf(policy.at("alpha"));
    rule.kind = WithPValue(bh, policy, calibration);
  } else {
    CHECK_EQ(kind, "HIGHER_CRITICISM");
    HigherCriticism hc;
    if (policy.at("beta") != "auto") hc.beta = NumberOf(policy.at("beta"));
    rule.kind = WithPValue(hc, policy, calibration);
  }
  return rule;
}

VectorCase CaseOf(const json& line, const Tables& tables) {
  VectorCase result;
  result.name = "id " + line.at("id").dump() + " (" + line.at("group").get<std::string>() + ")";
  result.shape = {1, line.at("E").get<int>(), line.at("k0").get<int>(), false};
  result.logits = LogitsOf(line.at("logits"));
  // Every policy needs a name for its table; a case without one never looks it up.
  const std::string calibration = line.value("calibration", "none");
  result.policy = RuleOf(line.at("policy"), calibration);
  if (line.contains("base")) result.base = RuleOf(line.at("base"), calibration);
  const auto table = tables.find({calibration, line.value("layer", -1)});
  if (table != tables.end()) result.table = &table->second;
  result.expected = line.at("expected");
  return result;
}

}  // namespace

std::vector<json> ReadJsonLines(const std::string& path) {
  std::istringstream content(testing::ReadFileOrDie(path));
  std::vector<json> lines;
  for (std::string line; std::getline(content, line);) lines.push_back(json::parse(line));
  return lines;
}

double NumberOf(const json& value) {
  return value.is_string() ? std::stod(value.get<std::string>()) : value.get<double>();
}

std::vector<float> LogitsOf(const json& values) {
  std::vector<float> logits;
  for (const json& value : values) logits.push_back(static_cast<float>(NumberOf(value)));
  return logits;
}

Tables ReadTables(const std::string& path) {
  Tables tables;
  for (const json& line : ReadJsonLines(path)) {
    const double x0 = line.at("x0"), dx = line.at("dx");
    const std::vector<double> cdf = line.at("cdf");
    std::vector<FieldViolation> violations;
    CheckCdf(x0, dx, cdf, "", &violations);
    CHECK(violations.empty()) << violations[0].field << ": " << violations[0].description;
    tables[{line.at("calibration"), line.at("layer")}] = CdfTable::FromCdf(x0, dx, cdf);
  }
  return tables;
}

std::vector<VectorCase> ReadVectorCases(const std::string& path, const Tables& tables) {
  std::vector<VectorCase> cases;
  for (const json& line : ReadJsonLines(path)) cases.push_back(CaseOf(line, tables));
  return cases;
}

}  // namespace olmoe::routing
