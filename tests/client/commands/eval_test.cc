// `olmoectl eval` against a fake server.
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "client/app.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_server.h"
#include "tests/client/traced_result.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_data.h"

namespace olmoe::client::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A server whose every document is tokens 5 6 7, and whose every token costs 0.5 nats.
class EvalCommandTest : public ::testing::Test {
 protected:
  EvalCommandTest() {
    server_.model_info.set_num_layers(2);
    server_.model_info.set_num_experts(4);
    server_.model_info.set_default_top_k(3);
    server_.model_info.set_vocab_size(10);
    server_.model_info.set_eos_token_id(9);
    server_.model_info.set_max_context(8);
    server_.model_info.set_weights_digest("w1");
    for (const uint32_t id : {5, 6, 7}) server_.tokenize_response.add_ids(id);
    server_.score_response.mutable_routing()->set_policy_digest("d1");
    server_.on_score_stream = [this](const v1::ScoreRequest& request) { return Score(request); };
  }

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) {
    asked_.push_back(request);
    v1::ScoreResponse response;
    uint32_t tokens = 0;
    for (const v1::ScoreItem& item : request.items()) {
      v1::ScoreResult* result = response.add_results();
      const int count = item.has_continuation_text() ? 1 : item.continuation_tokens().ids_size();
      for (int i = 0; i < count; ++i) result->add_tokens()->set_rank(1);
      // A text is as likely as it is short.
      const double bytes = static_cast<double>(item.continuation_text().size());
      result->set_logprob_sum(-0.5 * count - bytes);
      result->set_token_count(static_cast<uint32_t>(count));
      result->set_byte_count(10 * static_cast<uint32_t>(count));
      const int context = item.rolling() ? 1 : item.context_tokens().ids_size();
      const uint32_t all = static_cast<uint32_t>(count + std::max(context, 1));
      tokens += all;
      if (!request.trace().experts()) continue;
      AddTrace(all - 1, 3, server_.model_info, request.trace(), result);
    }
    response.mutable_usage()->set_prompt_tokens(tokens);
    response.mutable_usage()->set_expert_activations(
        6 * (tokens - static_cast<uint32_t>(request.items_size())));
    response.mutable_routing()->set_policy_digest("d1");
    return response;
  }

  ExitCode Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "eval");
    arguments.insert(arguments.end(), {"--server", server_.address()});
    std::istringstream in;
    std::ostringstream out, err;
    asked_.clear();
    const ExitCode code = RunApp(arguments, {.in = &in, .out = &out, .err = &err});
    out_ = out.str();
    err_ = err.str();
    return code;
  }
  nlohmann::json Results() { return nlohmann::json::parse(out_)["results"]; }
  // The lines of a file of --per-item.
  static std::vector<nlohmann::json> Items(const std::string& path) {
    std::vector<nlohmann::json> items;
    std::istringstream lines(testing::ReadFileOrDie(path));
    for (std::string line; std::getline(lines, line);) items.push_back(nlohmann::json::parse(line));
    return items;
  }

  testing::TempFolder folder_;
  FakeServer server_;
  std::vector<v1::ScoreRequest> asked_;  // on streams
  std::string out_, err_;
};

TEST_F(EvalCommandTest, WindowsGoOverAStreamOfDocuments) {
  const std::string data = folder_.Write("a.txt", "x\n<|endoftext|>\ny\n");
  ASSERT_EQ(Run({"--data", data, "--window", "4", "--format", "json"}), ExitCode::kOk) << err_;
  // 9 | 5 6 7 9 | 5 6 7 9
  ASSERT_EQ(asked_.size(), 2u);
  EXPECT_THAT(asked_[0].items(0).context_tokens().ids(), ElementsAre(9));
  EXPECT_THAT(asked_[0].items(0).continuation_tokens().ids(), ElementsAre(5, 6, 7, 9));
  EXPECT_THAT(asked_[1].items(0).context_tokens().ids(), ElementsAre(9));
  EXPECT_FALSE(asked_[0].has_routing() && asked_[0].routing().has_policy());
  const auto result = Results().at(0);
  EXPECT_EQ(result["policy"], "served");
  EXPECT_EQ(result["tokens"], 8);
  EXPECT_EQ(result["loss"], 0.5);
  EXPECT_EQ(result["token_accuracy"], 1.0);
  EXPECT_EQ(result["experts_per_token"], 3.0);
  EXPECT_EQ(result["activations_per_token"], 6.0);
}

TEST_F(EvalCommandTest, AnOverlapIsContext) {
  const std::string data = folder_.Write("a.txt", "x\n<|endoftext|>\ny\n");
  ASSERT_EQ(Run({"--data", data, "--window", "4", "--stride", "2", "--in-flight", "1"}),
            ExitCode::kOk);
  ASSERT_EQ(asked_.size(), 3u);
  EXPECT_THAT(asked_[1].items(0).context_tokens().ids(), ElementsAre(6, 7, 9));
  EXPECT_THAT(asked_[1].items(0).continuation_tokens().ids(), ElementsAre(5, 6));
}

TEST_F(EvalCommandTest, WithoutAWindowADocumentIsScoredByItself) {
  const std::string data = folder_.Write("a.txt", "x\n<|endoftext|>\ny\n<|endoftext|>\nz");
  ASSERT_EQ(Run({"--data", data, "--limit", "2", "--policy", "top-k=2", "--policy", "thin@top-k=1",
                 "--format", "json"}),
            ExitCode::kOk)
      << err_;
  // Both policies have one digest here: what is known for one is known for the other.
  ASSERT_EQ(asked_.size(), 2u);
  EXPECT_TRUE(asked_[0].items(0).rolling());
  EXPECT_THAT(asked_[0].items(0).continuation_tokens().ids(), ElementsAre(5, 6, 7));
  EXPECT_EQ(asked_[0].routing().policy().apply().top_k().k(), 2u);
  ASSERT_EQ(Results().size(), 2u);
  EXPECT_EQ(Results()[0]["units"], 2);
  EXPECT_TRUE(Results()[0]["difference"].is_null());
  EXPECT_EQ(Results()[1]["policy"], "thin");
  EXPECT_EQ(Results()[1]["difference"], 0.0);
}

TEST_F(EvalCommandTest, QuestionsAreJudged) {
  // The shorter one is likelier; per byte the longer: -1.25 against -1.5.
  const std::string data =
      folder_.Write("q.jsonl", R"({"context": "Q", "continuations": [" ab", " a"], "label": 1})");
  ASSERT_EQ(Run({"--data", data, "--format", "json"}), ExitCode::kOk) << err_;
  const auto result = Results().at(0);
  EXPECT_EQ(result["kind"], "multiple_choice");
  EXPECT_EQ(result["acc"], 1.0);
  EXPECT_EQ(result["acc_norm"], 0.0);
  EXPECT_EQ(asked_[0].items(1).context_text(), "Q");
  EXPECT_EQ(asked_[0].items(1).continuation_text(), " a");
}

TEST_F(EvalCommandTest, QuestionsThatCannotBeAskedAreLeftOutAndCounted) {
  const std::string question = R"({"context": "Q", "continuations": [" ab", " a"], "label": 1})";
  const std::string data = folder_.Write("q.jsonl", question + "\n" + question + "\n" + question);
  server_.on_score_stream =
      [this](const v1::ScoreRequest& request) -> absl::StatusOr<v1::ScoreResponse> {
    absl::StatusOr<v1::ScoreResponse> response = Score(request);
    if (asked_.size() == 1) {  // one of its continuations has no token of its own
      *response->mutable_results(0) = {};
      response->mutable_results(0)->mutable_error()->set_code(3);
    }
    if (asked_.size() != 2) return response;
    absl::Status merged = absl::InvalidArgumentError("none has");
    google::rpc::ErrorInfo info;
    info.set_reason("CONTINUATION_MERGED");
    merged.SetPayload("type.googleapis.com/google.rpc.ErrorInfo",
                      absl::Cord(info.SerializeAsString()));
    return merged;
  };
  const std::string journal = folder_.File("journal");
  ASSERT_EQ(Run({"--data", data, "--resume", journal, "--in-flight", "1"}), ExitCode::kOk) << err_;
  EXPECT_THAT(out_, HasSubstr("q.jsonl: 2 of 3 questions are left out: a continuation merges"));
  server_.on_score_stream = [this](const v1::ScoreRequest& request) { return Score(request); };
  // They were not kept.
  ASSERT_EQ(Run({"--data", data, "--format", "json"}), ExitCode::kOk) << err_;
  EXPECT_EQ(Results()[0]["units"], 3);
  EXPECT_EQ(Results()[0]["skipped"], 0);
}

TEST_F(EvalCommandTest, ADataSetWithoutAQuestionThatCanBeAskedIsAnError) {
  const std::string data =
      folder_.Write("q.jsonl", R"({"context": "Q", "continuations": [" ab", " a"], "label": 1})");
  server_.on_score_stream = [this](const v1::ScoreRequest& request) {
    absl::StatusOr<v1::ScoreResponse> response = Score(request);
    response->mutable_results(1)->mutable_error()->set_code(3);
    return response;
  };
  EXPECT_EQ(Run({"--data", data}), ExitCode::kRefused);
  EXPECT_THAT(err_, HasSubstr("q.jsonl: no question can be asked"));
}

TEST_F(EvalCommandTest, AFullServerIsAskedAgain) {
  const std::string data = folder_.Write("a.txt", "x");
  int refusals = 2;
  server_.on_score_stream =
      [&](const v1::ScoreRequest& request) -> absl::StatusOr<v1::ScoreResponse> {
    if (refusals-- <= 0) return Score(request);
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(1000000);
    absl::Status status = absl::ResourceExhaustedError("queue full");
    status.SetPayload("type.googleapis.com/google.rpc.RetryInfo",
                      absl::Cord(retry.SerializeAsString()));
    return status;
  };
  ASSERT_EQ(Run({"--data", data, "--window", "2", "--format", "json"}), ExitCode::kOk) << err_;
  EXPECT_EQ(Results().at(0)["tokens"], 4);
}

TEST_F(EvalCommandTest, AServerThatNeverHasRoomIsGivenUp) {
  const std::string data = folder_.Write("a.txt", "x");
  server_.on_score_stream = [](const v1::ScoreRequest&) {
    absl::Status status = absl::ResourceExhaustedError("no pages");
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(1);
    status.SetPayload("type.googleapis.com/google.rpc.RetryInfo",
                      absl::Cord(retry.SerializeAsString()));
    return absl::StatusOr<v1::ScoreResponse>(status);
  };
  EXPECT_EQ(Run({"--data", data}), ExitCode::kRefused);
  EXPECT_THAT(err_, HasSubstr("a.txt, unit 1 of 1, served: no pages"));
}

TEST_F(EvalCommandTest, AnInterruptedRunGoesOnAndGivesTheSameNumbers) {
  const std::string data = folder_.Write("a.txt", "x\n<|endoftext|>\ny\n");
  const std::string journal = folder_.File("journal.jsonl");
  ASSERT_EQ(Run({"--data", data, "--window", "3", "--format", "json"}), ExitCode::kOk);
  auto whole = Results();
  int answers = 0;
  server_.on_score_stream =
      [&](const v1::ScoreRequest& request) -> absl::StatusOr<v1::ScoreResponse> {
    if (++answers > 2) return absl::InternalError("NaN in layer 3");
    return Score(request);
  };
  EXPECT_EQ(Run({"--data", data, "--window", "3", "--resume", journal, "--in-flight", "1"}),
            ExitCode::kFailed);
  EXPECT_THAT(err_, HasSubstr("a.txt, unit 3 of 3, served: NaN in layer 3"));
  EXPECT_THAT(err_, HasSubstr("goes on from there"));
  EXPECT_EQ(out_, "");

  server_.on_score_stream = [this](const v1::ScoreRequest& request) { return Score(request); };
  ASSERT_EQ(Run({"--data", data, "--window", "3", "--resume", journal, "--format", "json"}),
            ExitCode::kOk);
  EXPECT_EQ(asked_.size(), 1u);
  auto resumed = Results();
  EXPECT_GT(resumed[0]["tokens_per_second"], 0);
  whole[0].erase("tokens_per_second");
  resumed[0].erase("tokens_per_second");
  EXPECT_EQ(resumed, whole);

  // Now everything is there, the time too.
  ASSERT_EQ(Run({"--data", data, "--window", "3", "--resume", journal}), ExitCode::kOk);
  EXPECT_EQ(asked_.size(), 0u);
  const std::string again = out_;
  ASSERT_EQ(Run({"--data", data, "--window", "3", "--resume", journal}), ExitCode::kOk);
  EXPECT_EQ(out_, again);

  // Another model or another policy: nothing of it counts.
  server_.model_info.set_weights_digest("w2");
  ASSERT_EQ(Run({"--data", data, "--window", "3", "--resume", journal}), ExitCode::kOk);
  EXPECT_EQ(asked_.size(), 3u);
  server_.score_response.mutable_routing()->set_policy_digest("d2");
  server_.on_score_stream = [this](const v1::ScoreRequest& request) {
    auto response = Score(request);
    response->mutable_routing()->set_policy_digest("d2");
    return response;
  };
  ASSERT_EQ(Run({"--data", data, "--window", "3", "--resume", journal}), ExitCode::kOk);
  EXPECT_EQ(asked_.size(), 3u);
  // Other windows: of 9 | 5 6, 6 | 7 9, 9 | 5 6, 6 | 7 9 those of 6 | 7 9 are known.
  ASSERT_EQ(Run({"--data", data, "--window", "2", "--resume", journal}), ExitCode::kOk);
  EXPECT_EQ(asked_.size(), 2u);
}

TEST_F(EvalCommandTest, AnAnalyzedRuleIsDecidedOnTheLogitsOfTraces) {
  const std::string data = folder_.Write("a.txt", "x\n<|endoftext|>\ny\n");
  const std::string journal = folder_.File("journal");
  const std::vector<std::string> arguments = {
      "--data",   data,    "--window", "4",   "--policy", "top-k=3", "native/top-k=2,analyze",
      "--resume", journal, "--format", "json"};
  ASSERT_EQ(Run(arguments), ExitCode::kOk) << err_;
  // Both policies have one digest here, but the numbers of the first are not all that is needed.
  ASSERT_EQ(asked_.size(), 4u);
  EXPECT_FALSE(asked_[0].has_trace());
  EXPECT_TRUE(asked_[2].trace().experts() && asked_[2].trace().logits());
  const auto results = Results();
  EXPECT_TRUE(results[0]["analyzed_experts_per_token"].is_null());
  EXPECT_TRUE(results[0]["analyzed_overlap"].is_null());
  EXPECT_EQ(results[1]["experts_per_token"], 3.0);
  EXPECT_EQ(results[1]["analyzed_experts_per_token"], 2.0);
  EXPECT_EQ(results[1]["analyzed_overlap"], 2.0 / 3);
  ASSERT_EQ(Run(arguments), ExitCode::kOk) << err_;
  EXPECT_EQ(asked_.size(), 0u);
  EXPECT_EQ(Results()[1]["analyzed_overlap"], 2.0 / 3);
  // The table has the columns only where a policy analyzes.
  ASSERT_EQ(Run({"--data", data, "--window", "4", "--policy", "native/top-k=2,analyze"}),
            ExitCode::kOk);
  EXPECT_THAT(out_, HasSubstr("ACTIVATIONS  ANALYZED  OVERLAP"));
  EXPECT_THAT(out_, HasSubstr("2.00   0.6667"));
  ASSERT_EQ(Run({"--data", data, "--window", "4"}), ExitCode::kOk);
  EXPECT_THAT(out_, Not(HasSubstr("ANALYZED")));
}

TEST_F(EvalCommandTest, ExpertsAreCountedAndKeptInTheJournal) {
  const std::string data = folder_.Write("a.txt", "x\n<|endoftext|>\ny\n");
  const std::string journal = folder_.File("journal");
  const std::vector<std::string> arguments = {"--data",   data,    "--window", "4",
                                              "--resume", journal, "--json"};
  ASSERT_EQ(Run(arguments), ExitCode::kOk) << err_;
  EXPECT_FALSE(Results()[0].contains("expert_counts"));
  std::vector<std::string> counting = arguments;
  counting.push_back("--experts");
  for (const size_t asked : {2u, 0u}) {  // what the journal had was without counts
    ASSERT_EQ(Run(counting), ExitCode::kOk) << err_;
    EXPECT_EQ(asked_.size(), asked);
    EXPECT_EQ(Results()[0]["expert_counts"].dump(), "[[8,8,8,0],[8,8,8,0]]");
  }
  ASSERT_EQ(Run(arguments), ExitCode::kOk) << err_;
  EXPECT_EQ(asked_.size(), 0u);
  EXPECT_FALSE(Results()[0].contains("expert_counts"));
  EXPECT_EQ(Run({"--data", data, "--experts"}), ExitCode::kUsage);
  EXPECT_THAT(err_, HasSubstr("--experts needs --format json: a table has no place"));
}

TEST_F(EvalCommandTest, ATraceThatIsNotWholeIsAnError) {
  const std::string data = folder_.Write("a.txt", "x");
  server_.on_score_stream = [this](const v1::ScoreRequest& request) {
    auto response = Score(request);
    response->mutable_results(0)->clear_trace();
    return response;
  };
  EXPECT_EQ(Run({"--data", data, "--experts", "--json"}), ExitCode::kFailed);
  EXPECT_THAT(err_, HasSubstr("unit 1 of 1, served: the server's routing trace is not whole"));
}

TEST_F(EvalCommandTest, EveryItemIsALineOfItsOwn) {
  const std::string text = folder_.Write("a.txt", "x\n<|endoftext|>\ny\n");
  const std::string questions =
      folder_.Write("q.jsonl", R"({"context": "Q", "continuations": [" ab", " a"], "label": 0})");
  const std::string items = folder_.File("items.jsonl"), journal = folder_.File("journal");
  const std::vector<std::string> arguments = {"--data",   text,      questions,    "--policy",
                                              "top-k=1",  "top-k=2", "--per-item", items,
                                              "--resume", journal};
  ASSERT_EQ(Run(arguments), ExitCode::kOk) << err_;
  const auto lines = Items(items);
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[1]["data"], "a.txt");
  EXPECT_EQ(lines[1]["policy"], "top-k-1");
  EXPECT_EQ(lines[1]["policy_digest"], "d1");
  EXPECT_EQ(lines[1]["item"], 1);
  EXPECT_EQ(lines[1]["kind"], "text");
  EXPECT_EQ(lines[1]["tokens"], 3);
  EXPECT_EQ(lines[1]["bytes"], 30);
  EXPECT_EQ(lines[1]["logprob_sum"], -1.5);
  EXPECT_EQ(lines[1]["experts_per_token"], 3.0);
  EXPECT_TRUE(lines[1]["choice"].is_null() && lines[1]["correct"].is_null());
  EXPECT_EQ(lines[2]["policy"], "top-k-2");
  EXPECT_EQ(lines[5]["kind"], "multiple_choice");
  EXPECT_EQ(lines[5]["label"], 0);
  EXPECT_EQ(lines[5]["choice"], 1);
  EXPECT_EQ(lines[5]["correct"], false);
  EXPECT_EQ(lines[5]["correct_norm"], true);
  EXPECT_EQ(lines[5]["skipped"], false);
  // From the journal: the same lines.
  const std::string before = testing::ReadFileOrDie(items);
  ASSERT_EQ(Run(arguments), ExitCode::kOk) << err_;
  EXPECT_EQ(asked_.size(), 0u);
  EXPECT_EQ(testing::ReadFileOrDie(items), before);
  EXPECT_EQ(Run({"--data", text, "--per-item", folder_.path()}), ExitCode::kUsage);
  EXPECT_THAT(err_, HasSubstr("cannot be written"));
}

TEST_F(EvalCommandTest, AQuestionThatCannotBeAskedIsALineWithoutNumbers) {
  const std::string question = R"({"context": "Q", "continuations": [" ab", " a"], "label": 1})";
  const std::string data = folder_.Write("q.jsonl", question + "\n" + question);
  const std::string items = folder_.File("items.jsonl");
  server_.on_score_stream = [this](const v1::ScoreRequest& request) {
    auto response = Score(request);
    if (asked_.size() == 1) response->mutable_results(0)->mutable_error()->set_code(3);
    return response;
  };
  ASSERT_EQ(Run({"--data", data, "--per-item", items, "--in-flight", "1"}), ExitCode::kOk);
  EXPECT_EQ(Items(items)[0]["skipped"], true);
  EXPECT_TRUE(Items(items)[0]["logprob_sum"].is_null());
  EXPECT_EQ(Items(items)[1]["skipped"], false);
}

TEST_F(EvalCommandTest, ARoutingSeedIsSentAndPartOfWhatIsKept) {
  const std::string data = folder_.Write("a.txt", "x");
  const std::string journal = folder_.File("journal");
  ASSERT_EQ(Run({"--data", data, "--resume", journal}), ExitCode::kOk);
  EXPECT_FALSE(asked_.at(0).has_routing_seed());
  ASSERT_EQ(Run({"--data", data, "--resume", journal, "--routing-seed", "7"}), ExitCode::kOk);
  EXPECT_EQ(asked_.at(0).routing_seed(), 7u);
  ASSERT_EQ(Run({"--data", data, "--resume", journal, "--routing-seed", "7"}), ExitCode::kOk);
  EXPECT_EQ(asked_.size(), 0u);
}

TEST_F(EvalCommandTest, AServerWithoutInlinePoliciesGivesAHint) {
  const std::string data = folder_.Write("a.txt", "x");
  server_.score_failure = absl::PermissionDeniedError("inline policies are off");
  EXPECT_EQ(Run({"--data", data, "--policy", "top-k=1"}), ExitCode::kNotAllowed);
  EXPECT_THAT(err_, HasSubstr("policy: top-k-1"));
  EXPECT_THAT(err_, HasSubstr("--allow-inline-policy"));
  EXPECT_EQ(asked_.size(), 0u);
}

TEST_F(EvalCommandTest, EveryPolicyThatTheServerRefusesIsTold) {
  const std::string data = folder_.Write("a.txt", "x");
  server_.score_failure = absl::InvalidArgumentError("k");
  EXPECT_EQ(Run({"--data", data, "--policy", "top-k=0", "top-k=99"}), ExitCode::kRefused);
  EXPECT_THAT(err_, HasSubstr("policy: top-k-0"));
  EXPECT_THAT(err_, HasSubstr("policy: top-k-99"));
}

TEST_F(EvalCommandTest, ASwapInTheMiddleIsAnErrorAndNotAMixture) {
  const std::string data = folder_.Write("a.txt", "x");
  server_.score_response.mutable_routing()->set_policy_digest("d0");
  EXPECT_EQ(Run({"--data", data}), ExitCode::kRefused);
  EXPECT_THAT(err_, HasSubstr("the server's routing has changed during the evaluation"));
}

TEST_F(EvalCommandTest, AnArmIsAskedForByName) {
  const std::string data = folder_.Write("a.txt", "x");
  ASSERT_EQ(Run({"--data", data, "--arm", "control"}), ExitCode::kOk);
  EXPECT_EQ(asked_.at(0).routing().arm_id(), "control");
  EXPECT_THAT(out_, HasSubstr("arm control"));
}

TEST_F(EvalCommandTest, BadUsage) {
  const std::string data = folder_.Write("a.txt", "x");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "--data"},
      {{"--data", data + ".absent"}, "a.txt.absent: cannot be read"},
      {{"--data", data, "--policy", "top-q=1"}, "top-q"},
      {{"--data", data, "--policy", "top-k=1", "top-k=1"}, "two policies are called"},
      {{"--data", data, "--window", "9"}, "at most the model's context of 8"},
      {{"--data", data, "--window", "4", "--stride", "5"}, "--stride must be"},
      {{"--data", data, "--stride", "5"}, "--stride needs --window"},
      {{"--data", data, "--window", "-1"}, "--window"},
      {{"--data", data, "--in-flight", "33"}, "--in-flight"},
      {{"--data", data, "--format", "xml"}, "--format"},
      {{"--data", data, "--resume", data}, "is not a journal"},
  };
  for (const auto& [arguments, message] : cases) {
    EXPECT_EQ(Run(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(err_, StartsWith("olmoectl: "));
    EXPECT_THAT(err_, HasSubstr(message));
  }
}

}  // namespace
}  // namespace olmoe::client::commands
