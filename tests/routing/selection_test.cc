// Which experts run: expressions, noise and adjustments. The 559 cases of tests/data/selection go
// through the real `olmoectl route` (tests/client/route/vectors_test.cc).
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/expression.h"
#include "server/routing/noise.h"
#include "server/routing/route.h"
#include "server/util/philox.h"
#include "tests/routing/vector_cases.h"
#include "tests/support/test_data.h"

namespace olmoe::routing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<json> SelectionLines(const std::string& file) {
  return ReadJsonLines(testing::SourcePath("tests/data/selection/" + file));
}

// By the names of the grammar.
void SetVariable(const std::string& name, double value, ExpressionVariables* variables) {
  ExpressionVariables& v = *variables;
  const std::map<std::string, double*> members = {{"z", &v.z},           {"s", &v.s},
                                                  {"p", &v.p},           {"p1", &v.p1},
                                                  {"p2", &v.p2},         {"p3", &v.p3},
                                                  {"p4", &v.p4},         {"p5", &v.p5},
                                                  {"p6", &v.p6},         {"p7", &v.p7},
                                                  {"p8", &v.p8},         {"rank", &v.rank},
                                                  {"before", &v.before}, {"entropy", &v.entropy},
                                                  {"expert", &v.expert}, {"E", &v.experts},
                                                  {"k0", &v.k0},         {"layer", &v.layer},
                                                  {"layers", &v.layers}, {"position", &v.position},
                                                  {"decode", &v.decode}, {"pvalue", &v.pvalue}};
  *members.at(name) = value;
}

double ParsedNumber(const json& value) {
  if (!value.is_string()) return value.get<double>();
  return value == "NaN" ? std::nan("") : value == "Infinity" ? HUGE_VAL : -HUGE_VAL;
}

TEST(ExpressionTest, EveryTextHasTheValuesOfTheOracle) {
  const std::vector<json> lines = SelectionLines("expressions.jsonl");
  ASSERT_EQ(lines.size(), 106u);
  for (const json& line : lines) {
    const std::string keep = line.at("keep");
    SCOPED_TRACE(keep);
    const std::string error = ExpressionError(keep, /*has_pvalue=*/true);
    EXPECT_EQ(error.empty(), line.at("ok").get<bool>()) << error;
    if (!error.empty() || !line.contains("at")) continue;
    ExpressionEvaluator evaluator(keep, true);
    for (size_t i = 0; i < line.at("at").size(); ++i) {
      for (const auto& [name, value] : line.at("at")[i].items()) {
        SetVariable(name, ParsedNumber(value), &evaluator.variables());
      }
      const double value = evaluator.Value(), expected = ParsedNumber(line.at("values")[i]);
      if (std::isfinite(expected)) {
        EXPECT_NEAR(value, expected, 1e-12 * std::abs(expected));
      } else {
        EXPECT_TRUE(value == expected || (std::isnan(value) && std::isnan(expected))) << value;
      }
      EXPECT_EQ(evaluator.Keeps(), expected != 0 && !std::isnan(expected));
    }
  }
}

TEST(ExpressionTest, AnErrorNamesPositionAndToken) {
  const std::pair<const char*, const char*> cases[] = {
      {"p ^ 2 > 0", "at 3: \"^\" is not known"},
      {"p = 1", "at 3: \"=\" is not known"},
      {"p > 1, p", "at 6: \",\" cannot stand here"},
      {"p > foo", "at 5: \"foo\" is neither a variable nor a function"},
      {"p >", "at 4: the text ends where a value is missing"},
      {"(p", "at 3: the text ends where \")\" is missing"},
      {"2p", "at 1: \"2p\" is not a number"},
      {"1e999 > p", "at 1: \"1e999\" is not a finite number"},
      {"abs(p, 1)", "at 6: \",\" where \")\" is missing"},
      {"min", "at 4: the text ends where \"(\" is missing"},
      {"- -p", "at 3: \"-\" cannot stand here"},
      {"p ? 1", "at 6: the text ends where \":\" is missing"},
      {"\"p\"", "at 1: \"\\\"\" is not known"},
      {" ", "at 2: the text ends where a value is missing"},
  };
  for (const auto& [text, error] : cases) EXPECT_EQ(ExpressionError(text, false), error) << text;
  EXPECT_THAT(ExpressionError("pvalue < 1", false), StartsWith("at 1: \"pvalue\" is neither"));
  EXPECT_EQ(ExpressionError("pvalue < 1", true), "");
  EXPECT_EQ(ExpressionError("", true), "must have 1..512 bytes, has 0");
  EXPECT_EQ(ExpressionError(std::string(513, ' '), true), "must have 1..512 bytes, has 513");
}

TEST(ExpressionTest, NestingAsDeepAsTheTextAllowsIsEvaluated) {
  EXPECT_EQ(ExpressionError(std::string(255, '(') + "1" + std::string(255, ')'), false), "");
  EXPECT_THAT(ExpressionError(std::string(512, '('), false), HasSubstr("at 513"));
  std::string ternaries;
  for (int i = 0; i < 85; ++i) ternaries += "p?1:E?";
  ternaries.resize(508);
  EXPECT_THAT(ExpressionError(ternaries, false), StartsWith("at "));
}

TEST(ExpressionTest, WhiteSpaceMayStandBetweenAnyTokens) {
  ExpressionEvaluator evaluator(" max\t(\n1 , 2\r) == - ( - 2 )", false);
  EXPECT_EQ(evaluator.Value(), 1);
}

TEST(ExpressionTest, NumbersAreReadExactly) {
  ExpressionEvaluator tiny("4.9e-324 > 0", false), third(".333333333333333333 == 1. / 3", false);
  EXPECT_EQ(tiny.Value(), 1);
  EXPECT_EQ(third.Value(), 1);
}

TEST(NoiseTest, GumbelsAreThoseOfTheOracle) {
  const std::vector<json> lines = SelectionLines("noise_vectors.jsonl");
  ASSERT_EQ(lines.size(), 43u);
  for (const json& line : lines) {
    if (line.contains("random")) {
      EXPECT_EQ(Philox4x32(line.at("counter"), line.at("key")),
                (line.at("random").get<std::array<uint32_t, 4>>()));
      continue;
    }
    const size_t expert = line.at("expert");
    std::vector<double> gumbel(expert + 1);
    GumbelRow({.layer = line.at("layer"),
               .position = line.at("position"),
               .routing_seed = line.at("routing_seed")},
              gumbel);
    const double expected = line.at("gumbel");
    EXPECT_NEAR(gumbel[expert], expected, 1e-13 * std::abs(expected)) << line;
  }
}

constexpr RouterShape kShape{16, 64, 8, false};

std::vector<float> RandomLogits(std::mt19937_64* random) {
  std::normal_distribution<float> normal(-1.5f, 1.0f);
  std::vector<float> logits(64);
  for (float& logit : logits) logit = normal(*random);
  return logits;
}

RowRouting Routed(const std::vector<float>& logits, const LayerRule& rule,
                  const RowPlace& place = {}) {
  RowRouting routing;
  EXPECT_EQ(RouteRow(logits, kShape, rule, nullptr, place, &routing), RouteError::kNone);
  return routing;
}

bool SameBits(const RowRouting& a, const RowRouting& b) {
  if (a.applied.k != b.applied.k || a.applied.min_hit != b.applied.min_hit ||
      a.applied.max_hit != b.applied.max_hit ||
      a.applied.selected_mass != b.applied.selected_mass) {
    return false;
  }
  for (int i = 0; i < a.applied.k; ++i) {
    if (a.experts[i] != b.experts[i] ||
        std::bit_cast<uint32_t>(a.weights[i]) != std::bit_cast<uint32_t>(b.weights[i])) {
      return false;
    }
  }
  return true;
}

LayerRule RuleOf(RuleKind kind, WeightMode mode = WeightMode::kNative, Adjust adjust = {}) {
  return MakeLayerRule({std::move(kind), mode, std::move(adjust)}, kShape, nullptr);
}

// 100,000 rows. Rounding decides nothing here: both add the same floats in the same order.
TEST(SelectionTest, OldRulesAreExpressions) {
  const std::pair<LayerRule, LayerRule> same[] = {
      {RuleOf(TopK{8}), RuleOf(Expression{"rank <= 8"})},
      {RuleOf(MinP{0.2}), RuleOf(Expression{"p >= 0.2 * p1"})},
      {RuleOf(TopP{0.5, {2, 9}}, WeightMode::kSumToOne),
       RuleOf(Expression{"before < 0.5", {2, 9}}, WeightMode::kSumToOne)}};
  std::mt19937_64 random(11);
  for (int row = 0; row < 100'000; ++row) {
    const std::vector<float> logits = RandomLogits(&random);
    for (const auto& [rule, expression] : same) {
      ASSERT_TRUE(SameBits(Routed(logits, rule), Routed(logits, expression))) << "row " << row;
    }
  }
}

// Scores that are the logits give the bits of the rule without an adjustment, weights included.
TEST(SelectionTest, AnAdjustmentThatMovesNothingChangesNoBit) {
  Adjust zeros;
  zeros.bias = Bias{BiasScope::kBoth, std::vector<float>(64, 0)};
  const BenjaminiHochberg bh{0.98, {}, {PValueKind::kOneMinusProb, "", 2}};
  const RuleKind kinds[] = {TopK{8}, TopP{0.6}, MinP{0.1}, bh,
                            HigherCriticism{0.25, {}, bh.p_values}};
  std::mt19937_64 random(12);
  for (int row = 0; row < 5'000; ++row) {
    const std::vector<float> logits = RandomLogits(&random);
    for (const RuleKind& kind : kinds) {
      for (const auto mode :
           {WeightMode::kNative, WeightMode::kSumToOne, WeightMode::kMatchTopKMass}) {
        ASSERT_TRUE(SameBits(Routed(logits, RuleOf(kind, mode)),
                             Routed(logits, RuleOf(kind, mode, zeros))));
      }
    }
  }
}

// What only selects leaves each weight as the model's softmax has it: what a replay relies on.
TEST(SelectionTest, WeightsOfTheRawRowKeepTheirBits) {
  Adjust adjust;
  adjust.bias = Bias{BiasScope::kSelect, std::vector<float>(64, 0)};
  for (size_t i = 0; i < 64; i += 3) adjust.bias->values[i] = 2;
  adjust.noise = Noise{0.5};
  adjust.ban = {1, 2, 3};
  adjust.ban_mass = BanMass::kKeep;
  adjust.force = {60};
  const LayerRule everything = RuleOf(TopK{64}), adjusted = RuleOf(TopK{12}, {}, adjust);
  std::mt19937_64 random(13);
  for (uint64_t row = 0; row < 1'000; ++row) {
    const std::vector<float> logits = RandomLogits(&random);
    const RowRouting all = Routed(logits, everything);
    std::vector<float> softmax(64);
    for (int i = 0; i < 64; ++i) softmax[all.experts[i]] = all.weights[i];
    const RowRouting some = Routed(logits, adjusted, {.position = row});
    ASSERT_EQ(some.applied.k, 12);
    ASSERT_EQ(some.experts[0], 60);
    for (int i = 0; i < 12; ++i) {
      ASSERT_EQ(some.weights[i], softmax[some.experts[i]]);
      ASSERT_TRUE(some.experts[i] < 1 || some.experts[i] > 3) << "a banned expert ran";
    }
  }
}

TEST(SelectionTest, NoiseIsAFunctionOfSeedPositionAndLayerAlone) {
  Adjust adjust;
  adjust.noise = Noise{1};
  const LayerRule rule = RuleOf(TopK{8}, WeightMode::kNative, adjust);
  std::mt19937_64 random(14);
  const std::vector<float> logits = RandomLogits(&random);
  const auto set_of = [&](const RowPlace& place) {
    const RowRouting routing = Routed(logits, rule, place);
    return SetOf(std::span(routing.experts).first(8));
  };
  const RowPlace place = {.layer = 3, .position = 5, .routing_seed = 7};
  const ExpertSet set = set_of(place);
  EXPECT_EQ(set_of(place), set);
  EXPECT_EQ(set_of({.layer = 3, .position = 5, .routing_seed = 7, .late = true}), set);
  EXPECT_NE(set_of({.layer = 4, .position = 5, .routing_seed = 7}), set);
  EXPECT_NE(set_of({.layer = 3, .position = 6, .routing_seed = 7}), set);
  EXPECT_NE(set_of({.layer = 3, .position = 5, .routing_seed = 8}), set);
}

// Finite numbers whose sums are not: an error of the row, and no crash.
TEST(SelectionTest, ASumThatOverflowsIsAnErrorOfTheRow) {
  std::vector<float> logits(64, 3e38f);
  Adjust bias, noise;
  bias.bias = Bias{BiasScope::kSelect, std::vector<float>(64, 3e38f)};
  noise.noise = Noise{1.7e308};
  for (const Adjust& adjust : {bias, noise}) {
    RowRouting routing;
    EXPECT_EQ(RouteRow(logits, kShape, RuleOf(TopP{0.5}, {}, adjust), nullptr, {}, &routing),
              RouteError::kNonFiniteLogit);
  }
  Adjust steer;
  steer.steer = Steer{{1}, {2}, 1e308};
  EXPECT_EQ(Routed({logits}, RuleOf(TopK{1}, WeightMode::kSumToOne, steer)).experts[0], 1);
}

// One policy routes on many threads at once.
TEST(SelectionTest, AnExpressionIsUsedByManyThreads) {
  const LayerRule rule = RuleOf(Expression{"p >= 0.2 * p1 && rank <= 12"});
  const LayerRule expected = RuleOf(MinP{0.2, {1, 12}});
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(100 + thread);
      for (int row = 0; row < 500; ++row) {
        const std::vector<float> logits = RandomLogits(&random);
        const RowRouting a = Routed(logits, rule), b = Routed(logits, expected);
        ASSERT_EQ(a.applied.k, b.applied.k);
        ASSERT_EQ(a.experts[a.applied.k - 1], b.experts[b.applied.k - 1]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace olmoe::routing
