#include "client/trace/token_table.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/scored_text.h"

namespace olmoe::client::trace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int> Experts(const std::vector<Selection>& selections) {
  std::vector<int> experts;
  for (const Selection& one : selections) experts.push_back(one.expert);
  return experts;
}

TEST(TokenTable, GivesEachTokenTheRowThatItWasAnInputOf) {
  const auto table = TokenTable::Create(ScoredModel(), ScoredText());
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->num_tokens(), 3u);
  EXPECT_EQ(table->Score(0).token_id(), 10u);
  // Row 0 is the prefix token's; the first token of the text is in row 1.
  EXPECT_EQ(table->K(0, 0), 1);
  EXPECT_EQ(table->K(0, 1), 3);
  EXPECT_EQ(table->MeanK(0), 2);
  EXPECT_THAT(Experts(table->ExpertsOf(0, 0)), ElementsAre(2));
  EXPECT_THAT(Experts(table->ExpertsOf(0, 1)), ElementsAre(3, 0, 1));
  EXPECT_THAT(Experts(table->ExpertsOf(1, 1)), ElementsAre(1, 2));
  EXPECT_TRUE(table->HasRow(1));
  EXPECT_FALSE(table->HasRow(2));
}

TEST(TokenTable, EntropyIsThatOfAllLogits) {
  const auto table = TokenTable::Create(ScoredModel(), ScoredText());
  EXPECT_NEAR(table->Entropy(0, 0), std::log(4), 1e-6);  // equal logits
  // Probabilities 1/2, 1/6, 1/6, 1/6.
  EXPECT_NEAR(table->Entropy(0, 1), 0.5 * std::log(2) + 0.5 * std::log(6), 1e-6);
  EXPECT_NEAR(table->MeanEntropy(0), (std::log(4) + 0.5 * std::log(2) + 0.5 * std::log(6)) / 2,
              1e-6);
}

TEST(TokenTable, TheBusiestExpertsHaveTheLargestWeightsOfAllLayers) {
  const auto table = TokenTable::Create(ScoredModel(), ScoredText());
  const std::vector<Selection> two = table->Busiest(0, 2);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].layer, 1);
  EXPECT_EQ(two[0].expert, 3);
  EXPECT_EQ(two[0].weight, 0.5f);
  EXPECT_EQ(two[1].layer, 0);
  EXPECT_EQ(two[1].expert, 2);
  EXPECT_EQ(table->Busiest(0, 99).size(), 4u);
  EXPECT_TRUE(table->Busiest(0, 0).empty());
}

TEST(TokenTable, RefusesAnAnswerThatIsNotWhole) {
  const auto message = [](const v1::ScoreResponse& response) {
    return std::string(TokenTable::Create(ScoredModel(), response).status().message());
  };
  v1::ScoreResponse response = ScoredText();
  response.mutable_results(0)->mutable_trace()->clear_logits();
  EXPECT_THAT(message(response), HasSubstr("not whole"));
  response = ScoredText();
  response.mutable_results(0)->mutable_tokens()->RemoveLast();
  EXPECT_THAT(message(response), HasSubstr("3 positions for 2 tokens"));
  response.mutable_results(0)->clear_tokens();
  EXPECT_THAT(message(response), HasSubstr("tokens of one text"));
  EXPECT_THAT(message(v1::ScoreResponse()), HasSubstr("tokens of one text"));
  v1::GetModelInfoResponse none = ScoredModel();
  none.set_num_experts(0);
  EXPECT_FALSE(TokenTable::Create(none, ScoredText()).ok());
}

}  // namespace
}  // namespace olmoe::client::trace
