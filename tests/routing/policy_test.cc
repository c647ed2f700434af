#include "server/routing/policy.h"

#include <bit>
#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/policy_warnings.h"
#include "tests/routing/policies.h"

namespace olmoe::routing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::shared_ptr<const RoutingPolicy> Make(const PolicySpec& spec,
                                          const CalibrationSet* calibrations = nullptr,
                                          const RouterShape& shape = kSmall) {
  auto policy = RoutingPolicy::Create(spec, shape, calibrations, "policy");
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *policy;
}

std::string DigestOf(const PolicySpec& spec, const CalibrationSet* calibrations = nullptr) {
  return Make(spec, calibrations)->digest();
}

// ---------------------------------------------------------------- validation

std::vector<std::string> Violations(const PolicySpec& spec) {
  const absl::Status status = RoutingPolicy::Create(spec, kSmall, nullptr, "policy").status();
  if (status.code() != absl::StatusCode::kInvalidArgument) return {};
  return ViolatedFields(status);
}

template <typename Kind>
Rule WithBounds(Kind kind, std::optional<uint32_t> min_k, std::optional<uint32_t> max_k) {
  kind.bounds.min_k = min_k;
  kind.bounds.max_k = max_k;
  return {kind, WeightMode::kModelDefault};
}

Rule HcRule(std::optional<double> beta, double temperature = 1) {
  HigherCriticism hc;
  hc.beta = beta;
  hc.p_values.temperature = temperature;
  hc.p_values.calibration_id = "cal";
  return ToRule(hc);
}

struct RuleCase {
  Rule rule;
  std::vector<std::string> fields;  // below "policy.apply."
};

TEST(PolicyValidationTest, EveryBadFieldOfARuleIsNamed) {
  const double infinity = std::numeric_limits<double>::infinity();
  BenjaminiHochberg all_bad = Bh(kNaN, "");
  all_bad.bounds.min_k = 0;
  all_bad.bounds.max_k = 65;
  all_bad.p_values.temperature = 0;
  const std::vector<RuleCase> cases = {
      {TopKRule(0), {"top_k.k"}},
      {TopKRule(65), {"top_k.k"}},
      {TopKRule(4294967295), {"top_k.k"}},
      {TopPRule(0), {"top_p.p"}},
      {TopPRule(-1e-300), {"top_p.p"}},
      {TopPRule(1.0000000000000002), {"top_p.p"}},
      {TopPRule(kNaN), {"top_p.p"}},
      {{MinP{infinity}, WeightMode::kNative}, {"min_p.ratio"}},
      {ToRule(Bh(0)), {"bh.alpha"}},
      {ToRule(Bh(1.5)), {"bh.alpha"}},
      {ToRule(Bh(kNaN)), {"bh.alpha"}},
      {ToRule(Bh(0.1, "")), {"bh.calibration_id"}},
      {ToRule(Bh(0.1, "No such name!")), {"bh.calibration_id"}},
      {HcRule(0.0), {"hc.beta"}},
      {HcRule(1.5), {"hc.beta"}},
      {HcRule(std::nullopt, infinity), {"hc.temperature"}},
      {WithBounds(Bh(0.1), 5, 4), {"bh.max_k"}},
      {WithBounds(Bh(0.1), 0, 4), {"bh.min_k"}},
      {WithBounds(Bh(0.1), 65, std::nullopt), {"bh.min_k"}},
      {WithBounds(Bh(0.1), std::nullopt, 0), {"bh.max_k"}},
      {ToRule(all_bad),
       {"bh.alpha", "bh.min_k", "bh.max_k", "bh.temperature", "bh.calibration_id"}},
  };
  for (const RuleCase& c : cases) {
    std::vector<std::string> expected;
    for (const std::string& field : c.fields) expected.push_back("policy.apply." + field);
    EXPECT_EQ(Violations(PolicyOf(c.rule)), expected);
    for (std::string& field : expected) field.replace(0, 12, "policy.analyze");
    EXPECT_EQ(Violations(PolicyOf(std::nullopt, c.rule)), expected);
  }
  EXPECT_THAT(Violations(PolicyOf(Rule{})), ElementsAre("policy.apply"));
}

TEST(PolicyValidationTest, AViolationSaysWhatWouldBeValid) {
  const auto text_of = [](const Rule& rule) {
    std::vector<FieldViolation> violations;
    ValidateRule(rule, 64, "apply", &violations);
    return violations.empty() ? "" : violations.front().description;
  };
  EXPECT_EQ(text_of({}), "must name a rule: top_k, top_p, min_p, bh, hc or expression");
  EXPECT_EQ(text_of(TopKRule(65)), "must be 1..64, is 65");
  EXPECT_EQ(text_of(TopPRule(1.5)), "must be > 0 and <= 1, is 1.5");
  EXPECT_EQ(text_of(WithBounds(TopP{0.5}, 5, 4)), "must be >= min_k, which is 5, is 4");
  EXPECT_EQ(text_of(HcRule(std::nullopt, -1)), "must be > 0 and finite, is -1");
  EXPECT_EQ(text_of(ToRule(Bh(0.1, ""))), "must be set for LAYER_CDF");
  EXPECT_EQ(text_of(ToRule(Bh(0.1, "A"))), "must match [a-z0-9][a-z0-9._-]{0,63}");
}

Rule Adjusted(Adjust adjust) { return {TopK{8}, {}, std::move(adjust)}; }

// tests/data/selection has every violation; these are their words.
TEST(PolicyValidationTest, AnAdjustmentIsNamedFieldByField) {
  Adjust adjust;
  adjust.bias = Bias{std::nullopt, {1, 2}};
  adjust.steer = Steer{{64}, {3, 3}, 0};
  adjust.noise = Noise{-1};
  adjust.ban = {1};
  adjust.force = {1};
  std::vector<FieldViolation> violations;
  ValidateRule(Adjusted(adjust), 64, "policy.apply", &violations);
  std::vector<std::string> texts;
  for (const FieldViolation& violation : violations) {
    texts.push_back(violation.field + " " + violation.description);
  }
  EXPECT_THAT(
      texts,
      ElementsAre("policy.apply.adjust.bias.scope must be SELECT or BOTH",
                  "policy.apply.adjust.bias.values must have a value for each of the 64 experts, "
                  "has 2",
                  "policy.apply.adjust.steer.toward must be 0..63, has 64",
                  "policy.apply.adjust.steer.away names expert 3 twice",
                  "policy.apply.adjust.steer.epsilon must be > 0 and finite, is 0",
                  "policy.apply.adjust.noise.tau must be > 0 and finite, is -1",
                  "policy.apply.adjust.force names expert 1, as ban does"));
}

TEST(PolicyValidationTest, CountsAreOfTheExpertsThatAreLeft) {
  Adjust adjust;
  adjust.ban = {0, 1};
  std::vector<FieldViolation> violations;
  ValidateRule({TopK{63}, {}, adjust}, 64, "apply", &violations);
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].description, "must be 1..62, is 63");
}

TEST(PolicyValidationTest, BoundsAtTheirLimitsAreValid) {
  EXPECT_THAT(Violations(PolicyOf(TopKRule(64))), IsEmpty());
  EXPECT_THAT(Violations(PolicyOf(TopPRule(1))), IsEmpty());
  EXPECT_THAT(Violations(PolicyOf(WithBounds(TopP{0.5}, 64, 64))), IsEmpty());
  EXPECT_THAT(Violations(PolicyOf(WithBounds(TopP{0.5}, 1, 1))), IsEmpty());
}

TEST(PolicyValidationTest, AllViolationsOfAPolicyComeAtOnce) {
  PolicySpec spec = PolicyOf(TopKRule(0), ToRule(Bh(2)), "Bad Id");
  spec.description = std::string(257, 'x');
  spec.layer_overrides = {Override({16}, TopKRule(65)), Override({}, TopKRule(1)),
                          Override({1}, std::nullopt), Override({2, 1}, TopKRule(1), TopKRule(0))};
  EXPECT_THAT(
      Violations(spec),
      ElementsAre("policy.policy_id", "policy.description", "policy.apply.top_k.k",
                  "policy.analyze.bh.alpha", "policy.layer_overrides[0].layers[0]",
                  "policy.layer_overrides[0].apply.top_k.k", "policy.layer_overrides[1].layers",
                  "policy.layer_overrides[2]", "policy.layer_overrides[3].layers[1]",
                  "policy.layer_overrides[3].analyze.top_k.k"));
}

TEST(PolicyValidationTest, ALayerBelongsToOneOverrideAndOnce) {
  PolicySpec spec = PolicyOf(std::nullopt);
  spec.layer_overrides = {Override({3, 3}, TopKRule(1)), Override({0, 3}, TopKRule(2))};
  EXPECT_THAT(Violations(spec), ElementsAre("policy.layer_overrides[0].layers[1]",
                                            "policy.layer_overrides[1].layers[1]"));
}

// A hostile request gets a short answer.
TEST(PolicyValidationTest, AbsurdlyManyOverridesAreOneViolation) {
  PolicySpec spec = PolicyOf(std::nullopt);
  spec.layer_overrides.assign(100'000, Override({99}, TopKRule(0)));
  EXPECT_THAT(Violations(spec), ElementsAre("policy.layer_overrides"));
  spec.layer_overrides = {Override(std::vector<uint32_t>(100'000, 99), TopKRule(1))};
  EXPECT_THAT(Violations(spec), ElementsAre("policy.layer_overrides[0].layers"));
}

TEST(PolicyValidationTest, PolicyIdIsAShortLowerCaseName) {
  for (const char* id : {"a", "0", "bh-patch", "a2345678901234567890123456789012"}) {
    EXPECT_THAT(Violations(PolicyOf(std::nullopt, std::nullopt, id)), IsEmpty()) << id;
  }
  for (const char* id :
       {"", "-a", "A", "a_b", "a b", "\xc3\xa9", "a23456789012345678901234567890123"}) {
    EXPECT_THAT(Violations(PolicyOf(std::nullopt, std::nullopt, id)),
                ElementsAre("policy.policy_id"))
        << id;
  }
}

TEST(PolicyValidationTest, EmptyPrefixLeavesNoDot) {
  const absl::Status status =
      RoutingPolicy::Create(PolicyOf(TopKRule(0)), kSmall, nullptr, "").status();
  EXPECT_THAT(ViolatedFields(status), ElementsAre("apply.top_k.k"));
}

// ---------------------------------------------------------------- calibrations

TEST(PolicyCalibrationTest, MissingCalibrationIsAFailedPrecondition) {
  CalibrationSet calibrations;
  PolicySpec spec = PolicyOf(std::nullopt);
  spec.layer_overrides = {Override({5}, std::nullopt, ToRule(Bh(0.1)))};
  for (const CalibrationSet* set : {static_cast<const CalibrationSet*>(nullptr),
                                    static_cast<const CalibrationSet*>(&calibrations)}) {
    const absl::Status status = RoutingPolicy::Create(spec, kSmall, set, "policy").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.message(), HasSubstr("policy.layer_overrides[0].analyze.bh.calibration_id"));
    const auto detail = DetailOf<google::rpc::PreconditionFailure>(status);
    ASSERT_EQ(detail.violations_size(), 1);
    EXPECT_EQ(detail.violations(0).type(), "CALIBRATION_MISSING");
    EXPECT_EQ(detail.violations(0).subject(), "calibrations/cal");
  }
}

TEST(PolicyCalibrationTest, EveryLayerNeedsItsOwnTable) {
  CalibrationSet calibrations;
  ASSERT_TRUE(calibrations.Add(CalibrationOf("cal", 12)).ok());
  const absl::Status status =
      RoutingPolicy::Create(PolicyOf(ToRule(Bh(0.1))), kSmall, &calibrations, "policy").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("has no table for layer 12"));

  PolicySpec first_layers = PolicyOf(std::nullopt);
  first_layers.layer_overrides = {Override({0, 11}, ToRule(Bh(0.1)))};
  EXPECT_TRUE(RoutingPolicy::Create(first_layers, kSmall, &calibrations, "policy").ok());
}

TEST(PolicyCalibrationTest, APolicyKeepsTheTablesOfARemovedCalibration) {
  CalibrationSet calibrations;
  ASSERT_TRUE(calibrations.Add(CalibrationOf("cal", 16)).ok());
  const auto policy = Make(PolicyOf(ToRule(Bh(1))), &calibrations);
  ASSERT_TRUE(calibrations.Remove("cal").ok());
  std::vector<float> logits(64, -1);
  logits[7] = 0;
  RowRouting routing;
  ASSERT_EQ(policy->Route({.layer = 3}, logits, &routing), RouteError::kNone);
  EXPECT_EQ(routing.applied.k, 64);
  EXPECT_EQ(routing.experts[0], 7);
}

// ---------------------------------------------------------------- digest

TEST(PolicyDigestTest, ModelsOwnRoutingHasOneDigest) {
  const std::string native = RoutingPolicy::Native(kSmall)->digest();
  EXPECT_EQ(native.size(), 64u);
  EXPECT_EQ(DigestOf(PolicyOf(std::nullopt)), native);
  EXPECT_EQ(DigestOf(PolicyOf(TopKRule(8))), native);
  EXPECT_EQ(DigestOf(PolicyOf(TopKRule(8, WeightMode::kNative))), native);
  EXPECT_NE(DigestOf(PolicyOf(TopKRule(7))), native);
  EXPECT_NE(DigestOf(PolicyOf(TopKRule(8, WeightMode::kSumToOne))), native);
}

Adjust EverythingAdjusted() {
  Adjust adjust;
  adjust.bias = Bias{BiasScope::kSelect, std::vector<float>(64, 0.25f)};
  adjust.steer = Steer{{3, 1}, {60}};
  adjust.noise = Noise{0.5};
  adjust.ban = {7, 5};
  adjust.ban_mass = BanMass::kKeep;
  adjust.force = {9};
  return adjust;
}

TEST(PolicyDigestTest, OnlyWhatAnAdjustmentDoesIsPartOfIt) {
  const std::string all = DigestOf(PolicyOf(Adjusted(EverythingAdjusted())));
  Adjust other_order = EverythingAdjusted();
  other_order.ban = {5, 7};
  other_order.steer->toward = {1, 3};
  EXPECT_EQ(DigestOf(PolicyOf(Adjusted(other_order))), all);
  Adjust nothing;
  nothing.ban_mass = BanMass::kKeep;
  EXPECT_EQ(DigestOf(PolicyOf(Adjusted(nothing))), DigestOf(PolicyOf(std::nullopt)));
  Adjust both = EverythingAdjusted();
  both.bias->scope = BiasScope::kBoth;
  EXPECT_NE(DigestOf(PolicyOf(Adjusted(both))), all);
  EXPECT_EQ(DigestOf(PolicyOf(std::nullopt, Adjusted(both))),
            DigestOf(PolicyOf(std::nullopt, Adjusted(EverythingAdjusted()))))
      << "nothing is weighed";
}

TEST(PolicyDigestTest, ARuleForDecodeCountsWhereItDiffers) {
  PolicySpec same = PolicyOf(TopKRule(4)), other = PolicyOf(TopKRule(4));
  same.decode = TopKRule(4);
  other.decode = TopKRule(2);
  EXPECT_EQ(DigestOf(same), DigestOf(PolicyOf(TopKRule(4))));
  EXPECT_NE(DigestOf(other), DigestOf(PolicyOf(TopKRule(4))));
}

// Digests are kept in histories and compared with those of other servers.
TEST(PolicyDigestTest, IsTheSameInEveryVersion) {
  CalibrationSet calibrations;
  ASSERT_TRUE(calibrations.Add(CalibrationOf("cal", 16)).ok());
  const PValueSource cal = {PValueKind::kLayerCdf, "cal", 2};
  const PolicySpec native = PolicyOf(std::nullopt);
  PolicySpec layered = PolicyOf(TopKRule(2), ToRule(BenjaminiHochberg{0.1, {}, cal}));
  layered.layer_overrides = {Override({0, 5}, TopPRule(1.0 / 3), TopKRule(9))};
  const BenjaminiHochberg one_minus_prob = {0.98, {3, {}}, {PValueKind::kOneMinusProb, "", 2}};
  const HigherCriticism among_first = {0.25, {}, {PValueKind::kOneMinusProb, "", 0.5}};
  PolicySpec late = PolicyOf(TopKRule(8));
  late.decode = TopKRule(2);
  const std::pair<PolicySpec, const char*> cases[] = {
      {native, "35d846a089e5e368c215b3844e28a9b2224d08b34392301c95d4be55265ff480"},
      {PolicyOf(TopKRule(4)), "0341218bab06f0bf497824eccb28ea988f50e727d1f57f239db956422e0de2a3"},
      {PolicyOf(Rule{TopP{0.7, {{}, 16}}, {}}),
       "0e5c8c2c9894fae667cc371f2c86afb329380ce5cd28e7196abe55e659742bf2"},
      {PolicyOf(Rule{MinP{0.1, {2, {}}}, WeightMode::kSumToOne}),
       "130c319188f785f1d118b85ceecca06156fed95681597f313f87e80b396de775"},
      {PolicyOf(ToRule(BenjaminiHochberg{0.12, {{}, 32}, {PValueKind::kLayerCdf, "cal"}})),
       "b400955b8f6c77b158d299e173065f20705ed5a1df970c90d42e6f6935615917"},
      {PolicyOf(Rule{one_minus_prob, WeightMode::kMatchTopKMass}),
       "3c9ef007ae76d1c2a56238ddcfc195243f3b2c849b7df72a9ae412d2ffac1028"},
      {PolicyOf(ToRule(HigherCriticism{{}, {}, {PValueKind::kLayerCdf, "cal"}})),
       "dd6db2c6edaef861630644c0ab97c5a2547b4a81a797bc7242f0926d28bf94c4"},
      {PolicyOf(Rule{among_first, WeightMode::kNative}),
       "172ad799fdd2c0eacfc52390a165487a77eed76ddcbc59d7f57ff80cd095bcba"},
      {layered, "4e5d88fe0d1373fb5eb54be855a35e899703f90e95ad08b60e643d5e28bc3ce1"},
      {PolicyOf(Rule{Expression{"rank <= 2 || p > 0.3 * p1", {2, {}}, {"cal"}}, {}}),
       "6f60d55d6a1bbf7417f7f19e338a5454ad3eba6ea41d2b047549f31ee5d2ed0d"},
      {PolicyOf(Rule{TopK{8}, {}, EverythingAdjusted()}),
       "386d745073cec469592b08e941b001821e2e1c0280716a75ce10aa094f510d98"},
      {late, "5b3985c455585fbf6ad8dbc52149ff9e2304443f61dc196599605f4b2af9acfd"},
  };
  for (const auto& [spec, digest] : cases) {
    EXPECT_EQ(DigestOf(spec, &calibrations), digest);
  }
}

TEST(PolicyDigestTest, WeightModeIsThatOfTheModel) {
  RouterShape normed = kSmall;
  normed.norm_topk_prob = true;
  const std::string native = RoutingPolicy::Native(normed)->digest();
  EXPECT_EQ(Make(PolicyOf(TopKRule(8, WeightMode::kSumToOne)), nullptr, normed)->digest(), native);
  EXPECT_NE(Make(PolicyOf(TopKRule(8, WeightMode::kNative)), nullptr, normed)->digest(), native);
}

TEST(PolicyDigestTest, NamesAndDescriptionsAreNotPartOfIt) {
  PolicySpec a = PolicyOf(TopKRule(3), std::nullopt, "a");
  PolicySpec b = PolicyOf(TopKRule(3), std::nullopt, "b");
  b.description = "three experts";
  EXPECT_EQ(DigestOf(a), DigestOf(b));
}

TEST(PolicyDigestTest, DefaultsAreFilledIn) {
  EXPECT_EQ(DigestOf(PolicyOf(TopPRule(0.5))), DigestOf(PolicyOf(WithBounds(TopP{0.5}, 1, 64))));
  EXPECT_NE(DigestOf(PolicyOf(TopPRule(0.5))), DigestOf(PolicyOf(WithBounds(TopP{0.5}, 1, 63))));
  EXPECT_NE(DigestOf(PolicyOf(TopPRule(0.5))),
            DigestOf(PolicyOf(TopPRule(std::nextafter(0.5, 1)))));
}

TEST(PolicyDigestTest, OverridesAreExpanded) {
  PolicySpec whole = PolicyOf(TopKRule(3));
  PolicySpec halves = PolicyOf(std::nullopt), redundant = PolicyOf(TopKRule(3));
  std::vector<uint32_t> even, odd;
  for (uint32_t layer = 0; layer < 16; ++layer) (layer % 2 == 0 ? even : odd).push_back(layer);
  halves.layer_overrides = {Override(odd, TopKRule(3)), Override(even, TopKRule(3))};
  redundant.layer_overrides = {Override({4}, TopKRule(3))};
  EXPECT_EQ(DigestOf(halves), DigestOf(whole));
  EXPECT_EQ(DigestOf(redundant), DigestOf(whole));
  halves.layer_overrides.pop_back();
  EXPECT_NE(DigestOf(halves), DigestOf(whole));
}

TEST(PolicyDigestTest, CalibrationsCountByTheirTables) {
  CalibrationSet calibrations;
  ASSERT_TRUE(calibrations.Add(CalibrationOf("a", 16)).ok());
  ASSERT_TRUE(calibrations.Add(CalibrationOf("same-as-a", 16)).ok());
  ASSERT_TRUE(calibrations.Add(CalibrationOf("other", 16, -2)).ok());
  const std::string a = DigestOf(PolicyOf(ToRule(Bh(0.1, "a"))), &calibrations);
  EXPECT_EQ(DigestOf(PolicyOf(ToRule(Bh(0.1, "same-as-a"))), &calibrations), a);
  EXPECT_NE(DigestOf(PolicyOf(ToRule(Bh(0.1, "other"))), &calibrations), a);
}

TEST(PolicyDigestTest, ParametersWithoutEffectAreNotPartOfIt) {
  CalibrationSet calibrations;
  ASSERT_TRUE(calibrations.Add(CalibrationOf("cal", 16)).ok());
  BenjaminiHochberg warm = Bh(0.1);
  warm.p_values.temperature = 2;
  const auto digest = [&](std::optional<Rule> apply, std::optional<Rule> analyze) {
    return DigestOf(PolicyOf(std::move(apply), std::move(analyze)), &calibrations);
  };
  // The temperature changes weights but not the p-values of a layer CDF.
  EXPECT_NE(digest(ToRule(warm), {}), digest(ToRule(Bh(0.1)), {}));
  EXPECT_EQ(digest({}, ToRule(warm)), digest({}, ToRule(Bh(0.1))));
  // An analyzed rule has no weights.
  EXPECT_EQ(digest({}, TopKRule(4, WeightMode::kSumToOne)), digest({}, TopKRule(4)));
  warm.p_values.kind = PValueKind::kOneMinusProb;
  BenjaminiHochberg cool = warm;
  cool.p_values.temperature = 1;
  EXPECT_NE(digest({}, ToRule(warm)), digest({}, ToRule(cool)));
  cool.p_values.temperature = 2;
  cool.p_values.calibration_id = "unused";
  EXPECT_EQ(digest(ToRule(warm), {}), digest(ToRule(cool), {}));
}

TEST(PolicyDigestTest, AnalyzedRuleIsPartOfIt) {
  EXPECT_NE(DigestOf(PolicyOf(std::nullopt, TopKRule(4))), DigestOf(PolicyOf(std::nullopt)));
  EXPECT_NE(DigestOf(PolicyOf(TopKRule(4), TopKRule(5))),
            DigestOf(PolicyOf(TopKRule(5), TopKRule(4))));
}

// ---------------------------------------------------------------- routing

std::vector<float> SomeRow() {
  std::vector<float> logits;
  for (int i = 0; i < 64; ++i) logits.push_back(std::sin(1.7f * static_cast<float>(i)) - 1);
  return logits;
}

// The first that is set: the override's decode, the policy's, the override's apply, the policy's.
TEST(PolicyTest, ALateRowRunsTheFirstRuleThatIsSet) {
  PolicySpec spec = PolicyOf(TopKRule(1));
  LayerOverride applies = Override({1, 2}, TopKRule(2)), decodes = Override({3}, std::nullopt);
  decodes.decode = TopKRule(4);
  spec.layer_overrides = {applies, decodes};
  const auto ks = [&spec](bool late) {
    const auto policy = Make(spec);
    std::vector<int> of_layers;
    for (int layer = 0; layer < 4; ++layer) {
      RowRouting routing;
      EXPECT_EQ(policy->Route({.layer = layer, .late = late}, SomeRow(), &routing),
                RouteError::kNone);
      of_layers.push_back(routing.applied.k);
    }
    return of_layers;
  };
  EXPECT_THAT(ks(false), ElementsAre(1, 2, 2, 1));
  EXPECT_THAT(ks(true), ElementsAre(1, 2, 2, 4));
  spec.decode = TopKRule(3);
  EXPECT_THAT(ks(false), ElementsAre(1, 2, 2, 1));
  EXPECT_THAT(ks(true), ElementsAre(3, 3, 3, 4));
}

TEST(PolicyTest, TopKOfTheDefaultIsBitIdenticalToTheModelsOwnRouting) {
  const auto native = RoutingPolicy::Native(kSmall);
  const auto top_8 = Make(PolicyOf(TopKRule(8)));
  RowRouting a, b;
  ASSERT_EQ(native->Route({.layer = 0}, SomeRow(), &a), RouteError::kNone);
  ASSERT_EQ(top_8->Route({.layer = 0}, SomeRow(), &b), RouteError::kNone);
  ASSERT_EQ(a.applied.k, 8);
  ASSERT_EQ(b.applied.k, 8);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(a.experts[i], b.experts[i]);
    EXPECT_EQ(std::bit_cast<uint32_t>(a.weights[i]), std::bit_cast<uint32_t>(b.weights[i]));
  }
  EXPECT_EQ(native->num_changed_layers(), 0);
  EXPECT_EQ(top_8->num_changed_layers(), 0);
  EXPECT_FALSE(native->analyzes());
}

TEST(PolicyTest, OverrideReplacesOnlyTheRulesItHas) {
  PolicySpec spec = PolicyOf(TopKRule(3), TopKRule(5));
  spec.layer_overrides = {Override({2}, TopKRule(4)), Override({7, 9}, std::nullopt, TopKRule(6))};
  const auto policy = Make(spec);
  const auto counts = [&](int layer) {
    RowRouting routing;
    EXPECT_EQ(policy->Route({.layer = layer}, SomeRow(), &routing), RouteError::kNone);
    return std::pair<int, int>(routing.applied.k, routing.analyzed.value().k);
  };
  EXPECT_EQ(counts(0), std::pair(3, 5));
  EXPECT_EQ(counts(2), std::pair(4, 5));
  EXPECT_EQ(counts(7), std::pair(3, 6));
  EXPECT_EQ(counts(9), std::pair(3, 6));
  EXPECT_EQ(policy->num_changed_layers(), 16);
  EXPECT_TRUE(policy->analyzes());
}

TEST(PolicyTest, ChangedLayersAreThoseThatRouteDifferently) {
  PolicySpec spec = PolicyOf(std::nullopt, TopKRule(5));
  spec.layer_overrides = {Override({2, 3}, TopKRule(4)), Override({5}, TopKRule(8))};
  EXPECT_EQ(Make(spec)->num_changed_layers(), 2);
}

// ---------------------------------------------------------------- warnings

TEST(PolicyWarningsTest, OneMinusProbIsCalledWhatItIs) {
  BenjaminiHochberg bh = Bh(0.05, "");
  bh.p_values.kind = PValueKind::kOneMinusProb;
  bh.bounds.min_k = 2;
  PolicySpec spec = PolicyOf(ToRule(bh));
  ASSERT_EQ(PolicyWarnings(spec, kSmall, "policy").size(), 1u);
  EXPECT_THAT(PolicyWarnings(spec, kSmall, "policy")[0],
              ::testing::AllOf(HasSubstr("policy.apply.bh.p_value"), HasSubstr("exactly min_k (2)"),
                               HasSubstr("0.984375")));
  bh.alpha = 0.99;  // not below (E-1)/E
  EXPECT_THAT(PolicyWarnings(PolicyOf(ToRule(bh)), kSmall, "policy"), IsEmpty());

  HigherCriticism hc;
  hc.p_values.kind = PValueKind::kOneMinusProb;
  hc.p_values.calibration_id = "cal";
  spec = PolicyOf(std::nullopt);
  spec.layer_overrides = {Override({0}, std::nullopt, ToRule(hc))};
  EXPECT_THAT(PolicyWarnings(spec, kSmall, "policy"),
              ElementsAre(HasSubstr("policy.layer_overrides[0].analyze.hc.p_value"),
                          HasSubstr("hc.calibration_id")));
}

TEST(PolicyWarningsTest, SumToOneWarnsOnAModelTrainedWithoutIt) {
  const PolicySpec spec = PolicyOf(TopKRule(8, WeightMode::kSumToOne));
  RouterShape normed = kSmall;
  normed.norm_topk_prob = true;
  EXPECT_THAT(PolicyWarnings(spec, kSmall, "policy"),
              ElementsAre(HasSubstr("policy.apply.weight_mode")));
  EXPECT_THAT(PolicyWarnings(spec, normed, "policy"), IsEmpty());
  EXPECT_THAT(PolicyWarnings(PolicyOf(std::nullopt, spec.apply), kSmall, "policy"), IsEmpty())
      << "an analyzed rule has no weights";
}

TEST(PolicyWarningsTest, TheSameOfSeveralFieldsIsToldOnce) {
  EXPECT_THAT(MergeWarnings({"a: x", "b: y: z", "c: x", "d: y: z"}),
              ElementsAre("a, c: x", "b, d: y: z"));
  EXPECT_THAT(MergeWarnings({}), IsEmpty());
}

}  // namespace
}  // namespace olmoe::routing
