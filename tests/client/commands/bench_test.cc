// `olmoectl bench` against a fake server.
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "client/app.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/app_fixture.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client::commands {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A server that gives every request three tokens, one by one, in arm "a" or "b" after the
// last digit of its unit.
class BenchCommandTest : public AppFixture {
 protected:
  BenchCommandTest() {
    server_.model_info.set_vocab_size(10);
    server_.model_info.set_default_top_k(2);
    server_.model_info.set_has_tokenizer(true);
    server_.on_generate_stream = [this](const auto& request, const auto& write) {
      return Generate(request, write);
    };
    server_.on_patch = [this](const v1::PatchRoutersRequest& request) { return Patch(request); };
    server_.routing_response.mutable_current()->set_generation(1);
    server_.patch_response.mutable_current()->set_generation(99);
  }

  absl::Status Generate(const v1::GenerateRequest& request,
                        const std::function<bool(const v1::GenerateStreamResponse&)>& write) {
    {
      absl::MutexLock lock(&mu_);
      asked_.push_back(request);
      if (++answered_ <= refusals_) return absl::ResourceExhaustedError("queue full");
    }
    v1::GenerateStreamResponse event;
    auto* routing = event.mutable_started()->mutable_routing();
    const bool even = request.unit_id().empty() || (request.unit_id().back() - '0') % 2 == 0;
    routing->set_arm_id(std::string(even ? "a" : "b"));
    routing->set_policy_id(std::string("native"));
    routing->set_generation(1);
    event.mutable_started()->set_prompt_tokens(5);
    write(event);
    for (int i = 0; i < 3; ++i) {
      event.mutable_delta()->clear_token_ids();
      event.mutable_delta()->add_token_ids(1);
      write(event);
    }
    event.mutable_done()->mutable_timing()->mutable_queue()->set_nanos(1000000);
    write(event);
    return absl::OkStatus();
  }

  absl::StatusOr<v1::PatchRoutersResponse> Patch(const v1::PatchRoutersRequest& request) {
    if (!patch_failure_.ok()) return patch_failure_;
    v1::PatchRoutersResponse response;
    response.set_changed(true);
    response.mutable_current()->set_generation(request.expected_generation() + 1);
    absl::MutexLock lock(&mu_);
    patched_.push_back(request.policy());
    return response;
  }

  ExitCode Bench(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"bench", "--json"});
    return Run(std::move(arguments));
  }
  // The split that Generate makes.
  static v1::GetRoutingResponse TwoArms() {
    v1::GetRoutingResponse routing;
    routing.mutable_current()->set_generation(1);
    for (const char* name : {"b", "a"}) {
      v1::Arm* arm = routing.mutable_current()->mutable_plan()->add_arms();
      arm->set_arm_id(name);
      arm->set_weight(1);
    }
    return routing;
  }
  static json MetricOf(const json& comparison, const std::string& metric) {
    for (const json& row : comparison["differences"]) {
      if (row["metric"] == metric) return row;
    }
    return {};
  }
  json Result() { return json::parse(out_.str()); }

  testing::TempFolder folder_;
  absl::Mutex mu_;
  std::vector<v1::GenerateRequest> asked_;
  std::vector<v1::RoutingPolicy> patched_;
  int answered_ = 0, refusals_ = 0;
  absl::Status patch_failure_;
};

TEST_F(BenchCommandTest, EveryRequestIsMeasuredInItsArm) {
  ASSERT_EQ(Bench({"--requests", "40", "-c", "4", "--units", "10"}), ExitCode::kOk) << err_.str();
  const json run = Result()["run"];
  EXPECT_EQ(run["all"]["requests"], 40);
  EXPECT_EQ(run["all"]["completion_tokens"], 120);
  EXPECT_EQ(run["all"]["prompt_tokens"], 200);
  EXPECT_EQ(run["all"]["first_token_seconds"]["count"], 40);
  EXPECT_EQ(run["all"]["inter_token_seconds"]["count"], 80);
  EXPECT_EQ(run["all"]["queue_seconds"]["p50"], 0.001);
  EXPECT_GT(run["all"]["tokens_per_second"], 0);
  EXPECT_TRUE(run["all"]["perplexity"].is_null());
  int odd = 0;
  for (const auto& request : asked_) odd += (request.unit_id().back() - '0') % 2;
  EXPECT_EQ(run["arms"]["b"]["requests"], odd);
  EXPECT_EQ(run["arms"]["a"]["requests"], 40 - odd);
  EXPECT_TRUE(run["swaps"].is_null());
  EXPECT_EQ(Result()["load"]["loop"], "closed");
}

TEST_F(BenchCommandTest, TheTableNamesArmsAndLatencies) {
  ASSERT_EQ(Run({"bench", "--requests", "20", "--units", "10"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("ARM"));
  EXPECT_THAT(out_.str(), HasSubstr("\nb "));
  EXPECT_THAT(out_.str(), HasSubstr("inter-token"));
  EXPECT_THAT(out_.str(), ::testing::Not(HasSubstr("RESOURCE_EXHAUSTED")));
}

TEST_F(BenchCommandTest, ScoredPromptsGivePerplexity) {
  const std::string prompts = folder_.Write("p.jsonl", R"({"prompt": "a b", "method": "score"})");
  auto* result = server_.score_response.add_results();
  result->set_logprob_sum(0);
  result->set_token_count(2);
  server_.score_response.mutable_routing()->set_arm_id("a");
  ASSERT_EQ(Bench({"--requests", "3", "-c", "1", "--prompts", prompts}), ExitCode::kOk)
      << err_.str();
  EXPECT_EQ(Result()["run"]["arms"]["a"]["perplexity"], 1.0);
  EXPECT_EQ(Result()["run"]["all"]["scored_tokens"], 6);
  EXPECT_EQ(Result()["run"]["all"]["score_seconds"]["count"], 3);
  EXPECT_TRUE(server_.score_request.items(0).rolling());
}

TEST_F(BenchCommandTest, ArmsAreComparedWithThePlansFirst) {
  server_.routing_response = TwoArms();
  ASSERT_EQ(Bench({"--requests", "300", "--units", "100"}), ExitCode::kOk) << err_.str();
  const json comparison = Result()["comparison"];
  EXPECT_EQ(comparison["control"], "b");
  EXPECT_EQ(comparison["interval_confidence"], 0.95);
  EXPECT_EQ(comparison["intervals"], "bootstrap");
  const json ratio = comparison["sample_ratio"];
  std::set<std::string> odd, even;
  for (const auto& request : asked_) {
    ((request.unit_id().back() - '0') % 2 == 1 ? odd : even).insert(request.unit_id());
  }
  EXPECT_EQ(ratio["arms"]["b"]["units"], odd.size());
  EXPECT_EQ(ratio["arms"]["a"]["units"], even.size());
  EXPECT_EQ(ratio["arms"]["a"]["planned_share"], 0.5);
  EXPECT_EQ(ratio["is_broken"], false);
  const json length = MetricOf(comparison, "completion_tokens");
  EXPECT_EQ(length["arm"], "a");
  EXPECT_EQ(length["mean"], 3);
  EXPECT_EQ(length["difference"], 0);
  EXPECT_EQ(length["is_different"], false);
  EXPECT_THAT(comparison["verdict"][0], StartsWith("split: as planned: b "));
}

TEST_F(BenchCommandTest, ABrokenSplitComesFirst) {
  server_.routing_response = TwoArms();
  server_.routing_response.mutable_current()->mutable_plan()->mutable_arms(0)->set_weight(9);
  ASSERT_EQ(Run({"bench", "--requests", "100", "--units", "100", "--control", "a"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\nTHE SPLIT IS BROKEN"));
  EXPECT_THAT(out_.str(), HasSubstr("no difference between b and a shown"));
}

TEST_F(BenchCommandTest, AlwaysValidIntervalsAreNamedSo) {
  server_.routing_response = TwoArms();
  ASSERT_EQ(Bench({"--requests", "300", "--units", "100", "--always-valid"}), ExitCode::kOk);
  EXPECT_EQ(Result()["comparison"]["intervals"], "always_valid");
}

TEST_F(BenchCommandTest, WithoutASplitThereIsNothingToCompare) {
  ASSERT_EQ(Bench({"--requests", "3"}), ExitCode::kOk);
  EXPECT_TRUE(Result()["comparison"].is_null());
}

TEST_F(BenchCommandTest, AControlThatIsNoArmIsToldBeforeThereIsTraffic) {
  server_.routing_response = TwoArms();
  EXPECT_EQ(Bench({"--requests", "1", "--control", "c"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("the plan has no arm \\\"c\\\", it has b, a"));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(BenchCommandTest, ErrorsAreCountedByCodeAndEndInAnExitCode) {
  refusals_ = 2;
  EXPECT_EQ(Bench({"--requests", "10", "-c", "1"}), ExitCode::kFailed);
  const json all = Result()["run"]["all"];
  EXPECT_EQ(all["errors"]["RESOURCE_EXHAUSTED"]["count"], 2);
  EXPECT_EQ(all["errors"]["RESOURCE_EXHAUSTED"]["first_message"], "queue full");
  EXPECT_EQ(Result()["run"]["error_ratio"], 0.2);
  answered_ = 0;
  EXPECT_EQ(Bench({"--requests", "10", "-c", "1", "--max-error-ratio", "0.2"}), ExitCode::kOk);
}

TEST_F(BenchCommandTest, SwapsTakeTurnsBetweenTwoNamesOfTheModelsOwnRouting) {
  ASSERT_EQ(Bench({"--requests", "1", "--swap-every", "1ms"}), ExitCode::kOk) << err_.str();
  ASSERT_FALSE(patched_.empty());
  EXPECT_EQ(patched_[0].policy_id(), "bench-a");
  EXPECT_EQ(patched_[0].apply().top_k().k(), 2u);
  const json swaps = Result()["run"]["swaps"];
  EXPECT_EQ(swaps["swaps"], patched_.size());
  EXPECT_EQ(swaps["original_generation"], 1);
  EXPECT_EQ(swaps["restored_generation"], 99);
  EXPECT_EQ(server_.rollback_request.to_generation(), 1u);
}

TEST_F(BenchCommandTest, PairsTakeTurnsInTheirOrder) {
  ASSERT_EQ(Bench({"--requests", "4", "--swap-every", "1ms", "--paired", "2"}), ExitCode::kOk)
      << err_.str();
  const json result = Result();
  ASSERT_EQ(result["pairs"].size(), 2u);
  EXPECT_EQ(result["pairs"][0]["with_first"], false);
  EXPECT_EQ(result["pairs"][1]["with_first"], true);
  EXPECT_TRUE(result["pairs"][0]["without"]["swaps"].is_null());
  EXPECT_GT(result["pairs"][0]["with"]["swaps"]["swaps"], 0);
  EXPECT_GT(result["inter_token_p99_ratio"]["median"], 0);
  EXPECT_TRUE(result["run"].is_null());
  // Both runs of a pair ask for the same.
  ASSERT_EQ(asked_.size(), 16u);
  std::multiset<uint64_t> seeds;
  for (const auto& request : asked_) seeds.insert(request.sampling().seed());
  EXPECT_EQ(seeds.count(asked_[0].sampling().seed()), 4u);
}

TEST_F(BenchCommandTest, ARatioThatIsTooHighIsAnExitCode) {
  const std::vector<std::string> pair = {"--requests", "2", "--swap-every", "1ms", "--paired", "1"};
  auto strict = pair, lenient = pair;
  strict.insert(strict.end(), {"--max-p99-ratio", "1e-9"});
  lenient.insert(lenient.end(), {"--max-p99-ratio", "1e9"});
  EXPECT_EQ(Bench(strict), ExitCode::kFailed);
  EXPECT_EQ(Bench(lenient), ExitCode::kOk);
}

TEST_F(BenchCommandTest, ARefusedPolicyIsToldBeforeThereIsTraffic) {
  patch_failure_ = absl::InvalidArgumentError("top_k.k");
  EXPECT_EQ(Bench({"--requests", "1", "--swap-every", "1ms"}), ExitCode::kRefused);
  EXPECT_THAT(err_.str(), HasSubstr("top_k.k"));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(BenchCommandTest, AServerThatIsNotReadyIsTold) {
  server_.failure = absl::UnavailableError("loading");
  EXPECT_EQ(Bench({"--requests", "1"}), ExitCode::kUnreachable);
  EXPECT_EQ(out_.str(), "");
}

TEST_F(BenchCommandTest, AModelWithoutTokenizerGetsRandomTokens) {
  server_.model_info.set_has_tokenizer(false);
  ASSERT_EQ(Bench({"--requests", "1"}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(asked_[0].tokens().ids_size(), 16);
  const std::string prompts = folder_.Write("p.txt", "text");
  EXPECT_EQ(Bench({"--requests", "1", "--prompts", prompts}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("no tokenizer"));
}

TEST_F(BenchCommandTest, TheFileHasWhatIsPrinted) {
  const std::string path = folder_.File("out.json");
  ASSERT_EQ(Bench({"--requests", "3", "--json-out", path}), ExitCode::kOk);
  std::ifstream file(path);
  EXPECT_EQ(json::parse(file), Result());
}

TEST_F(BenchCommandTest, BadUsage) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--rate", "5", "-c", "2"}, "--rate"},
      {{"--rate", "0"}, "--rate"},
      {{"--arrival", "constant"}, "--rate"},
      {{"--duration", "soon"}, "is not a time"},
      {{"--swap-policy", "top-k=1"}, "--swap-every"},
      {{"--paired", "2"}, "--swap-every"},
      {{"--max-p99-ratio", "1.02"}, "--paired"},
      {{"--swap-every", "1us"}, "at least 1ms"},
      {{"--swap-every", "1s", "--swap-policy", "top-k=1"}, "two policies at least"},
      {{"--swap-every", "1s", "--swap-policy", "top-q=1", "top-k=1"}, "top-q"},
      {{"--swap-every", "1s", "--arm", "a"}, "--arm and --swap-every"},
      {{"--prompts", folder_.File("absent")}, "cannot be read"},
      {{"--prompts", folder_.Write("p.jsonl", "{}")}, "line 1: needs prompt"},
      {{"--json-out", folder_.File("no/out.json")}, "cannot be written"},
      {{"--max-error-ratio", "2"}, "--max-error-ratio"},
      {{"--control", "a", "--arm", "a"}, "--control"},
      {{"--always-valid", "--swap-every", "1s"}, "--always-valid"},
  };
  for (const auto& [arguments, message] : cases) {
    EXPECT_EQ(Bench(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(err_.str(), HasSubstr(message));
  }
}

}  // namespace
}  // namespace olmoe::client::commands
