#include "client/app.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <streambuf>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/app_fixture.h"
#include "tests/client/fake_server.h"

namespace olmoe::client::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class AppTest : public AppFixture {
 protected:
  nlohmann::json Json() { return nlohmann::json::parse(out_.str()); }
};

v1::GenerateStreamResponse Delta(const std::string& text, uint32_t token) {
  v1::GenerateStreamResponse event;
  event.mutable_delta()->set_text(text);
  event.mutable_delta()->add_token_ids(token);
  return event;
}

v1::GenerateStreamResponse Done() {
  v1::GenerateStreamResponse event;
  auto* done = event.mutable_done();
  done->mutable_usage()->set_prompt_tokens(3);
  done->mutable_usage()->set_completion_tokens(2);
  // 4 rows, of which 3 were in the cache, 4 layers, 6 experts
  done->mutable_usage()->set_expert_activations(1 * 4 * 6);
  done->mutable_usage()->set_routed_tokens(1);
  done->mutable_usage()->set_cached_expert_activations(3 * 4 * 6);
  done->mutable_usage()->set_cached_prompt_tokens(3);
  done->mutable_timing()->mutable_decode()->set_nanos(500000000);
  done->mutable_timing()->mutable_time_to_first_token()->set_nanos(20000000);
  done->mutable_routing()->set_generation(5);
  done->mutable_routing()->set_arm_id("default");
  done->mutable_routing()->set_policy_id("top-k-6");
  done->set_seed(12);
  return event;
}

TEST_F(AppTest, GenerateStreamsTheTextAndEndsWithASummary) {
  server_.events = {Delta("Once", 1), Delta(" upon", 2), Done()};
  server_.model_info.set_num_layers(4);
  EXPECT_EQ(Run({"generate", "x"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(), "Once upon\n");
  EXPECT_EQ(err_.str(),
            "[generation 5, arm default, policy top-k-6 | 2 tokens, 2.0 tok/s, first after "
            "20.0 ms | 6.00 experts per token and layer | seed 12]\n");
}

TEST_F(AppTest, GenerateWithoutTextPrintsIds) {
  server_.events = {Delta("", 7), Delta("", 9), Done()};
  EXPECT_EQ(Run({"generate", "--tokens", "1,2"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(), "7,9\n");
  EXPECT_THAT(server_.generate_request.tokens().ids(), ElementsAre(1, 2));
}

TEST_F(AppTest, GenerateWritesTheFirstCompletionAsItComesAndTheOthersBehindIt) {
  auto second = Delta("There", 8), third = Delta("", 9);
  second.mutable_delta()->set_choice(1);
  third.mutable_delta()->set_choice(2);
  auto prompt = Delta("Once", 7);
  v1::ScoredToken* scored = prompt.mutable_delta()->add_prompt_tokens();
  scored->set_token_id(5);
  scored->set_logprob(-1.5);
  scored->set_rank(2);
  server_.events = {prompt, second, Delta(" upon", 7), third, Done()};
  EXPECT_EQ(Run({"generate", "x", "--completions", "3", "--prompt-logprobs", "0"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(),
            "Once upon\n[2]\nThere\n[3]\n9\n"
            "PROMPT TOKEN  LOGPROB  RANK  ALTERNATIVES\n"
            "           5  -1.5000     2\n");
}

TEST_F(AppTest, GenerateLeavesTheNumberOfCompletionsToTheServer) {
  server_.events = {Done()};
  EXPECT_EQ(Run({"generate", "x", "--completions", "4000000000"}), ExitCode::kOk);
  EXPECT_EQ(server_.generate_request.n(), 4'000'000'000u);
}

TEST_F(AppTest, GenerateRefusesWhatItCanNotSend) {
  EXPECT_EQ(Run({"generate", "x", "--logit-bias", "seven=1"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--logit-bias: \"seven=1\" is not ID=BIAS"));
  EXPECT_EQ(Run({"generate", "x", "--completions", "2", "--trace-out", "f"}), ExitCode::kUsage);
}

TEST_F(AppTest, GenerateSendsEveryFlag) {
  server_.events = {Done()};
  ASSERT_EQ(Run({"generate",
                 "hi",
                 "-n",
                 "5",
                 "--temperature",
                 "0.5",
                 "--sample-top-p",
                 "0.9",
                 "--sample-top-k",
                 "40",
                 "--sample-min-p",
                 "0.1",
                 "--repetition-penalty",
                 "1.1",
                 "--presence-penalty",
                 "0.2",
                 "--frequency-penalty",
                 "-0.3",
                 "--logit-bias",
                 "7=-100,9=2.5",
                 "--logit-bias",
                 "11=1",
                 "--completions",
                 "3",
                 "--prompt-logprobs",
                 "1",
                 "--include-stop",
                 "--show-special",
                 "--seed",
                 "7",
                 "--stop",
                 "[a]",
                 "--stop",
                 "b",
                 "--ignore-eos",
                 "--logprobs",
                 "2",
                 "--arm",
                 "control",
                 "--unit",
                 "alice",
                 "--request-id",
                 "r1",
                 "--no-special"}),
            ExitCode::kOk);
  const v1::GenerateRequest& request = server_.generate_request;
  EXPECT_EQ(request.text(), "hi");
  EXPECT_EQ(request.max_new_tokens(), 5u);
  EXPECT_EQ(request.sampling().temperature(), 0.5);
  EXPECT_EQ(request.sampling().top_p(), 0.9);
  EXPECT_EQ(request.sampling().top_k(), 40u);
  EXPECT_EQ(request.sampling().min_p(), 0.1);
  EXPECT_EQ(request.sampling().repetition_penalty(), 1.1);
  EXPECT_EQ(request.sampling().presence_penalty(), 0.2);
  EXPECT_EQ(request.sampling().frequency_penalty(), -0.3);
  EXPECT_EQ(request.sampling().logit_bias().size(), 3u);
  EXPECT_EQ(request.sampling().logit_bias().at(9), 2.5);
  EXPECT_EQ(request.n(), 3u);
  EXPECT_EQ(request.prompt_logprobs(), 1u);
  EXPECT_TRUE(request.include_stop());
  EXPECT_TRUE(request.has_skip_special_tokens());
  EXPECT_FALSE(request.skip_special_tokens());
  EXPECT_EQ(request.sampling().seed(), 7u);
  EXPECT_THAT(request.stop(), ElementsAre("[a]", "b"));
  EXPECT_TRUE(request.ignore_eos());
  EXPECT_EQ(request.logprobs(), 2u);
  EXPECT_EQ(request.routing().arm_id(), "control");
  EXPECT_EQ(request.unit_id(), "alice");
  EXPECT_EQ(request.request_id(), "r1");
  EXPECT_TRUE(request.has_add_special_tokens());
  EXPECT_FALSE(request.add_special_tokens());
}

TEST_F(AppTest, GenerateLeavesWhatIsNotAskedForToTheServer) {
  server_.events = {Done()};
  ASSERT_EQ(Run({"generate", "hi"}), ExitCode::kOk);
  const v1::GenerateRequest& request = server_.generate_request;
  EXPECT_FALSE(request.sampling().has_temperature());
  EXPECT_FALSE(request.sampling().has_seed());
  EXPECT_FALSE(request.has_logprobs());
  EXPECT_FALSE(request.has_routing());
  EXPECT_FALSE(request.has_add_special_tokens());
}

TEST_F(AppTest, ThePromptMayComeFromTheStandardInput) {
  server_.events = {Done()};
  ASSERT_EQ(Run({"generate", "-"}, "two\nlines\n"), ExitCode::kOk);
  EXPECT_EQ(server_.generate_request.text(), "two\nlines");
  ASSERT_EQ(Run({"generate"}, "piped"), ExitCode::kOk);
  EXPECT_EQ(server_.generate_request.text(), "piped");
}

TEST_F(AppTest, AnEmptyPromptIsSentAsOne) {
  server_.events = {Done()};
  ASSERT_EQ(Run({"generate", ""}, "not this"), ExitCode::kOk);
  EXPECT_TRUE(server_.generate_request.has_text());
  EXPECT_EQ(server_.generate_request.text(), "");
}

TEST_F(AppTest, LogprobsAreATableAfterTheText) {
  auto event = Delta("Hi", 3);
  auto* token = event.mutable_delta()->add_tokens();
  token->set_token_id(3);
  token->set_piece("\xe2\x82");
  token->set_logprob(-0.5);
  auto* other = token->add_top();
  other->set_token_id(4);
  other->set_logprob(-1.25);
  server_.events = {event, Done()};
  ASSERT_EQ(Run({"generate", "x", "--logprobs", "1"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("Hi\n"));
  EXPECT_THAT(out_.str(), HasSubstr("    3  \"\\xe2\\x82\"  -0.5000  4 -1.250\n"));
}

TEST_F(AppTest, GenerateJsonIsOneObject) {
  server_.generate_response.set_text("Once");
  server_.generate_response.set_seed(12);
  ASSERT_EQ(Run({"--json", "generate", "x"}), ExitCode::kOk);
  EXPECT_EQ(Json()["text"], "Once");
  EXPECT_EQ(Json()["seed"], "12");
  EXPECT_EQ(Json()["matched_stop"], "");  // zero values are there
  EXPECT_EQ(err_.str(), "");
}

TEST_F(AppTest, StreamJsonIsOneLineAnEvent) {
  server_.events = {Delta("a", 1), Done()};
  ASSERT_EQ(Run({"generate", "x", "--stream-json"}), ExitCode::kOk);
  std::istringstream lines(out_.str());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line)["delta"]["text"], "a");
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line)["done"]["routing"]["generation"], "5");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(AppTest, AStreamThatBreaksKeepsItsTextAndTellsWhy) {
  server_.events = {Delta("Once", 1)};
  server_.failure = absl::InternalError("layer 3: NaN");
  EXPECT_EQ(Run({"generate", "x"}), ExitCode::kFailed);
  EXPECT_EQ(out_.str(), "Once\n");
  EXPECT_EQ(err_.str(), "olmoectl: INTERNAL: layer 3: NaN\n");
}

// Takes a few characters, then fails, as a pipe does when its reader has gone.
class FullBuffer : public std::streambuf {
 protected:
  int_type overflow(int_type c) override { return ++taken_ > 8 ? traits_type::eof() : c; }

 private:
  int taken_ = 0;
};

TEST_F(AppTest, WhenNobodyReadsTheCallIsCancelled) {
  for (const char* flag : {"--no-color", "--stream-json"}) {
    FakeServer server;
    server.endless = true;
    FullBuffer buffer;
    std::ostream out(&buffer);
    EXPECT_EQ(RunApp({"generate", "x", flag, "--server", server.address()},
                     {.in = &in_, .out = &out, .err = &err_}),
              ExitCode::kFailed);
    server.cancelled.WaitForNotification();
  }
}

TEST_F(AppTest, ATimeoutEndsAnEndlessCall) {
  server_.endless = true;
  EXPECT_EQ(Run({"--timeout", "2", "generate", "x"}), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("DEADLINE_EXCEEDED"));
  server_.cancelled.WaitForNotification();
}

TEST_F(AppTest, ScorePairsContextsAndContinuations) {
  ASSERT_EQ(Run({"score", "--context", "a", "--continuation", "b", "--context", "c",
                 "--continuation", "d"}),
            ExitCode::kOk);
  ASSERT_EQ(server_.score_request.items_size(), 2);
  EXPECT_EQ(server_.score_request.items(0).context_text(), "a");
  EXPECT_EQ(server_.score_request.items(0).continuation_text(), "b");
  EXPECT_EQ(server_.score_request.items(1).context_text(), "c");
  EXPECT_EQ(server_.score_request.items(1).continuation_text(), "d");
}

TEST_F(AppTest, OneContextServesAllContinuations) {
  ASSERT_EQ(
      Run({"score", "--ids", "--context", "1,2", "--continuation", "3", "--continuation", "4,5"}),
      ExitCode::kOk);
  ASSERT_EQ(server_.score_request.items_size(), 2);
  EXPECT_THAT(server_.score_request.items(1).context_tokens().ids(), ElementsAre(1, 2));
  EXPECT_THAT(server_.score_request.items(1).continuation_tokens().ids(), ElementsAre(4, 5));
}

TEST_F(AppTest, ScoreTellsPerplexityAndBitsPerByte) {
  auto* result = server_.score_response.add_results();
  result->set_logprob_sum(-2 * std::log(8.0));
  result->set_token_count(2);
  result->set_byte_count(6);
  result->set_is_greedy(true);
  auto* token = result->add_tokens();
  token->set_token_id(11);
  token->set_logprob(-0.25);
  token->set_rank(3);
  ASSERT_EQ(Run({"score", "--continuation", " there", "--per-token"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(),
              HasSubstr("1  \" there\"      -4.1589       2      6  8.000      1.000  yes\n"));
  EXPECT_THAT(out_.str(), HasSubstr("1     11  -0.2500     3\n"));
  EXPECT_TRUE(server_.score_request.per_token());
}

TEST_F(AppTest, RollingTextIsThatOfAFileOrOfTheFlag) {
  const std::string path = ::testing::TempDir() + "/rolling.txt";
  std::ofstream(path) << "from a file";
  ASSERT_EQ(
      Run({"score", "--rolling", path, "--rolling", "-", "--rolling-text", "itself"}, "piped"),
      ExitCode::kOk);
  ASSERT_EQ(server_.score_request.items_size(), 3);
  EXPECT_EQ(server_.score_request.items(0).continuation_text(), "from a file");
  EXPECT_EQ(server_.score_request.items(1).continuation_text(), "piped");
  EXPECT_EQ(server_.score_request.items(2).continuation_text(), "itself");
  EXPECT_TRUE(server_.score_request.items(2).rolling());
  ASSERT_EQ(Run({"score", "--ids", "--rolling", "1,2"}), ExitCode::kOk);
  EXPECT_THAT(server_.score_request.items(0).continuation_tokens().ids(), ElementsAre(1, 2));
}

TEST_F(AppTest, TokenizePrintsPiecesAndSpansOrIds) {
  for (const uint32_t id : {5, 6}) server_.tokenize_response.add_ids(id);
  for (const char* piece : {"Once", " upon"}) server_.tokenize_response.add_pieces(piece);
  for (const uint32_t start : {0, 5}) server_.tokenize_response.add_start_offsets(start);
  for (const uint32_t end : {4, 9}) server_.tokenize_response.add_end_offsets(end);
  ASSERT_EQ(Run({"tokenize", "Once upon", "--special"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("    6  \" upon\"      5    9\n"));
  EXPECT_TRUE(server_.tokenize_request.add_special_tokens());
  ASSERT_EQ(Run({"tokenize", "Once upon", "--ids"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(), "5,6\n");
}

TEST_F(AppTest, DetokenizeTakesListsAndWords) {
  server_.detokenize_response.set_text("Once upon");
  ASSERT_EQ(Run({"detokenize", "5,6", "7", "--skip-special"}), ExitCode::kOk);
  EXPECT_EQ(out_.str(), "Once upon\n");
  EXPECT_THAT(server_.detokenize_request.ids(), ElementsAre(5, 6, 7));
  EXPECT_TRUE(server_.detokenize_request.skip_special_tokens());
}

TEST_F(AppTest, PatchOfAllLayersIsThePolicysOwnRule) {
  server_.patch_response.set_changed(true);
  server_.patch_response.set_previous_generation(1);
  server_.patch_response.mutable_current()->set_generation(2);
  ASSERT_EQ(Run({"patch", "--top-k", "4", "--weight-mode", "match-top-k-mass", "--expect", "1",
                 "--wait"}),
            ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("patched: generation 1 -> 2"));
  const v1::PatchRoutersRequest& request = server_.patch_request;
  EXPECT_EQ(request.policy().policy_id(), "top-k-4-weights-match-top-k-mass");
  EXPECT_EQ(request.policy().apply().top_k().k(), 4u);
  EXPECT_EQ(request.policy().apply().weight_mode(), v1::WEIGHT_MODE_MATCH_TOP_K_MASS);
  EXPECT_EQ(request.policy().layer_overrides_size(), 0);
  EXPECT_EQ(request.expected_generation(), 1u);
  EXPECT_EQ(request.wait_for_drain().seconds(), 60);
  EXPECT_FALSE(request.validate_only());
}

TEST_F(AppTest, PatchOfSomeLayersIsAnOverride) {
  ASSERT_EQ(Run({"patch", "--top-k", "2", "--layers", "0-1,3", "--policy-id", "thin", "--dry-run",
                 "--wait=0.5"}),
            ExitCode::kOk);
  const v1::PatchRoutersRequest& request = server_.patch_request;
  EXPECT_EQ(request.policy().policy_id(), "thin");
  EXPECT_FALSE(request.policy().has_apply());
  ASSERT_EQ(request.policy().layer_overrides_size(), 1);
  EXPECT_THAT(request.policy().layer_overrides(0).layers(), ElementsAre(0, 1, 3));
  EXPECT_EQ(request.policy().layer_overrides(0).apply().top_k().k(), 2u);
  EXPECT_FALSE(request.has_expected_generation());
  EXPECT_TRUE(request.validate_only());
  EXPECT_EQ(request.wait_for_drain().nanos(), 500000000);
}

TEST_F(AppTest, UnpatchSendsTheExpectedGeneration) {
  ASSERT_EQ(Run({"unpatch", "--expect", "9"}), ExitCode::kOk);
  EXPECT_EQ(server_.unpatch_request.expected_generation(), 9u);
  EXPECT_FALSE(server_.unpatch_request.has_wait_for_drain());
}

TEST_F(AppTest, RoutingShowsCurrentAndDrainingPlans) {
  server_.routing_response.mutable_current()->set_generation(4);
  server_.routing_response.add_draining()->set_generation(3);
  ASSERT_EQ(Run({"routing"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("generation 4"));
  EXPECT_THAT(out_.str(), HasSubstr("\ndraining: generation 3"));
}

TEST_F(AppTest, StatusListsRequests) {
  server_.status_response.set_running_requests(1);
  server_.status_response.set_kv_cache_capacity_bytes(1 << 20);
  auto* request = server_.status_response.add_requests();
  request->set_request_id("r1");
  request->set_method("generate");
  ASSERT_EQ(Run({"status"}), ExitCode::kOk);
  EXPECT_THAT(
      out_.str(),
      HasSubstr(
          "1 running, 0 queued, KV cache 0 B of 1.0 MiB, prompts kept 0 B, 0 tokens reused\n"));
  EXPECT_THAT(out_.str(), HasSubstr("r1       generate"));
}

TEST_F(AppTest, ModelSaysWhenThereIsNoTokenizer) {
  server_.model_info.set_num_experts(64);
  server_.model_info.set_default_top_k(8);
  ASSERT_EQ(Run({"model"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("experts      64, top-k 8\n"));
  EXPECT_THAT(out_.str(), HasSubstr("no: token ids only\n"));
}

TEST_F(AppTest, HealthIsOkOnlyWhenServing) {
  EXPECT_EQ(Run({"health"}), ExitCode::kOk);
  EXPECT_EQ(Run({"health", "olmoe.v1.RoutingAdminService", "--json"}), ExitCode::kOk);
  EXPECT_EQ(Json()["olmoe.v1.RoutingAdminService"], "SERVING");
  server_.SetServing("olmoe.v1.InferenceService", false);
  EXPECT_EQ(Run({"health"}), ExitCode::kUnreachable);
  EXPECT_THAT(out_.str(), HasSubstr("olmoe.v1.InferenceService  NOT_SERVING\n"));
  EXPECT_EQ(Run({"health", "no.such.Service"}), ExitCode::kRefused);
}

TEST_F(AppTest, EveryErrorHasItsExitCode) {
  const std::vector<std::pair<absl::Status, ExitCode>> cases = {
      {absl::InvalidArgumentError("x"), ExitCode::kRefused},
      {absl::AbortedError("x"), ExitCode::kRefused},
      {absl::PermissionDeniedError("x"), ExitCode::kNotAllowed},
      {absl::UnavailableError("x"), ExitCode::kUnreachable},
      {absl::InternalError("x"), ExitCode::kFailed},
  };
  for (const auto& [status, code] : cases) {
    server_.failure = status;
    for (const char* command : {"model", "routing", "status", "unpatch"}) {
      EXPECT_EQ(Run({command}), code) << command << " " << status;
      EXPECT_EQ(out_.str(), "");
    }
  }
}

TEST_F(AppTest, DetailsOfAnErrorArriveAsTextAndAsJson) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  server_.failure = absl::ResourceExhaustedError("queue full");
  server_.failure.SetPayload("type.googleapis.com/google.rpc.RetryInfo",
                             absl::Cord(retry.SerializeAsString()));
  EXPECT_EQ(Run({"model"}), ExitCode::kRefused);
  EXPECT_EQ(err_.str(), "olmoectl: RESOURCE_EXHAUSTED: queue full\n  retry after 2.00 s\n");
  EXPECT_EQ(Run({"model", "--json"}), ExitCode::kRefused);
  EXPECT_EQ(nlohmann::json::parse(err_.str())["details"][0]["retry_delay"], "2s");
}

TEST_F(AppTest, WhatTheCommandLineGetsWrongIsUsage) {
  const std::vector<std::vector<std::string>> cases = {
      {"generate", "x", "--tokens", "1"},
      {"generate", "--tokens", "1,x"},
      {"generate", "--tokens", ""},
      {"generate", "\xff"},
      {"generate", "x", "--stop", "\xc3"},
      {"generate", "x", "--max-new-tokens", "many"},
      {"generate", "x", "y"},
      {"generate", "x", "--seed", "-1"},
      {"generate", "x", "--seed", "18446744073709551616"},
      {"generate", "x", "--sample-top-k", "0x10"},
      {"generate", "x", "--temperature", "nan"},
      {"generate", "x", "--top-k", "4"},
      {"generate", "x", "--arm", "a", "--policy", "top-k=4"},
      {"generate", "x", "--policy", "nonsense=4"},
      {"score", "--rolling", "/no/such/file"},
      {"score", "--continuation", "a", "--top", "-1"},
      {"model", "--timeout", "inf"},
      {"model", "--server", "http://localhost:50051"},
      {"score"},
      {"score", "--continuation", "a", "--context", "b", "--context", "c"},
      {"score", "--ids", "--continuation", "a"},
      {"detokenize"},
      {"detokenize", "a"},
      {"patch"},
      {"patch", "--top-k", "2", "--layers", "4-2"},
      {"patch", "--top-k", "2", "--weight-mode", "heavy"},
      {"patch", "--top-k", "2", "--wait=long"},
      {"patch", "--top-k", "2", "--wait=nan"},
      {"patch", "--top-k", "2", "--wait=-1"},
      {"model", "--timeout", "-1"},
      {"completion", "tcsh"},
      {"frobnicate"},
      {},
  };
  for (const auto& arguments : cases) {
    EXPECT_EQ(Run(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(err_.str(), StartsWith("olmoectl: "));
    const std::string line = err_.str();
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1) << line;
  }
  EXPECT_EQ(Run({"generate", "-"}, "\xff"), ExitCode::kUsage);
}

TEST_F(AppTest, UsageErrorsAreJsonWhereRepliesAre) {
  const std::vector<std::vector<std::string>> cases = {
      {"--json", "frobnicate"},
      {"generate", "x", "--seed", "-1", "--json"},
      {"--json", "generate", "x", "--tokens", "1"},
      {"--json", "generate", "--tokens", "1,x"},
      {"--json", "generate", "\xff"},
      {"--json", "score", "--rolling", "/no/such/file"},
      {"--json", "route", "--policy", "top-p=2", "--logits", "-"},
  };
  for (const auto& arguments : cases) {
    EXPECT_EQ(Run(arguments, "[1, 2]"), ExitCode::kUsage) << ::testing::PrintToString(arguments);
    const auto error = nlohmann::json::parse(err_.str());
    EXPECT_EQ(error["code"], 3) << err_.str();
    EXPECT_NE(error["message"], "");
    EXPECT_EQ(out_.str(), "");
  }
}

TEST_F(AppTest, WhatIsMistypedIsGuessed) {
  EXPECT_EQ(Run({"generat", "x"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("\"generat\": no such command of olmoectl; did you mean "
                                    "generate? (see olmoectl --help)"));
  EXPECT_EQ(Run({"patch", "--topk", "4"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--topk: no such flag of olmoectl patch; did you mean --top-k? "
                                    "(see olmoectl patch --help)"));
  EXPECT_EQ(Run({"calibration", "biuld", "c"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(),
              HasSubstr("no such command of olmoectl calibration; did you mean build?"));
  EXPECT_EQ(Run({"model", "--sever", "localhost:1"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean --server?"));
}

TEST_F(AppTest, SamplingIsNotTakenForRouting) {
  EXPECT_EQ(Run({"generate", "x", "--top-k", "4"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--top-k: is --sample-top-k 4 for the sampling of tokens, and "
                                    "--policy top-k=4 for the routing to experts"));
  server_.events = {Done()};
  ASSERT_EQ(Run({"generate", "x", "--policy", "thin@top-k=4"}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(server_.generate_request.routing().policy().policy_id(), "thin");
  EXPECT_EQ(server_.generate_request.routing().policy().apply().top_k().k(), 4u);
  ASSERT_EQ(Run({"score", "--continuation", "x", "--policy", "top-p=0.5"}), ExitCode::kOk);
  EXPECT_EQ(server_.score_request.routing().policy().apply().top_p().p(), 0.5);
  server_.failure = absl::PermissionDeniedError("no");
  EXPECT_EQ(Run({"generate", "x", "--policy", "top-k=4"}), ExitCode::kNotAllowed);
  EXPECT_THAT(err_.str(), HasSubstr("start the server with --allow-inline-policy"));
}

TEST_F(AppTest, AMissingFileIsNotScoredAsItsName) {
  EXPECT_EQ(Run({"score", "--rolling", "stories.txt"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(),
              HasSubstr("stories.txt: cannot be read; --rolling-text scores a text itself"));
}

TEST_F(AppTest, AnotherServiceOnThePortIsNamed) {
  FakeServer other;
  other.failure = absl::UnimplementedError("");
  std::ostringstream out, err;
  const Console console = {.in = &in_, .out = &out, .err = &err};
  EXPECT_EQ(RunApp({"model", "--server", other.address()}, console), ExitCode::kRefused);
  EXPECT_EQ(RunApp({"routing", "--admin", other.address()}, console), ExitCode::kRefused);
  EXPECT_THAT(err.str(), HasSubstr("UNIMPLEMENTED: " + other.address() +
                                   " does not know this call: another service answers there"));
  EXPECT_THAT(err.str(), HasSubstr("--server is the address of olmoe-server's public port (its "
                                   "--listen, by default 127.0.0.1:50051)"));
  EXPECT_THAT(err.str(), HasSubstr("--admin is the address of olmoe-server's admin port (its "
                                   "--admin-listen, by default 127.0.0.1:50052)"));
}

TEST_F(AppTest, StatusTellsWhenADrainBegan) {
  server_.status_response.mutable_start_time()->set_seconds(0);
  ASSERT_EQ(Run({"status"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("serving since 1970-01-01 00:00:00 UTC: "));
  server_.status_response.set_draining(true);
  server_.status_response.mutable_drain_time()->set_seconds(3600);
  ASSERT_EQ(Run({"status"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("draining since 1970-01-01 01:00:00 UTC, started "
                                     "1970-01-01 00:00:00 UTC: "));
}

TEST(App, AnUnreachableServerIsNamed) {
  std::istringstream in;
  std::ostringstream out, err;
  EXPECT_EQ(RunApp({"model", "--server", "127.0.0.1:1"}, {.in = &in, .out = &out, .err = &err}),
            ExitCode::kUnreachable);
  EXPECT_THAT(err.str(), StartsWith("olmoectl: UNAVAILABLE: 127.0.0.1:1: "));
}

TEST_F(AppTest, ColourIsForTerminalsThatWantIt) {
  const auto model = [this](bool terminal, bool color, std::vector<std::string> arguments) {
    std::ostringstream out;
    arguments.insert(arguments.end(), {"status", "--admin", server_.address()});
    RunApp(arguments,
           {.in = &in_, .out = &out, .err = &err_, .out_is_terminal = terminal, .color = color});
    return out.str().find('\x1b') != std::string::npos;
  };
  EXPECT_TRUE(model(true, true, {}));
  EXPECT_FALSE(model(false, true, {}));
  EXPECT_FALSE(model(true, false, {}));  // NO_COLOR
  EXPECT_FALSE(model(true, true, {"--no-color"}));
}

}  // namespace
}  // namespace olmoe::client::commands
