// What a measurement is made of: arrivals, prompts, requests, times, sums.
#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <variant>
#include <vector>

#include "client/bench/arm_units.h"
#include "client/bench/histogram.h"
#include "client/bench/outcome.h"
#include "client/bench/prompt_mix.h"
#include "client/bench/recorder.h"
#include "client/bench/report.h"
#include "client/bench/traffic.h"
#include "client/eval/bootstrap.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::bench {
namespace {

using ::testing::HasSubstr;

absl::Time At(int ms) { return absl::UnixEpoch() + absl::Milliseconds(ms); }

TEST(Histogram, QuantilesAreThoseOfTheSortedValues) {
  eval::Random random(1);
  Histogram histogram;
  std::vector<double> values;
  for (int i = 0; i < 10000; ++i) {
    values.push_back(1e-9 * static_cast<double>(random.Below(size_t{1} << random.Below(40))));
    histogram.Add(absl::Seconds(values.back()));
  }
  std::sort(values.begin(), values.end());
  EXPECT_EQ(histogram.count(), values.size());
  EXPECT_NEAR(absl::ToDoubleSeconds(histogram.Max()), values.back(), 2e-9);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / 10000;
  EXPECT_NEAR(absl::ToDoubleSeconds(histogram.Mean()) / mean, 1, 1e-6);
  for (const double quantile : {0.01, 0.5, 0.95, 0.99, 1.0}) {
    const double exact = values[static_cast<size_t>(quantile * 10000) - 1];
    EXPECT_NEAR(absl::ToDoubleSeconds(histogram.Quantile(quantile)), exact, exact * 5e-4 + 2e-9)
        << quantile;
  }
}

TEST(Histogram, MergingIsAddingEverything) {
  Histogram one, other, both;
  one.Add(absl::Milliseconds(3), 2);
  other.Add(absl::Seconds(7));
  both.Add(absl::Milliseconds(3), 2);
  both.Add(absl::Seconds(7));
  one.Merge(other);
  EXPECT_EQ(one.count(), 3u);
  EXPECT_EQ(one.Mean(), both.Mean());
  EXPECT_EQ(one.Quantile(0.5), both.Quantile(0.5));
  EXPECT_EQ(one.Max(), absl::Seconds(7));
}

TEST(Histogram, HoursAndNegativeTimesHaveAPlace) {
  Histogram histogram;
  histogram.Add(absl::Hours(100));
  histogram.Add(-absl::Seconds(1));
  EXPECT_EQ(histogram.Max(), absl::Hours(100));
  EXPECT_EQ(histogram.Quantile(0.5), absl::ZeroDuration());
  EXPECT_EQ(Histogram().Quantile(0.5), absl::ZeroDuration());
}

TEST(Arrivals, ConstantOnesComeAtTheRate) {
  Arrivals arrivals({.per_second = 4, .constant = true});
  EXPECT_EQ(arrivals.Next(), absl::ZeroDuration());
  EXPECT_EQ(arrivals.Next(), absl::Milliseconds(250));
  EXPECT_EQ(arrivals.Next(), absl::Milliseconds(500));
}

TEST(Arrivals, PoissonIntervalsHaveTheMeanAndTheSpreadOfAnExponential) {
  Arrivals arrivals({.per_second = 100, .seed = 3}), same({.per_second = 100, .seed = 3});
  constexpr int kCount = 20000;
  double last = 0, sum_of_squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double next = absl::ToDoubleSeconds(arrivals.Next());
    ASSERT_EQ(next, absl::ToDoubleSeconds(same.Next()));
    ASSERT_GE(next, last);
    sum_of_squares += (next - last) * (next - last);
    last = next;
  }
  EXPECT_NEAR(last / kCount, 0.01, 0.0003);
  EXPECT_NEAR(sum_of_squares / kCount, 2 * 0.01 * 0.01, 2e-5);  // E[x^2] = 2 / rate^2
}

TEST(PromptMix, EveryFieldOfALineIsRead) {
  const auto mix =
      PromptMix::Parse(R"({"prompt": "a", "max_new_tokens": 7, "weight": 2.5})"
                       "\n\n"
                       R"({"token_ids": [1, 2], "method": "score", "continuation_token_ids": [3]})",
                       /*is_jsonl=*/true);
  ASSERT_TRUE(mix.ok()) << mix.status();
  std::map<bool, int> scores;
  eval::Random random(1);
  for (int i = 0; i < 7000; ++i) {
    const Prompt& prompt = mix->Draw(&random);
    ++scores[prompt.is_score];
    if (prompt.is_score) {
      EXPECT_EQ(prompt.ids, (std::vector<uint32_t>{1, 2}));
      EXPECT_EQ(prompt.continuation_ids, (std::vector<uint32_t>{3}));
    } else {
      EXPECT_EQ(prompt.text, "a");
      EXPECT_EQ(prompt.max_new_tokens, 7u);
    }
  }
  EXPECT_NEAR(scores[true], 2000, 150);  // 1 of 3.5
  EXPECT_TRUE(mix->HasText());
}

TEST(PromptMix, APlainFileHasAPromptALine) {
  const auto mix = PromptMix::Parse("{\"prompt\": 1}\r\n  \n", /*is_jsonl=*/false);
  ASSERT_TRUE(mix.ok());
  eval::Random random(1);
  EXPECT_EQ(mix->Draw(&random).text, "{\"prompt\": 1}");
}

TEST(PromptMix, WhatIsWrongIsToldWithItsLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "not JSON at byte 2"},
      {"[]", "must be an object"},
      {R"({"prompt": ""})", "prompt: must not be empty"},
      {R"({"prompt": "a", "token_ids": [1]})", "not both"},
      {R"({"weight": 1})", "needs prompt or token_ids"},
      {R"({"token_ids": [-1]})", "token_ids[0]: must be an integer from 0 to 4294967295"},
      {R"({"token_ids": []})", "token_ids: must be token ids"},
      {R"({"prompt": "a", "weight": 0})", "weight: must be above 0"},
      {R"({"prompt": "a", "max_new_tokens": 0})", "max_new_tokens: must be"},
      {R"({"prompt": "a", "method": "sing"})", "method: must be"},
      {R"({"prompt": "a", "continuation": "b"})", "method must be score"},
      {R"({"prompt": "a", "method": "score", "max_new_tokens": 3})", "not for score"},
      {R"({"prompt": "a", "wieght": 1})", "wieght: there is no such field"},
  };
  for (const auto& [line, problem] : cases) {
    const auto mix = PromptMix::Parse("{\"prompt\": \"fine\"}\n" + line, /*is_jsonl=*/true);
    EXPECT_THAT(mix.status().ToString(), HasSubstr("line 2: ")) << line;
    EXPECT_THAT(mix.status().ToString(), HasSubstr(problem)) << line;
  }
  EXPECT_THAT(PromptMix::Parse("\n", false).status().ToString(), HasSubstr("holds no prompt"));
}

TEST(UnitDraw, ZipfsLawFavoursTheFirst) {
  const UnitDraw draw(100, /*zipf=*/true);
  eval::Random random(1);
  std::map<uint32_t, int> counts;
  for (int i = 0; i < 50000; ++i) ++counts[draw.Draw(&random)];
  EXPECT_NEAR(counts[0] / static_cast<double>(counts[9]), 10, 1.5);
  EXPECT_LT(counts.rbegin()->first, 100u);
}

TEST(Traffic, ARequestDependsOnItsNumberAlone) {
  const Traffic::Options options = {.seed = 5,
                                    .random_tokens = 6,
                                    .vocab_size = 50,
                                    .max_new_tokens = 9,
                                    .temperature = 0.5,
                                    .ignore_eos = true,
                                    .arm = "wide",
                                    .units = 4,
                                    .zipf = false};
  const Traffic one(options, PromptMix::BuiltIn()), other(options, PromptMix::BuiltIn());
  (void)one.Make(0);
  const auto request = std::get<v1::GenerateRequest>(one.Make(7));
  EXPECT_EQ(request.SerializeAsString(),
            std::get<v1::GenerateRequest>(other.Make(7)).SerializeAsString());
  EXPECT_NE(request.tokens().SerializeAsString(),
            std::get<v1::GenerateRequest>(one.Make(8)).tokens().SerializeAsString());
  EXPECT_EQ(request.tokens().ids_size(), 6);
  for (const uint32_t id : request.tokens().ids()) EXPECT_LT(id, 50u);
  EXPECT_EQ(request.max_new_tokens(), 9u);
  EXPECT_EQ(request.sampling().temperature(), 0.5);
  EXPECT_TRUE(request.ignore_eos());
  EXPECT_EQ(request.routing().arm_id(), "wide");
  EXPECT_THAT(request.unit_id(), ::testing::MatchesRegex("u[0-3]"));
}

TEST(Traffic, AScoreWithoutContinuationScoresItsPrompt) {
  const Traffic rolling({}, PromptMix({{.text = "all of it", .is_score = true}}));
  const auto whole = std::get<v1::ScoreRequest>(rolling.Make(0)).items(0);
  EXPECT_TRUE(whole.rolling());
  EXPECT_EQ(whole.continuation_text(), "all of it");
  const Traffic pair({}, PromptMix({{.text = "a", .is_score = true, .continuation = " b"}}));
  const auto item = std::get<v1::ScoreRequest>(pair.Make(0)).items(0);
  EXPECT_FALSE(item.rolling());
  EXPECT_EQ(item.context_text(), "a");
  EXPECT_EQ(item.continuation_text(), " b");
}

TEST(Traffic, AUnitIsTheNumberOfItsIdOrTheRequestsOwn) {
  v1::GenerateRequest request;
  EXPECT_EQ(Traffic::UnitOf(request, 17), 17u);
  request.set_unit_id("u9999999");
  EXPECT_EQ(Traffic::UnitOf(request, 17), 9999999u);
  const Traffic traffic({.units = 3}, PromptMix::BuiltIn());
  EXPECT_LT(Traffic::UnitOf(traffic.Make(17), 17), 3u);
}

v1::GenerateStreamResponse Started(const std::string& arm, uint64_t generation) {
  v1::GenerateStreamResponse event;
  event.mutable_started()->set_prompt_tokens(3);
  event.mutable_started()->mutable_routing()->set_arm_id(arm);
  event.mutable_started()->mutable_routing()->set_generation(generation);
  return event;
}

v1::GenerateStreamResponse Tokens(int count) {
  v1::GenerateStreamResponse event;
  event.mutable_delta()->set_text("x");
  for (int i = 0; i < count; ++i) event.mutable_delta()->add_token_ids(1);
  return event;
}

// Two tokens at 100 ms, text without a token, four at 300 ms.
Outcome TimedOutcome(TimeWindow window) {
  OutcomeTimer timer(At(0), At(20), window);
  timer.OnEvent(Started("wide", 4), At(50));
  timer.OnEvent(Tokens(2), At(100));
  timer.OnEvent(Tokens(0), At(200));
  timer.OnEvent(Tokens(4), At(300));
  return timer.Finish(absl::OkStatus(), At(310));
}

TEST(OutcomeTimer, TimesCountFromWhenTheRequestWasDue) {
  const Outcome outcome = TimedOutcome({});
  EXPECT_EQ(outcome.send_delay, absl::Milliseconds(20));
  ASSERT_TRUE(outcome.first_token.has_value());
  EXPECT_EQ(*outcome.first_token, absl::Milliseconds(100));
  EXPECT_EQ(outcome.done - outcome.due, absl::Milliseconds(310));
  EXPECT_EQ(outcome.prompt_tokens, 3u);
  EXPECT_EQ(outcome.completion_tokens, 6u);
}

TEST(Recorder, AMessageOfSeveralTokensCountsAsThatManyLatencies) {
  Recorder recorder({.begin = At(0)});
  recorder.Add(TimedOutcome({.begin = At(0)}));
  const Measurement measurement = std::move(recorder).Finish(At(1000));
  const Histogram& gaps = measurement.all.inter_token;
  EXPECT_EQ(gaps.count(), 5u);  // tokens after the first
  EXPECT_EQ(gaps.Mean() * 5, absl::Milliseconds(200));
  EXPECT_EQ(gaps.Max(), absl::Milliseconds(50));
  EXPECT_EQ(gaps.Quantile(0.2), absl::ZeroDuration());
  EXPECT_EQ(measurement.arms.at("wide").inter_token.count(), 5u);
  EXPECT_EQ(measurement.generations, std::set<uint64_t>{4});
}

TEST(Recorder, OfTheWarmUpOnlyTokensInTheWindowCount) {
  const TimeWindow window = {.begin = At(200), .end = At(1200)};
  Recorder recorder(window);
  recorder.Add(TimedOutcome(window));
  const Measurement measurement = std::move(recorder).Finish(At(5000));
  EXPECT_EQ(measurement.warmup_requests, 1u);
  EXPECT_EQ(measurement.all.requests, 0u);
  EXPECT_EQ(measurement.all.tokens_in_window, 4u);
  EXPECT_EQ(measurement.Seconds(), 1);
}

TEST(Recorder, ErrorsAreCountedByCodeAndDropsAreErrors) {
  Recorder recorder({.begin = At(0)});
  for (const char* message : {"queue full", "still full"}) {
    OutcomeTimer timer(At(1), At(1), {});
    recorder.Add(timer.Finish(absl::ResourceExhaustedError(message), At(2)));
  }
  recorder.Add(TimedOutcome({}));
  recorder.AddDropped(At(3));
  const Measurement measurement = std::move(recorder).Finish(At(1000));
  EXPECT_EQ(measurement.all.errors.at("RESOURCE_EXHAUSTED").count, 2u);
  EXPECT_EQ(measurement.all.errors.at("RESOURCE_EXHAUSTED").first_message, "queue full");
  EXPECT_EQ(measurement.all.requests, 3u);
  EXPECT_EQ(measurement.ErrorRatio(), 0.75);
  EXPECT_EQ(measurement.all.duration.count(), 1u);
}

// A request of `unit` that took a second.
Outcome OutcomeOf(uint64_t unit, const absl::Status& status = absl::OkStatus()) {
  return OutcomeTimer(At(0), At(0), {}, unit).Finish(status, At(1000));
}

TEST(ArmUnits, RequestsOfAUnitAreOneSum) {
  ArmUnits units;
  for (int i = 0; i < 3; ++i) units.Add(OutcomeOf(7));
  units.Add(OutcomeOf(2));
  EXPECT_EQ(units.units(), 2u);
  const auto sums = units.Sums(Metric::kGenerateSeconds);
  ASSERT_EQ(sums.size(), 2u);
  EXPECT_EQ(sums[1].sum, 3);
  EXPECT_EQ(sums[1].weight, 3);
  EXPECT_TRUE(units.Sums(Metric::kLogprob).empty());
  EXPECT_TRUE(units.Sums(Metric::kFirstTokenSeconds).empty());
}

TEST(ArmUnits, TokensAfterTheFirstAreTimedOneByOne) {
  ArmUnits units;
  units.Add(TimedOutcome({}));
  const auto sums = units.Sums(Metric::kTokenSeconds);
  ASSERT_EQ(sums.size(), 1u);
  EXPECT_EQ(sums[0].weight, 5);
  EXPECT_NEAR(sums[0].sum, 0.2, 1e-9);
  EXPECT_NEAR(units.Sums(Metric::kFirstTokenSeconds)[0].sum, 0.1, 1e-9);
  EXPECT_EQ(units.Sums(Metric::kCompletionTokens)[0].sum, 6);
}

TEST(ArmUnits, AFailureCountsForTheSplitAlone) {
  ArmUnits units;
  units.Add(OutcomeOf(3, absl::InternalError("broken")));
  EXPECT_EQ(units.units(), 1u);
  EXPECT_TRUE(units.Sums(Metric::kGenerateSeconds).empty());
}

TEST(ArmUnits, ManyUnitsShareSumsAndAreStillCounted) {
  ArmUnits units;
  constexpr uint64_t kUnits = 3 * ArmUnits::kMostGroups;
  for (uint64_t unit = 0; unit < kUnits; ++unit) units.Add(OutcomeOf(unit));
  EXPECT_EQ(units.units(), kUnits);
  const auto sums = units.Sums(Metric::kGenerateSeconds);
  ASSERT_EQ(sums.size(), ArmUnits::kMostGroups);
  for (const auto& sum : sums) EXPECT_EQ(sum.weight, 3);
}

TEST(BootstrapMedian, IsTheMedianWithAnIntervalAroundIt) {
  const std::vector<double> values = {1.01, 0.99, 1.00, 1.02, 5.0};
  const eval::Median median = eval::BootstrapMedian(values, 1);
  EXPECT_EQ(median.value, 1.01);
  EXPECT_GE(*median.low, 0.99);
  EXPECT_LE(*median.low, 1.01);
  EXPECT_GE(*median.high, 1.01);
  EXPECT_FALSE(eval::BootstrapMedian(std::vector<double>{2.0}, 1).low.has_value());
}

TEST(P99Ratio, IsThatOfThePairAndAbsentWithoutTokens) {
  RunPair pair;
  EXPECT_FALSE(P99Ratio(pair).has_value());
  EXPECT_FALSE(MedianP99Ratio({pair}, 1).has_value());
  pair.without.measurement.all.inter_token.Add(absl::Milliseconds(10), 100);
  pair.with.measurement.all.inter_token.Add(absl::Milliseconds(11), 100);
  EXPECT_DOUBLE_EQ(*P99Ratio(pair), 1.1);
  EXPECT_DOUBLE_EQ(MedianP99Ratio({RunPair(), pair}, 1)->value, 1.1);
}

TEST(RenderBench, APairWithoutTokensHasNoRatio) {
  BenchReport report;
  report.pairs.resize(1);
  report.pairs[0].without.measurement.all.inter_token.Add(absl::Milliseconds(10));
  EXPECT_THAT(RenderBench(report, render::Style()),
              HasSubstr("without          10.0 ms             -      -"));
}

}  // namespace
}  // namespace olmoe::client::bench
