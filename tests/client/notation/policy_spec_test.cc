#include "client/notation/policy_spec.h"

#include <cmath>
#include <variant>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::notation {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::RoutingPolicy Parse(const std::string& spec) {
  auto policy = ParsePolicySpec(spec);
  EXPECT_TRUE(policy.ok()) << spec << ": " << policy.status();
  return policy.ok() ? *policy : v1::RoutingPolicy();
}

std::string Error(const std::string& spec) {
  const auto policy = ParsePolicySpec(spec);
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument) << spec;
  return std::string(policy.status().message());
}

TEST(PolicySpec, NativeIsAPolicyWithoutRules) {
  const v1::RoutingPolicy policy = Parse("native");
  EXPECT_EQ(policy.policy_id(), "native");
  EXPECT_FALSE(policy.has_apply());
  EXPECT_FALSE(policy.has_analyze());
  EXPECT_EQ(policy.layer_overrides_size(), 0);
}

TEST(PolicySpec, EveryRuleTakesItsOwnParameterFirst) {
  EXPECT_EQ(Parse("top-k=4").apply().top_k().k(), 4u);
  EXPECT_EQ(Parse("top-p=0.7").apply().top_p().p(), 0.7);
  EXPECT_EQ(Parse("min-p=0.1").apply().min_p().ratio(), 0.1);
  EXPECT_EQ(Parse("bh=0.4").apply().bh().alpha(), 0.4);
  EXPECT_EQ(Parse("hc=0.5").apply().hc().beta(), 0.5);
  EXPECT_TRUE(Parse("hc").apply().has_hc());
}

TEST(PolicySpec, EveryKeyReachesItsField) {
  const v1::Rule rule =
      Parse(
          "bh:alpha=0.4,min=1,max=16,calibration=c-8,p-value=one-minus-prob,temperature=2,"
          "weights=match-top-k-mass")
          .apply();
  EXPECT_EQ(rule.bh().alpha(), 0.4);
  EXPECT_EQ(rule.bh().min_k(), 1u);
  EXPECT_EQ(rule.bh().max_k(), 16u);
  EXPECT_EQ(rule.bh().calibration_id(), "c-8");
  EXPECT_EQ(rule.bh().p_value(), v1::P_VALUE_KIND_ONE_MINUS_PROB);
  EXPECT_EQ(rule.bh().temperature(), 2);
  EXPECT_EQ(rule.weight_mode(), v1::WEIGHT_MODE_MATCH_TOP_K_MASS);
  EXPECT_EQ(Parse("hc,min=2,calibration=c").apply().hc().min_k(), 2u);
}

TEST(PolicySpec, EveryAdjustmentReachesItsField) {
  const v1::Adjust adjust =
      Parse(
          "top-k=4,bias=0.5:-1:1e-05,bias-scope=both,toward=3,away=0+5-6,epsilon=0.5,noise=2,"
          "ban=7+9-11,ban-mass=keep,force=3+1")
          .apply()
          .adjust();
  EXPECT_THAT(adjust.bias().values(), ElementsAre(0.5f, -1.f, 1e-5f));
  EXPECT_EQ(adjust.bias().scope(), v1::BIAS_SCOPE_BOTH);
  EXPECT_THAT(adjust.steer().toward(), ElementsAre(3));
  EXPECT_THAT(adjust.steer().away(), ElementsAre(0, 5, 6));
  EXPECT_EQ(adjust.steer().epsilon(), 0.5);
  EXPECT_EQ(adjust.noise().tau(), 2);
  EXPECT_THAT(adjust.ban(), ElementsAre(7, 9, 10, 11));
  EXPECT_EQ(adjust.ban_mass(), v1::BAN_MASS_KEEP);
  EXPECT_THAT(adjust.force(), ElementsAre(3, 1));
  const v1::Adjust ban = Parse("top-k=4,ban=3+3").apply().adjust();
  EXPECT_THAT(ban.ban(), ElementsAre(3, 3)) << "the server says what is wrong";
  EXPECT_FALSE(ban.has_bias() || ban.has_steer() || ban.has_noise());
  EXPECT_FALSE(Parse("top-k=4").apply().has_adjust());
}

TEST(PolicySpec, AnExpressionStandsInQuotesWhereItHasSeparators) {
  EXPECT_EQ(Parse("keep=rank <= 8").apply().expression().keep(), "rank <= 8");
  EXPECT_EQ(Parse("keep=rank == 1,min=2").apply().expression().min_k(), 2u);
  const v1::Rule rule =
      Parse("mine@keep=\"min(p, p1 / 2) > 0.1\",max=9,calibration=c/top-k=1,decode").apply();
  EXPECT_EQ(rule.expression().keep(), "min(p, p1 / 2) > 0.1");
  EXPECT_EQ(rule.expression().max_k(), 9u);
  EXPECT_EQ(rule.expression().calibration_id(), "c");
  EXPECT_EQ(Parse("keep:keep=\"p > 0\"").apply().expression().keep(), "p > 0");
  EXPECT_EQ(Parse("keep=decode").apply().expression().keep(), "decode") << "a variable";
  EXPECT_EQ(Parse("keep=rank <= 2 && p > 0.1").policy_id(), "keep-rank-2-p-0-1");
  EXPECT_THAT(Error("keep"), HasSubstr("keep is missing"));
}

TEST(PolicySpec, ARuleForDecodeIsOneOfItsOwn) {
  const v1::RoutingPolicy policy = Parse("top-k=8/top-k=2,decode/top-k=4,layers=3,decode");
  EXPECT_EQ(policy.apply().top_k().k(), 8u);
  EXPECT_EQ(policy.decode().top_k().k(), 2u);
  EXPECT_EQ(policy.layer_overrides(0).decode().top_k().k(), 4u);
  EXPECT_THAT(Error("top-k=2,decode/top-k=3,decode"), HasSubstr("have a rule for decode already"));
  EXPECT_THAT(Error("top-k=2,decode,analyze"), HasSubstr("beside another use"));
}

TEST(PolicySpec, SeveralRulesAreAPolicyWithOverridesAndAnalysis) {
  const v1::RoutingPolicy policy = Parse(
      "wide@top-k=8/bh=0.1,calibration=c,analyze/top-k=4,layers=0-2+7/"
      "top-k=2,layers=0-2+7,analyze");
  EXPECT_EQ(policy.policy_id(), "wide");
  EXPECT_EQ(policy.apply().top_k().k(), 8u);
  EXPECT_EQ(policy.analyze().bh().alpha(), 0.1);
  ASSERT_EQ(policy.layer_overrides_size(), 1);  // the server refuses a layer twice
  EXPECT_THAT(policy.layer_overrides(0).layers(), ElementsAre(0, 1, 2, 7));
  EXPECT_EQ(policy.layer_overrides(0).apply().top_k().k(), 4u);
  EXPECT_EQ(policy.layer_overrides(0).analyze().top_k().k(), 2u);
}

TEST(PolicySpec, ARouterStandsBesideTheRules) {
  v1::RoutingPolicy policy = Parse("native/router=tuned.v2");
  EXPECT_EQ(policy.router(), "tuned.v2");
  EXPECT_FALSE(policy.has_apply());
  EXPECT_EQ(policy.policy_id(), "native-router-tuned-v2");
  EXPECT_EQ(FormatPolicySpec(policy), "native/router=tuned.v2");
  EXPECT_EQ(FormatPolicySpec(Parse(" router = tuned.v2 ")), "native/router=tuned.v2");
  policy = Parse("x@router=a/top-k=2/top-k=1,decode");
  EXPECT_EQ(policy.apply().top_k().k(), 2u);
  EXPECT_EQ(FormatPolicySpec(policy), "top-k=2/top-k=1,decode/router=a");
  EXPECT_EQ(Error("native/router"), "router: no name, as in router=tuned");
  EXPECT_EQ(Error("router=a/router=b"), "router: is given twice");
  EXPECT_EQ(Error("native/router=\xff"), "router: not UTF-8");
}

TEST(PolicySpec, WhatItFormatsItReadsBack) {
  for (const char* spec :
       {"native", "top-k=4", "top-p=0.7,min=1,max=16", "min-p=0.1,max=32,weights=sum-to-one",
        "bh=0.1234567890123,min=1,max=16,calibration=c", "bh=0.5,p-value=one-minus-prob",
        "hc,calibration=c", "hc=0.25,calibration=c,temperature=0.5",
        "native/bh=0.1,calibration=c,analyze", "top-k=8/top-k=4,layers=0-3/min-p=0.5,layers=5+7",
        "top-k=2,layers=1,analyze", "native/top-k=2,decode",
        "top-k=8,bias-scope=select,bias=0.5:-1,toward=3,away=0+5-6,epsilon=0.5,noise=2,"
        "ban=7+9-11,ban-mass=keep,force=3+1,layers=2",
        "keep=\"min(p, p1) / 2 > 0.1\",min=2,calibration=c,ban=4"}) {
    EXPECT_EQ(FormatPolicySpec(Parse(spec)), spec);
  }
}

TEST(PolicySpec, DefaultsAreLeftOutOfTheText) {
  EXPECT_EQ(FormatPolicySpec(Parse("bh:alpha=0.4,calibration=c,p-value=layer-cdf,temperature=1,"
                                   "weights=model-default")),
            "bh=0.4,calibration=c");
  EXPECT_EQ(FormatRuleSpec({RuleOf(v1::Rule()), {}, RuleUse::kApply}), "no rule");
}

TEST(PolicySpec, RangesAreLeftToTheServer) {
  EXPECT_EQ(Parse("top-k=0").apply().top_k().k(), 0u);
  EXPECT_EQ(Parse("bh=1.5").apply().bh().alpha(), 1.5);
  EXPECT_TRUE(std::isnan(Parse("bh=nan").apply().bh().alpha()));
  EXPECT_EQ(Parse("top-p=0.5,min=9,max=2").apply().top_p().min_k(), 9u);
  EXPECT_TRUE(Parse("bh=0.1,temperature=0").apply().bh().has_temperature());
}

TEST(PolicySpec, AZeroThatTheWireWouldLoseIsRefused) {
  EXPECT_THAT(Error("top-p=0.5,min=0"), HasSubstr("min=0 is not above 0"));
  EXPECT_THAT(Error("hc=0"), HasSubstr("beta=0 is not above 0"));
}

TEST(PolicySpec, AnUnknownKeyIsNamedWithThoseThatExist) {
  EXPECT_EQ(Error("top-p=0.5,mim=1"),
            "top-p: mim=1 is not a key of top-p; keys: p, min, max, weights, bias-scope, bias, "
            "toward, away, epsilon, noise, ban, ban-mass, force, layers, analyze, decode");
  EXPECT_EQ(Error("topk=4"), "\"topk\" is not a rule; rules: top-k, top-p, min-p, bh, hc, keep");
}

TEST(PolicySpec, EverythingThatIsWrongIsNamedAtOnce) {
  const std::string error = Error("bh=x,max=-1,weights=heavy,layers=3-1,analyze=no/top-q=1");
  for (const char* part :
       {"alpha=x is not a number", "max=-1 is not a number of experts",
        "weights=heavy is not one of model-default, native, sum-to-one, match-top-k-mass",
        "layers=3-1 is not a list of layers", "analyze", "takes no value", "\"top-q\""}) {
    EXPECT_THAT(error, HasSubstr(part));
  }
}

TEST(PolicySpec, OddFormsAreRefused) {
  EXPECT_THAT(Error("top-k"), HasSubstr("k is missing"));
  EXPECT_THAT(Error("bh,calibration=c"), HasSubstr("alpha is missing"));
  EXPECT_THAT(Error("top-k=4,k=5"), HasSubstr("k is given twice"));
  EXPECT_THAT(Error("top-k=4/top-k=5"), HasSubstr("have a rule already"));
  EXPECT_THAT(Error("top-k=4,layers=1/top-k=5,layers=1"), HasSubstr("have a rule already"));
  EXPECT_THAT(Error("bh=0.1,calibration="), HasSubstr("calibration= is empty"));
  EXPECT_THAT(Error("Wide@top-k=4"), HasSubstr("\"Wide\" is not a name"));
  EXPECT_THAT(Error("bh=0.1,calibration=\xff"), HasSubstr("not UTF-8"));
  for (const char* spec : {"", "/", "top-k=4/", "top-k=4/native", "@top-k=1", "=", "a@b@top-k=4"}) {
    EXPECT_FALSE(ParsePolicySpec(spec).ok()) << spec;
  }
}

TEST(PolicySpec, AFlagsValueIsWhatStandsBehindTheName) {
  const auto rule = ParseRule("bh", "alpha=0.4,min=1,layers=0-3,analyze");
  ASSERT_TRUE(rule.ok()) << rule.status();
  const auto& bh = std::get<routing::BenjaminiHochberg>(rule->rule.kind);
  EXPECT_EQ(bh.alpha, 0.4);
  EXPECT_EQ(bh.bounds.min_k, 1u);
  EXPECT_THAT(rule->layers, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(rule->use, RuleUse::kAnalyze);
}

TEST(PolicySpec, TheHelpHasEveryRuleAndKey) {
  const std::string help = PolicySpecHelp();
  for (const char* line :
       {"    top-k=K                        the K experts that the router scores highest\n",
        "    top-p=P[,BOUNDS]  ", "    min-p=RATIO[,BOUNDS]  ",
        "    bh=ALPHA[,BOUNDS][,P-VALUES]  ", "    hc[=BETA][,BOUNDS][,P-VALUES]  ",
        "    keep=EXPR[,BOUNDS][,P-VALUE]  ", "    ban=IDS  ", "    bias=X:X:...  ",
        "    bias-scope=select|both  ", "/router=ROUTER", "  BOUNDS: any of min=K, max=K\n",
        "  P-VALUES: any of p-value=layer-cdf|one-minus-prob, calibration=NAME, "
        "temperature=TEMPERATURE\n",
        "[,weights=model-default|native|sum-to-one|match-top-k-mass] [,ADJUSTMENT]\n"}) {
    EXPECT_THAT(help, HasSubstr(line));
  }
}

TEST(PolicySpec, ADefaultNameIsValidAndTellsPoliciesApart) {
  EXPECT_EQ(Parse("top-k=4").policy_id(), "top-k-4");
  EXPECT_EQ(Parse("top-p=0.7,max=16").policy_id(), "top-p-0-7-max-16");
  const std::string one = Parse("bh=0.4,min=1,max=16,calibration=wikitext").policy_id();
  const std::string other = Parse("bh=0.4,min=1,max=16,calibration=wikinews").policy_id();
  EXPECT_THAT(one, ::testing::StartsWith("bh-0-4-min-1-max-16-calib"));
  EXPECT_LE(one.size(), 32u);
  EXPECT_NE(one, other);
}

}  // namespace
}  // namespace olmoe::client::notation
