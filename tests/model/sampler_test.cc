#include "server/model/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "server/model/log_softmax.h"

namespace olmoe::model {
namespace {

std::vector<float> RandomLogits(size_t size, uint32_t seed, double spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = static_cast<float>(normal(random));
  return logits;
}

SampledToken Sample(std::span<const float> logits, const SampleRequest& request) {
  SampledToken out;
  const absl::Status status = SampleRow(logits, request, &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

SampleRequest Request(const SamplingParams& params, int position = 0) {
  SampleRequest request;
  request.params = params;
  request.position = position;
  return request;
}

// The distribution that the parameters define, written down as one would say it: sort
// everything, in double, filter after filter.
std::map<TokenId, double> ReferenceDistribution(std::span<const float> logits,
                                                const SampleRequest& request) {
  const SamplingParams& params = request.params;
  std::vector<double> changed(logits.begin(), logits.end());
  for (const auto& [token, bias] : params.logit_bias) {
    changed[static_cast<size_t>(token)] += double{bias};
  }
  for (const TokenId token : std::set<TokenId>(request.history.begin(), request.history.end())) {
    double& logit = changed[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  }
  std::set<TokenId> present;
  for (const TokenId token : request.history.subspan(static_cast<size_t>(request.prompt_tokens))) {
    changed[static_cast<size_t>(token)] -= params.frequency_penalty;
    if (present.insert(token).second) {
      changed[static_cast<size_t>(token)] -= params.presence_penalty;
    }
  }
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return changed[static_cast<size_t>(a)] > changed[static_cast<size_t>(b)];
  });
  if (params.top_k > 0) {
    order.resize(std::min(order.size(), static_cast<size_t>(params.top_k)));
  }
  const auto normalized = [&] {
    std::vector<double> probabilities;
    double sum = 0;
    for (const TokenId token : order) {
      probabilities.push_back(
          std::exp((changed[static_cast<size_t>(token)] - changed[static_cast<size_t>(order[0])]) /
                   params.temperature));
      sum += probabilities.back();
    }
    for (double& probability : probabilities) probability /= sum;
    return probabilities;
  };
  std::vector<double> probabilities = normalized();
  double mass = 0;
  size_t kept = 0;
  while (kept < order.size() && (kept == 0 || mass < params.top_p)) mass += probabilities[kept++];
  order.resize(kept);
  probabilities = normalized();
  while (probabilities[order.size() - 1] < params.min_p * probabilities[0]) order.pop_back();
  probabilities = normalized();
  std::map<TokenId, double> distribution;
  for (size_t i = 0; i < order.size(); ++i) distribution[order[i]] = probabilities[i];
  return distribution;
}

// Pearson's statistic of 20000 draws, as its distance from the mean in standard
// deviations. A draw outside the reference's support fails.
double ChiSquareDeviations(std::span<const float> logits, SampleRequest request) {
  constexpr int kDraws = 20000;
  const std::map<TokenId, double> expected = ReferenceDistribution(logits, request);
  std::map<TokenId, int> found;
  for (request.position = 0; request.position < kDraws; ++request.position) {
    ++found[Sample(logits, request).token];
  }
  for (const auto& [token, number] : found) EXPECT_TRUE(expected.contains(token)) << token;
  double statistic = 0, rest = 0;
  int cells = 0, rest_found = 0;
  for (const auto& [token, probability] : expected) {
    const double wanted = probability * kDraws;
    if (wanted < 5) {  // Pearson's cells need some weight: the light ones are one cell
      rest += wanted;
      rest_found += found[token];
      continue;
    }
    statistic += std::pow(found[token] - wanted, 2) / wanted;
    ++cells;
  }
  if (rest > 5) {
    statistic += std::pow(rest_found - rest, 2) / rest;
    ++cells;
  }
  const double degrees = cells - 1;
  return degrees == 0 ? 0 : (statistic - degrees) / std::sqrt(2 * degrees);
}

TEST(Sampler, GreedyTakesTheLargestLogitAndTheLowestIdOfEqualOnes) {
  SamplingParams greedy;
  greedy.temperature = 0;
  EXPECT_EQ(Sample(std::vector<float>{1, 3, 2, 3, -1}, Request(greedy)).token, 1);
  EXPECT_EQ(Sample(std::vector<float>{-5, -5, -5}, Request(greedy)).token, 0);
  EXPECT_EQ(Sample(std::vector<float>{7}, Request(greedy)).token, 0);
}

TEST(Sampler, DrawsFollowTheDistributionOfEveryFilter) {
  const std::vector<float> logits = RandomLogits(300, 7, 2);
  const std::vector<TokenId> history = {5, 5, 17, 200, 5};
  struct Case {
    const char* name;
    SamplingParams params;
    bool history = false;
  };
  const Case cases[] = {
      {"plain", {.seed = 1}},
      {"cold", {.temperature = 0.5, .seed = 2}},
      {"hot", {.temperature = 1.9, .seed = 3}},
      {"top-k", {.top_k = 10, .seed = 4}},
      {"top-k 1", {.top_k = 1, .seed = 5}},
      {"top-k beyond the vocabulary", {.top_k = 10000, .seed = 6}},
      {"top-p", {.top_p = 0.8, .seed = 7}},
      {"small top-p", {.top_p = 1e-6, .seed = 8}},
      {"min-p", {.min_p = 0.1, .seed = 9}},
      {"min-p 1", {.min_p = 1, .seed = 10}},
      {"penalty", {.repetition_penalty = 1.7, .seed = 11}, true},
      {"reward", {.repetition_penalty = 0.6, .seed = 12}, true},
      {"presence", {.presence_penalty = 1.5, .seed = 14}, true},
      {"frequency", {.frequency_penalty = 0.8, .seed = 15}, true},
      {"negative frequency", {.frequency_penalty = -0.6, .seed = 16}, true},
      {"bias", {.logit_bias = {{3, 4.0f}, {17, -100.0f}, {200, 2.0f}}, .seed = 17}},
      {"all",
       {.temperature = 0.8,
        .top_p = 0.9,
        .top_k = 60,
        .min_p = 0.02,
        .repetition_penalty = 1.2,
        .presence_penalty = 0.3,
        .frequency_penalty = 0.4,
        .logit_bias = {{5, 3.0f}},
        .seed = 13},
       true},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    SampleRequest request = Request(test.params);
    if (test.history) {
      request.history = history;
      request.prompt_tokens = 1;
    }
    const double deviations = ChiSquareDeviations(logits, request);
    EXPECT_LT(deviations, 4);
    EXPECT_GT(deviations, -4);  // suspiciously even draws are wrong too
  }
}

// The chi-square test must be able to fail: here the reference has another temperature.
TEST(Sampler, ChiSquareNoticesASmallChangeOfTemperature) {
  std::vector<float> logits = RandomLogits(300, 7, 2);
  std::vector<float> warmer = logits;
  for (float& logit : warmer) logit *= 1.05f;
  SampleRequest request = Request({.seed = 1});
  const std::map<TokenId, double> a = ReferenceDistribution(logits, request);
  const std::map<TokenId, double> b = ReferenceDistribution(warmer, request);
  double statistic = 0;
  for (const auto& [token, p] : a) statistic += 20000 * std::pow(b.at(token) - p, 2) / p;
  EXPECT_GT(statistic / std::sqrt(2.0 * 299), 4);
}

TEST(Sampler, FiltersKeepExactlyTheReferenceSupport) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> logits = RandomLogits(2000, seed, 1);
    for (const SamplingParams& params :
         {SamplingParams{.top_p = 0.3}, SamplingParams{.top_p = 0.97}, SamplingParams{.top_k = 33},
          SamplingParams{.temperature = 1.3, .top_p = 0.6, .top_k = 500, .min_p = 0.05}}) {
      SampleRequest request = Request(params);
      request.params.seed = seed;
      const std::map<TokenId, double> expected = ReferenceDistribution(logits, request);
      std::set<TokenId> found;
      for (request.position = 0; request.position < 300; ++request.position) {
        found.insert(Sample(logits, request).token);
      }
      for (const TokenId token : found) EXPECT_TRUE(expected.contains(token));
    }
  }
}

TEST(Sampler, EqualLogitsAreKeptByAscendingId) {
  const std::vector<float> logits(100, 1.5f);
  SampleRequest request = Request({.top_k = 3, .seed = 3});
  std::set<TokenId> found;
  for (request.position = 0; request.position < 200; ++request.position) {
    found.insert(Sample(logits, request).token);
  }
  EXPECT_THAT(found, ::testing::ElementsAre(0, 1, 2));
  request.params = {.top_p = 0.05, .seed = 4};
  found.clear();
  for (request.position = 0; request.position < 300; ++request.position) {
    found.insert(Sample(logits, request).token);
  }
  EXPECT_THAT(found, ::testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST(Sampler, PenaltyCountsDistinctTokensOnceAndByTheSignOfTheLogit) {
  SamplingParams params;
  params.temperature = 0;
  params.repetition_penalty = 2;
  const std::vector<TokenId> history = {0, 0, 0, 0};
  SampleRequest request = Request(params);
  request.history = history;
  EXPECT_EQ(Sample(std::vector<float>{4.0f, 1.9f}, request).token, 0);  // 2 > 1.9
  EXPECT_EQ(Sample(std::vector<float>{4.0f, 2.1f}, request).token, 1);
  EXPECT_EQ(Sample(std::vector<float>{-1.0f, -1.9f}, request).token, 1);  // -2 < -1.9
}

TEST(Sampler, PresenceAndFrequencyCountTheCompletionAlone) {
  const std::vector<TokenId> history = {0, 0, 1, 1, 1};
  const auto greedy = [&](std::vector<float> logits, int prompt_tokens, SamplingParams params) {
    params.temperature = 0;
    SampleRequest request = Request(params);
    request.history = history;
    request.prompt_tokens = prompt_tokens;
    return Sample(logits, request).token;
  };
  EXPECT_EQ(greedy({4, 3.5, 0}, 2, {.presence_penalty = 1}), 0) << "token 0 is of the prompt";
  EXPECT_EQ(greedy({4, 3.5, 0}, 1, {.presence_penalty = 1}), 0) << "both lose 1";
  EXPECT_EQ(greedy({4, 3.5, 2.75}, 1, {.presence_penalty = 1}), 0);
  EXPECT_EQ(greedy({4, 3.5, 3.25}, 1, {.presence_penalty = 1}), 2);
  EXPECT_EQ(greedy({4, 5, 2.5}, 0, {.frequency_penalty = 1}), 2) << "4 - 2, 5 - 3";
  EXPECT_EQ(greedy({4, 5, 2.5}, 2, {.frequency_penalty = 1}), 0) << "4, 5 - 3";
}

TEST(Sampler, BiasChangesTheDrawAndNotTheLogprobs) {
  const std::vector<float> logits = {4, 3, 2};
  SampleRequest request = Request({.temperature = 0, .logit_bias = {{2, 2.5f}}});
  request.logprob = true;
  request.top = 1;
  const SampledToken biased = Sample(logits, request);
  EXPECT_EQ(biased.token, 2);
  EXPECT_EQ(biased.top[0].token, 0);
  ScoredRow row;
  ASSERT_TRUE(ScoreRow(logits, 2, 0, &row).ok());
  EXPECT_EQ(biased.logprob, row.logprob);
}

TEST(Sampler, DrawDependsOnSeedAndPositionOnly) {
  const std::vector<float> logits = RandomLogits(1000, 3);
  const SamplingParams params{.top_p = 0.95, .seed = 42};
  std::vector<TokenId> first, second;
  for (int position = 0; position < 50; ++position) {
    first.push_back(Sample(logits, Request(params, position)).token);
  }
  for (int position = 49; position >= 0; --position) {  // in another order
    SampleRequest request = Request(params, position);
    request.logprob = true;
    request.top = 5;
    second.insert(second.begin(), Sample(logits, request).token);
  }
  EXPECT_EQ(first, second);
  SamplingParams other = params;
  other.seed = 43;
  std::vector<TokenId> third;
  for (int position = 0; position < 50; ++position) {
    third.push_back(Sample(logits, Request(other, position)).token);
  }
  EXPECT_NE(first, third);
}

TEST(Sampler, LogprobsAreThoseOfTheUnchangedLogits) {
  const std::vector<float> logits = RandomLogits(500, 11);
  SampleRequest request = Request({.temperature = 0.3, .top_k = 4, .seed = 5});
  request.logprob = true;
  request.top = 20;
  const SampledToken sampled = Sample(logits, request);
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double log_sum = largest + std::log(sum);
  EXPECT_NEAR(sampled.logprob, logits[static_cast<size_t>(sampled.token)] - log_sum, 1e-5);
  ASSERT_EQ(sampled.top.size(), 20u);
  std::vector<float> sorted = logits;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (size_t i = 0; i < sampled.top.size(); ++i) {
    EXPECT_NEAR(sampled.top[i].logprob, sorted[i] - log_sum, 1e-5);
    EXPECT_EQ(logits[static_cast<size_t>(sampled.top[i].token)], sorted[i]);
  }
}

TEST(Sampler, AlternativesOfEqualLogitsComeById) {
  SampleRequest request = Request({.temperature = 0});
  request.top = 4;
  const SampledToken sampled = Sample(std::vector<float>{0, 2, 1, 2, 1, 1}, request);
  std::vector<TokenId> ids;
  for (const TokenLogprob& alternative : sampled.top) ids.push_back(alternative.token);
  EXPECT_THAT(ids, ::testing::ElementsAre(1, 3, 2, 4));
  request.top = 20;
  EXPECT_EQ(Sample(std::vector<float>{0, 2, 1}, request).top.size(), 3u);
}

TEST(Sampler, ScoreRankCountsTiesByIdAndTopIsSorted) {
  const std::vector<float> logits = {1, 5, 5, 0, 5};
  const uint32_t ranks[] = {4, 1, 2, 5, 3};
  for (TokenId target = 0; target < 5; ++target) {
    ScoredRow row;
    ASSERT_TRUE(ScoreRow(logits, target, 2, &row).ok());
    EXPECT_EQ(row.rank, ranks[target]) << target;
    ASSERT_EQ(row.top.size(), 2u);
    EXPECT_EQ(row.top[0].token, 1);
    EXPECT_EQ(row.top[1].token, 2);
    EXPECT_NEAR(
        row.logprob,
        logits[static_cast<size_t>(target)] - 5 - std::log(3 + std::exp(-4.0) + std::exp(-5.0)),
        1e-6);
  }
}

TEST(Sampler, NonFiniteLogitsAreAnErrorOfTheRow) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    std::vector<float> logits = RandomLogits(100, 1);
    logits[63] = bad;
    SampledToken sampled;
    ScoredRow scored;
    EXPECT_EQ(SampleRow(logits, Request({}), &sampled).message(), "head: logits are not finite");
    EXPECT_EQ(ScoreRow(logits, 5, 0, &scored).code(), absl::StatusCode::kInternal);
  }
}

TEST(Sampler, ExtremeLogitsAndParametersStayDefined) {
  constexpr float kHuge = std::numeric_limits<float>::max();
  const std::vector<float> logits = {-kHuge, kHuge, 0, 1};
  for (const double temperature : {1e-300, 1e-5, 1.0, 1e5}) {
    SampleRequest request = Request({.temperature = temperature, .top_p = 0.9, .min_p = 0.5});
    EXPECT_EQ(Sample(logits, request).token, 1);
  }
  const std::vector<TokenId> history = {0, 1};
  SampleRequest request = Request({.temperature = 0, .repetition_penalty = 0.01});
  request.history = history;
  request.logprob = true;
  EXPECT_EQ(Sample(logits, request).token, 1);
  ScoredRow row;
  ASSERT_TRUE(ScoreRow(logits, 1, 4, &row).ok());
  EXPECT_EQ(row.logprob, 0);
}

TEST(LogSoftmax, LogSumExpAgreesWithDoubleArithmetic) {
  for (const size_t size : {1u, 2u, 15u, 16u, 17u, 31u, 50304u}) {
    for (const double spread : {0.0, 1.0, 20.0, 300.0}) {
      const std::vector<float> logits = RandomLogits(size, 5, spread);
      const double largest = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (const float logit : logits) sum += std::exp(logit - largest);
      EXPECT_NEAR(LogSumExp(logits), largest + std::log(sum), 1e-6) << size << " " << spread;
    }
  }
}

}  // namespace
}  // namespace olmoe::model
