// `olmoectl sweep` against a fake server.
#include <cstdint>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/app.h"
#include "client/notation/policy_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/app_fixture.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A model of two layers and four experts whose own k is 2. An expert fewer costs a token 3 nats in
// layer 0 and 1 in layer 1, an expert more gains a quarter of that; in both layers together an
// eighth of a nat comes on top.
class SweepTest : public AppFixture {
 protected:
  SweepTest() {
    server_.model_info.set_num_layers(2);
    server_.model_info.set_num_experts(4);
    server_.model_info.set_default_top_k(2);
    server_.model_info.set_vocab_size(10);
    server_.model_info.set_eos_token_id(9);
    server_.model_info.set_max_context(8);
    for (const uint32_t id : {5, 6, 7}) server_.tokenize_response.add_ids(id);
    const auto score = [this](const v1::ScoreRequest& request) { return Score(request); };
    server_.on_score = score;
    server_.on_score_stream = [this, score](const v1::ScoreRequest& request) {
      ++asked_;
      return score(request);
    };
    data_ = folder_.Write("a.txt", "x");
  }

  static std::vector<uint32_t> KsOf(const v1::RoutingPolicy& policy) {
    std::vector<uint32_t> ks(2, policy.has_apply() ? policy.apply().top_k().k() : 2);
    for (const v1::LayerOverride& some : policy.layer_overrides()) {
      for (const uint32_t layer : some.layers()) ks[layer] = some.apply().top_k().k();
    }
    return ks;
  }

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) {
    const std::vector<uint32_t> ks = KsOf(request.routing().policy());
    if (ks[0] > 4) return absl::InvalidArgumentError("top_k.k must be 1..4");
    double loss = 8;
    for (int layer = 0; layer < 2; ++layer) {
      const double fewer = 2.0 - ks[layer];
      loss += (layer == 0 ? 3 : 1) * (fewer > 0 ? fewer : fewer / 4);
    }
    if (ks[0] != 2 && ks[1] != 2) loss += 0.125;
    v1::ScoreResponse response;
    const uint32_t tokens =
        static_cast<uint32_t>(request.items(0).continuation_tokens().ids_size());
    v1::ScoreResult* result = response.add_results();
    for (uint32_t i = 0; i < tokens; ++i) result->add_tokens()->set_rank(1);
    result->set_logprob_sum(-loss * tokens);
    result->set_token_count(tokens);
    response.mutable_usage()->set_prompt_tokens(tokens + 1);
    response.mutable_usage()->set_expert_activations((ks[0] + ks[1]) * tokens);
    response.mutable_routing()->set_policy_digest(absl::StrCat(ks[0], "-", ks[1]));
    return response;
  }

  ExitCode Sweep(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"sweep", "--data", data_});
    asked_ = 0;
    return Run(std::move(arguments));
  }
  nlohmann::json Json() { return nlohmann::json::parse(out_.str()); }

  testing::TempFolder folder_;
  std::string data_;
  int asked_ = 0;  // on streams
};

TEST_F(SweepTest, AGridIsComparedWithTheModelsOwnRouting) {
  ASSERT_EQ(Sweep({"--grid", "top-k=1..3", "--grid", "top-k=3", "--policy",
                   "odd@top-k=3,layers=1/top-k=1,layers=0", "--json"}),
            ExitCode::kOk)
      << err_.str();
  const auto json = Json();
  std::vector<std::string> rows;
  for (const auto& row : json["results"]) {
    rows.push_back(absl::StrCat(row["policy"].get<std::string>(), " ",
                                row["activations_per_token"].get<double>(), " ",
                                row["loss"].get<double>(), row["pareto"] == true ? " *" : ""));
  }
  EXPECT_THAT(rows, ElementsAre("native 4 8 *", "top-k-1 2 12.125 *", "top-k-2 4 8 *",
                                "odd 4 10.875", "top-k-3 6 7.125 *"));
  EXPECT_EQ(asked_, 4);  // top-k=2 is the model's own
  EXPECT_TRUE(json["results"][0]["difference"].is_null());
  EXPECT_EQ(json["results"][4]["difference"], -0.875);
  EXPECT_TRUE(json["sensitivity"].is_null() && json["budget"].is_null());
}

TEST_F(SweepTest, LayersAreChangedAlone) {
  ASSERT_EQ(Sweep({"--layer-sensitivity", "--json"}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(Json()["sensitivity"].dump(), R"({"ks":[1,2],"losses":[[11.0,8.0],[9.0,8.0]]})");
  EXPECT_EQ(asked_, 3);
  ASSERT_EQ(Sweep({"--layer-sensitivity", "--layer-k", "1,3..4"}), ExitCode::kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("LAYER    K = 1    K = 3    K = 4\n"
                                    "    0  +3.0000  -0.7500  -1.5000\n"
                                    "    1  +1.0000  -0.2500  -0.5000\n"));
  EXPECT_THAT(out_.str(), Not(HasSubstr("Budget")));
}

TEST_F(SweepTest, ABudgetIsPlannedAndMeasured) {
  ASSERT_EQ(Sweep({"--budget", "4", "--layer-k", "1..4", "--json"}), ExitCode::kOk) << err_.str();
  // 3 and 1 cost 1 - 3/4, more than 2 and 2.
  auto budget = Json()["budget"];
  EXPECT_EQ(budget["ks"].dump(), "[2,2]");
  EXPECT_EQ(budget["policy"], "budget-4@native");
  ASSERT_EQ(Sweep({"--budget", "6", "--layer-k", "1..4", "--json"}), ExitCode::kOk) << err_.str();
  budget = Json()["budget"];
  EXPECT_EQ(budget["ks"].dump(), "[4,2]");
  EXPECT_EQ(budget["predicted_loss"], 6.5);
  EXPECT_EQ(budget["measured_loss"], 6.5);
  EXPECT_EQ(budget["plain_k"], 3);
  EXPECT_EQ(budget["plain_loss"], 7.125);
  EXPECT_EQ(budget["policy"], "budget-6@top-k=4,layers=0");
  ASSERT_EQ(Sweep({"--budget", "5", "--layer-k", "1,4", "--json"}), ExitCode::kOk) << err_.str();
  budget = Json()["budget"];
  EXPECT_EQ(budget["ks"].dump(), "[4,1]");
  EXPECT_EQ(budget["predicted_loss"], 7.5);
  EXPECT_EQ(budget["measured_loss"], 7.625);  // both layers are changed
  EXPECT_TRUE(budget["plain_k"].is_null() && budget["plain_loss"].is_null());
  // What is printed is taken by `patch`, and has these ks.
  EXPECT_THAT(KsOf(*notation::ParsePolicySpec(budget["policy"].get<std::string>())),
              ElementsAre(4, 1));
}

TEST_F(SweepTest, TheTableTellsHowToPatch) {
  for (const char* format : {"table", "markdown"}) {
    ASSERT_EQ(Sweep({"--budget", "6", "--layer-k", "1..4", "--format", format}), ExitCode::kOk);
    EXPECT_THAT(
        out_.str(),
        HasSubstr("Budget of 6: loss 6.5000 predicted, 6.5000 measured; 7.1250 with top-k=3 "
                  "in every layer\n\n"
                  "    olmoectl patch --policy 'budget-6@top-k=4,layers=0'\n"));
  }
  EXPECT_THAT(out_.str(), HasSubstr("| LAYER | K = 1 | K = 2 | K = 3 | K = 4 |\n| ---: |"));
  ASSERT_EQ(Sweep({"--budget", "6", "--layer-k", "1..4", "--format", "csv"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr(",pareto\n"));
  EXPECT_THAT(out_.str(), HasSubstr("a.txt,budget-6,"));
}

TEST_F(SweepTest, AnInterruptedSweepGoesOn) {
  const std::string journal = folder_.File("journal");
  server_.on_score_stream = [this](const v1::ScoreRequest& request) {
    return ++asked_ > 2 ? absl::StatusOr<v1::ScoreResponse>(absl::InternalError("NaN"))
                        : Score(request);
  };
  EXPECT_EQ(Sweep({"--layer-sensitivity", "--resume", journal}), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("a.txt, unit 1 of 1, top-k-1-layers-1: NaN"));
  EXPECT_THAT(err_.str(), HasSubstr("goes on from there"));
  server_.on_score_stream = [this](const v1::ScoreRequest& request) {
    ++asked_;
    return Score(request);
  };
  EXPECT_EQ(Sweep({"--layer-sensitivity", "--resume", journal}), ExitCode::kOk);
  EXPECT_EQ(asked_, 1);
}

TEST_F(SweepTest, APolicyThatTheServerRefusesIsToldBeforeAnythingIsComputed) {
  EXPECT_EQ(Sweep({"--grid", "top-k=4..5"}), ExitCode::kRefused);
  EXPECT_THAT(err_.str(), HasSubstr("policy: top-k-5"));
  EXPECT_EQ(asked_, 0);
}

TEST_F(SweepTest, BadUsage) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "what to compare is missing"},
      {{"--grid", "top-k=3..1"}, "is not a range of whole numbers"},
      {{"--grid", "top-q=1..3"}, "top-q"},
      {{"--grid", "one@top-k=1..3"}, "two policies are called \"one\""},
      {{"--policy", "top-k=1", "--data", data_}, "--data must be one file"},
      {{"--policy", "top-k=1", "--layer-k", "1"}, "--layer-k needs --layer-sensitivity"},
      {{"--layer-sensitivity", "--layer-k", "0"}, "is not a number of experts"},
      {{"--layer-sensitivity", "--layer-k", "1..5"}, "from 1 to the model's 4 experts"},
      {{"--budget", "1"}, "2 layers with 1 to 2 experts have 2 to 4"},
      {{"--budget", "5"}, "2 layers with 1 to 2 experts have 2 to 4"},
      {{"--budget", "18446744073709551615"}, "have 2 to 4"},
      {{"--budget", "6", "--layer-k", "1,4"}, "no sum of 2 of 1, 4; the nearest are 5 and 8"},
      {{"--budget", "0"}, "--budget"},
  };
  for (const auto& [arguments, message] : cases) {
    EXPECT_EQ(Sweep(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(err_.str(), HasSubstr(message));
    EXPECT_EQ(asked_, 0);
  }
}

}  // namespace
}  // namespace olmoe::client::commands
