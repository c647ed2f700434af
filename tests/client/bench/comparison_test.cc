// Arms against a control: from outcomes to sentences.
#include "client/bench/comparison.h"

#include <string>
#include <vector>

#include "client/bench/comparison_report.h"
#include "client/eval/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::bench {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint64_t kGeneration = 7;

v1::PlanRecord Plan(const std::vector<std::pair<std::string, uint32_t>>& weights) {
  v1::PlanRecord record;
  record.set_generation(kGeneration);
  for (const auto& [arm, weight] : weights) {
    v1::Arm* added = record.mutable_plan()->add_arms();
    added->set_arm_id(arm);
    added->set_weight(weight);
  }
  return record;
}

// Adds requests to a measurement, one a unit and each of the next unit.
class Experiment {
 public:
  // Units that each generate `tokens` tokens in `seconds`, which vary by `spread` of it.
  Experiment& Generate(const std::string& arm, int units, double seconds, double spread = 0,
                       uint32_t tokens = 8) {
    for (int i = 0; i < units; ++i) {
      Outcome outcome = Next(arm);
      outcome.done =
          outcome.due + absl::Seconds(seconds * (1 + spread * (random_.Uniform() - 0.5)));
      outcome.completion_tokens = tokens;
      recorder_.Add(outcome);
    }
    return *this;
  }
  // Units that each score `tokens` tokens of `logprob`.
  Experiment& Score(const std::string& arm, int units, double logprob, uint32_t tokens = 10) {
    for (int i = 0; i < units; ++i) {
      Outcome outcome = Next(arm);
      outcome.is_score = true;
      outcome.done = outcome.due + absl::Seconds(1);
      outcome.scored_tokens = tokens;
      outcome.logprob_sum = logprob * tokens;
      recorder_.Add(outcome);
    }
    return *this;
  }

  Comparison Compare(const absl::StatusOr<v1::PlanRecord>& plan, CompareOptions options = {}) {
    return bench::Compare(recorder_.measurement(), plan, options).value();
  }
  const Measurement& measurement() const { return recorder_.measurement(); }

 private:
  Outcome Next(const std::string& arm) {
    Outcome outcome;
    outcome.unit = next_++;
    outcome.due = absl::UnixEpoch();
    outcome.stamp.set_arm_id(arm);
    outcome.stamp.set_generation(kGeneration);
    return outcome;
  }

  Recorder recorder_{TimeWindow()};
  eval::Random random_{1};
  uint64_t next_ = 0;
};

// The sentence about a metric, or "".
std::string About(const Comparison& comparison, const std::string& title) {
  for (const std::string& sentence : Verdict(comparison)) {
    if (sentence.starts_with(title)) return sentence.substr(title.size() + 2);
  }
  return "";
}

TEST(Compare, WhatIsSlowerIsSaidWithItsInterval) {
  Experiment experiment;
  experiment.Generate("control", 50, 0.1).Generate("b", 50, 0.1031);
  const Comparison comparison = experiment.Compare(Plan({{"control", 1}, {"b", 1}}));
  EXPECT_EQ(About(comparison, "end-to-end latency"),
            "b is slower than control by 3.10% [3.10%, 3.10%]");
  EXPECT_EQ(About(comparison, "generated length"),
            "no difference between b and control shown: the interval [0.00%, 0.00%] holds 0");
  EXPECT_EQ(About(comparison, "log-probability of scored tokens"), "");
  EXPECT_EQ(Verdict(comparison)[0],
            "split: as planned: control 50 units (planned 50.0%), b 50 units (planned 50.0%); "
            "chi-square 0.00, p = 1");
}

TEST(Compare, WhatIsLessHasTheSizeOfTheDifference) {
  Experiment experiment;
  experiment.Score("control", 30, -2).Score("b", 30, -2.5).Generate("control", 30, 0.2);
  experiment.Generate("b", 30, 0.1, 0.4, 4);
  const Comparison comparison = experiment.Compare(Plan({{"control", 1}, {"b", 1}}));
  EXPECT_EQ(About(comparison, "log-probability of scored tokens"),
            "b is lower than control by 0.5000 [0.5000, 0.5000] nats a token");
  EXPECT_EQ(About(comparison, "generated length"),
            "b is shorter than control by 50.00% [50.00%, 50.00%]");
  EXPECT_THAT(About(comparison, "end-to-end latency"), StartsWith("b is faster than control by "));
}

TEST(Compare, EqualArmsShowNoDifference) {
  Experiment experiment;
  experiment.Generate("control", 200, 0.1, 1).Generate("b", 200, 0.1, 1);
  const Comparison comparison = experiment.Compare(Plan({{"control", 1}, {"b", 1}}));
  EXPECT_THAT(About(comparison, "end-to-end latency"),
              AllOf(StartsWith("no difference between b and control shown: the interval [-"),
                    HasSubstr("%] holds 0")));
}

TEST(Compare, ABrokenSplitIsSaidFirst) {
  Experiment experiment;
  experiment.Generate("control", 600, 0.1).Generate("b", 400, 0.2);
  const Comparison comparison = experiment.Compare(Plan({{"control", 1}, {"b", 1}}));
  ASSERT_TRUE(comparison.sample_ratio.has_value());
  EXPECT_TRUE(comparison.sample_ratio->is_broken());
  EXPECT_THAT(Verdict(comparison)[0], StartsWith("THE SPLIT IS BROKEN"));
  EXPECT_THAT(RenderComparison(comparison, render::Style()), StartsWith("THE SPLIT IS BROKEN"));
  // What the plan says is not broken.
  EXPECT_FALSE(experiment.Compare(Plan({{"control", 60}, {"b", 40}})).sample_ratio->is_broken());
}

TEST(Compare, AnArmThatGotNothingBreaksTheSplit) {
  Experiment experiment;
  experiment.Generate("control", 40, 0.1);
  const Comparison comparison = experiment.Compare(Plan({{"control", 1}, {"b", 1}}));
  EXPECT_TRUE(comparison.sample_ratio->is_broken());
  EXPECT_EQ(About(comparison, "end-to-end latency"),
            "too few units to tell: b has 0, control 40, and 20 are needed");
}

TEST(Compare, FewUnitsHaveNoInterval) {
  Experiment experiment;
  experiment.Generate("control", 40, 0.1).Generate("b", 19, 0.3);
  const Comparison comparison = experiment.Compare(Plan({{"control", 40}, {"b", 19}}));
  EXPECT_EQ(About(comparison, "end-to-end latency"),
            "too few units to tell: b has 19, control 40, and 20 are needed");
  const auto row = ComparisonJson(comparison)["differences"][0];
  EXPECT_TRUE(row["low"].is_null() && row["holm_p_value"].is_null());
  EXPECT_NEAR(row["difference"].get<double>(), 2, 1e-9);
}

TEST(Compare, ARatioToNothingIsNotMade) {
  Experiment experiment;
  experiment.Generate("control", 30, 0.1, 0, 0).Generate("b", 30, 0.1, 0, 4);
  const Comparison comparison = experiment.Compare(Plan({{"control", 1}, {"b", 1}}));
  EXPECT_EQ(About(comparison, "generated length"),
            "b has no relative difference: units of control have a mean of 0");
  EXPECT_NO_THROW(ComparisonJson(comparison).dump());
}

TEST(Compare, SeveralArmsHaveWiderIntervalsAndHolmsProcedure) {
  Experiment experiment;
  experiment.Generate("control", 100, 0.1, 1).Generate("b", 100, 0.108, 1);
  experiment.Generate("c", 100, 0.1, 1).Generate("d", 100, 0.2, 1);
  const Comparison all = experiment.Compare(Plan({{"control", 1}, {"b", 1}, {"c", 1}, {"d", 1}}));
  EXPECT_NEAR(all.interval_confidence, 1 - 0.05 / 3, 1e-12);
  ASSERT_EQ(all.differences.size(), 6u);  // two metrics
  std::vector<double> p_values, adjusted;
  for (size_t i = 0; i < 3; ++i) {
    p_values.push_back(all.differences[i].contrast.p_value);
    adjusted.push_back(*all.differences[i].holm_p_value);
  }
  EXPECT_EQ(adjusted, eval::HolmAdjusted(p_values));
  EXPECT_TRUE(all.differences[2].is_different);
  EXPECT_FALSE(all.differences[1].is_different);
  EXPECT_THAT(RenderComparison(all, render::Style()), HasSubstr("(Bonferroni: 98.33% each)"));
}

TEST(Compare, AlwaysValidIntervalsAreWider) {
  Experiment experiment;
  experiment.Generate("control", 100, 0.1, 1).Generate("b", 100, 0.11, 1);
  const auto plan = Plan({{"control", 1}, {"b", 1}});
  const auto fixed = experiment.Compare(plan).differences[0].contrast;
  const auto valid = experiment.Compare(plan, {.control = "", .always_valid = true, .seed = 0})
                         .differences[0]
                         .contrast;
  EXPECT_LT(*valid.low, *fixed.low);
  EXPECT_GT(*valid.high, *fixed.high);
  EXPECT_GT(valid.p_value, fixed.p_value);
}

TEST(Compare, TheControlIsThePlansFirstOrTheOneThatIsNamed) {
  Experiment experiment;
  experiment.Generate("a", 40, 0.1).Generate("b", 40, 0.1);
  const auto plan = Plan({{"b", 1}, {"by-name-only", 0}, {"a", 1}});
  EXPECT_EQ(experiment.Compare(plan).control, "b");
  EXPECT_EQ(experiment.Compare(absl::UnavailableError("no admin")).control, "a");
  const Comparison named =
      experiment.Compare(plan, {.control = "a", .always_valid = false, .seed = 0});
  EXPECT_EQ(named.control, "a");
  EXPECT_EQ(named.differences[0].arm, "b");
}

TEST(Compare, ASplitThatIsNotKnownIsNotTested) {
  Experiment experiment;
  experiment.Generate("a", 40, 0.1).Generate("b", 40, 0.1);
  const Comparison unknown = experiment.Compare(absl::UnavailableError("no admin"));
  EXPECT_EQ(Verdict(unknown)[0], "split: not tested: no admin");
  EXPECT_TRUE(ComparisonJson(unknown)["sample_ratio"].is_null());
  v1::PlanRecord older = Plan({{"a", 1}, {"b", 1}});
  older.set_generation(6);
  EXPECT_EQ(
      Verdict(experiment.Compare(older))[0],
      "split: not tested: the plan was of generation 6 before the run, and requests saw 7 to 7");
  EXPECT_EQ(Verdict(experiment.Compare(Plan({{"a", 1}})))[0],
            "split: not tested: the plan splits nothing");
}

TEST(Compare, OneArmIsNotCompared) {
  Experiment experiment;
  experiment.Generate("a", 40, 0.1);
  EXPECT_FALSE(Compare(experiment.measurement(), Plan({{"a", 1}}), {}).has_value());
  EXPECT_FALSE(Compare(experiment.measurement(), absl::UnavailableError(""), {}).has_value());
}

TEST(Compare, TheJsonHasEveryNumber) {
  Experiment experiment;
  experiment.Score("control", 30, -2).Score("b", 30, -2.5);
  const auto json = ComparisonJson(experiment.Compare(Plan({{"control", 1}, {"b", 1}})));
  EXPECT_EQ(json["sample_ratio"]["arms"]["b"]["units"], 30);
  EXPECT_EQ(json["sample_ratio"]["p_value"], 1);
  EXPECT_EQ(json["sample_ratio"]["degrees_of_freedom"], 1);
  ASSERT_EQ(json["differences"].size(), 2u);
  const auto& row = json["differences"][1];
  EXPECT_EQ(row["metric"], "logprob_per_token");
  EXPECT_EQ(row["scale"], "nats");
  EXPECT_EQ(row["control_mean"], -2);
  EXPECT_EQ(row["mean"], -2.5);
  EXPECT_EQ(row["difference"], -0.5);
  EXPECT_EQ(row["is_different"], true);
  EXPECT_EQ(row["verdict"], json["verdict"][2]);
  EXPECT_EQ(json["verdict"].size(), 3u);
}

}  // namespace
}  // namespace olmoe::client::bench
