// Every rule against the vectors of an independent oracle that decides in rational
// arithmetic.
#include <algorithm>
#include <array>
#include <cmath>

#include "gtest/gtest.h"
#include "server/routing/count.h"
#include "server/routing/logit_row.h"
#include "server/routing/rule_fields.h"
#include "tests/routing/vector_cases.h"
#include "tests/support/test_data.h"

namespace olmoe::routing {
namespace {

using nlohmann::json;

// Names of the offending fields without their path ("bh.alpha" -> "alpha"), sorted.
std::vector<std::string> InvalidFieldsOf(const Rule& rule, int num_experts) {
  std::vector<FieldViolation> violations;
  ValidateRule(rule, num_experts, "", &violations);
  std::vector<std::string> fields;
  for (const FieldViolation& violation : violations) {
    fields.push_back(violation.field.substr(violation.field.rfind('.') + 1));
  }
  std::sort(fields.begin(), fields.end());
  return fields;
}

void ExpectDecision(const Decision& decision, std::span<const uint8_t> experts,
                    const json& expected) {
  const std::vector<uint8_t> prefix = expected.at("order_prefix");
  ASSERT_EQ(decision.k, expected.at("k").get<int>());
  ASSERT_EQ(decision.k, prefix.size());
  EXPECT_TRUE(std::equal(prefix.begin(), prefix.end(), experts.begin()));
  EXPECT_EQ(decision.min_hit, expected.at("min_hit").get<bool>());
  EXPECT_EQ(decision.max_hit, expected.at("max_hit").get<bool>());
}

// What Decision does not show: the count before the bounds, and the p-values.
void ExpectRawDecision(const LayerRule& rule, LogitRow* row, const json& expected) {
  EXPECT_EQ(RawCount(rule, row), expected.at("k_raw").get<int>());
  if (!expected.contains("p_first")) return;
  const PValueSource* p_values = FindPart<PValueSource>(rule.rule);
  ASSERT_NE(p_values, nullptr);
  std::array<double, kMaxExperts> p;
  PValues(*p_values, rule.cdf, row, p);
  const std::vector<double> first = expected.at("p_first");
  const auto order = row->Order(static_cast<int>(first.size()));
  for (size_t i = 0; i < first.size(); ++i) {
    const double tolerance =
        p_values->kind == PValueKind::kLayerCdf ? 1e-8 * first[i] + 1e-15 : 1e-5;
    EXPECT_NEAR(p[order[i]], first[i], tolerance) << "p_(" << i + 1 << ")";
  }
}

void ExpectWeights(const RowRouting& routing, const json& expected) {
  const std::vector<double> weights = expected.at("weights");
  ASSERT_EQ(routing.applied.k, weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(routing.weights[i], weights[i], 2e-5 * weights[i] + 1e-37) << "weight " << i;
  }
}

void ExpectRouting(const VectorCase& c, const LayerRule& apply, const LayerRule* analyze,
                   const RowRouting& routing) {
  LogitRow row(c.logits);
  ExpectDecision(routing.applied, routing.experts, c.expected);
  ExpectRawDecision(apply, &row, c.expected);
  ExpectWeights(routing, c.expected);
  ASSERT_EQ(routing.analyzed.has_value(), analyze != nullptr);
  if (analyze == nullptr) return;
  ExpectDecision(*routing.analyzed, routing.analyzed_experts, c.expected.at("candidate"));
  ExpectRawDecision(*analyze, &row, c.expected.at("candidate"));
  const auto [low, high] = std::minmax(routing.applied.k, routing.analyzed->k);
  EXPECT_EQ(low, c.expected.at("intersection").get<int>());
  EXPECT_EQ(high, c.expected.at("union").get<int>());
}

void ExpectError(RouteError error, const std::string& code) {
  ASSERT_TRUE(code == "NON_FINITE_LOGIT" || code == "NO_TABLE") << code;
  EXPECT_EQ(error, code == "NO_TABLE" ? RouteError::kNoTable : RouteError::kNonFiniteLogit);
}

// Precedence: an invalid policy, then a row that is not finite, then a missing table.
void RunCase(const VectorCase& c) {
  SCOPED_TRACE(c.name);
  const std::vector<std::string> invalid = InvalidFieldsOf(c.policy, c.shape.num_experts);
  EXPECT_EQ(invalid, c.expected.value("invalid", std::vector<std::string>{}));
  if (!invalid.empty() || c.expected.contains("invalid")) return;

  const LayerRule policy = MakeLayerRule(c.policy, c.shape, c.table);
  const LayerRule base = MakeLayerRule(c.base.value_or(Rule{}), c.shape, c.table);
  const LayerRule& apply = c.base ? base : policy;
  const LayerRule* analyze = c.base ? &policy : nullptr;
  RowRouting routing;
  const RouteError error = RouteRow(c.logits, c.shape, apply, analyze, {}, &routing);
  if (c.expected.contains("error")) return ExpectError(error, c.expected.at("error"));
  ASSERT_EQ(error, RouteError::kNone);
  ExpectRouting(c, apply, analyze, routing);
}

// Returns the number of cases.
size_t RunCases(const std::string& folder) {
  const Tables tables = ReadTables(folder + "/tables.jsonl");
  const std::vector<VectorCase> cases = ReadVectorCases(folder + "/vectors.jsonl", tables);
  for (const VectorCase& c : cases) RunCase(c);
  return cases.size();
}

TEST(VectorsTest, RulesAgreeWithTheOracle) {
  EXPECT_EQ(RunCases(testing::SourcePath("tests/data/routing")), 426u);
}

}  // namespace
}  // namespace olmoe::routing
