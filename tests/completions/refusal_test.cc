// What is refused, and how it is said.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/completions/completion_request.h"
#include "tests/completions/test_port.h"
#include "tests/support/temp_folder.h"

namespace olmoe::completions {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using testing::RawClient;
using ::testing::StartsWith;

Json With(const char* name, Json value) {
  Json request = {{"prompt", "hello"}, {"max_tokens", 2}, {"temperature", 0}};
  request[name] = std::move(value);
  return request;
}

TEST(RefusalTest, EveryFieldThatIsWrongIsNamed) {
  TestPort port;
  const std::vector<std::pair<const char*, Json>> wrong = {
      {"best_of", 2},
      {"suffix", "x"},
      {"n", 0},
      {"n", 17},
      {"n", 1.5},
      {"max_tokens", 0},
      {"max_tokens", -1},
      {"max_tokens", "7"},
      {"temperature", -1},
      {"temperature", "hot"},
      {"top_p", 0},
      {"top_p", 1.5},
      {"top_k", -2},
      {"min_p", 2},
      {"repetition_penalty", 0},
      {"presence_penalty", 2.5},
      {"frequency_penalty", -3},
      {"logit_bias", Json::array()},
      {"logit_bias", {{"1", 2}, {"01", 3}}},
      {"seed", 0.5},
      {"logprobs", 21},
      {"logprobs", true},
      {"stop", ""},
      {"stop", 7},
      {"stop", Json(std::vector<std::string>(65, "x"))},
      {"stop_token_ids", {1000}},
      {"echo", "yes"},
      {"stream", 1},
      {"stream_options", {{"include_usage", true}}},
      {"stream_options", {{"continuous", true}}},
      {"user", std::string(257, 'u')},
      {"request_id", "\u00fc"},
      {"routing", {{"arms", "a"}}},
      {"routing", {{"arm", "a"}, {"policy", Json::object()}}},
      {"model", 3},
      {"prompt", ""},
      {"prompt", Json::array()},
      {"prompt", {"a", 1}},
      {"prompt", {1, "a"}},
      {"prompt", {"a", Json{1}}},
      {"prompt", {Json{1}, "a"}},
      {"prompt", {-1}},
      {"prompt", {{1, 2}, {1000}}},
      {"prompt", 5},
      {"prompt", Json(std::vector<std::string>(257, "x"))},
      {"messages", Json::array()},
      {"ech\u00f6", true}};
  for (const auto& [name, value] : wrong) {
    const TestPort::Error error = port.Refusal(With(name, value));
    EXPECT_EQ(error.status, 400) << name << value;
    EXPECT_EQ(error.type, "invalid_request_error");
    const std::string shown = name == std::string("ech\u00f6") ? "ech" : name;
    EXPECT_THAT(error.param, StartsWith(shown)) << value << error.message;
    EXPECT_THAT(error.message, HasSubstr(shown));
  }
  EXPECT_EQ(port.Refusal({{"max_tokens", 1}}).param, "prompt");
  const TestPort::Error bias = port.Refusal(With("logit_bias", {{"x", 1}}));
  EXPECT_EQ(bias.param, "logit_bias.x");
  EXPECT_EQ(port.Refusal(With("logit_bias", {{"5", 101}})).param, "logit_bias[5]");
  EXPECT_EQ(port.Refusal(With("prompt", {{1, 2}, {1000}})).param, "prompt[1][0]");
  for (const Outcome& outcome : port.outcomes()) {
    EXPECT_EQ(outcome.method, "Completions");
    EXPECT_EQ(outcome.protocol, "http");
    EXPECT_FALSE(outcome.reached_engine);
  }
  EXPECT_EQ(port.outcomes().size(), wrong.size() + 4);
}

TEST(RefusalTest, NullIsUnset) {
  TestPort port;
  Json request = {{"prompt", "hello"}};
  for (const char* name : {"model",
                           "max_tokens",
                           "temperature",
                           "top_p",
                           "n",
                           "stream",
                           "stream_options",
                           "logprobs",
                           "echo",
                           "stop",
                           "presence_penalty",
                           "frequency_penalty",
                           "logit_bias",
                           "seed",
                           "user",
                           "top_k",
                           "min_p",
                           "repetition_penalty",
                           "ignore_eos",
                           "routing",
                           "routing_seed",
                           "suffix",
                           "best_of",
                           "request_id",
                           "return_routed_experts",
                           "return_token_ids",
                           "stop_token_ids",
                           "add_special_tokens",
                           "include_stop_str_in_output",
                           "skip_special_tokens"}) {
    request[name] = nullptr;
  }
  const Json reply = port.Complete(request);
  EXPECT_EQ(reply.at("usage").at("completion_tokens"), 16);  // OpenAI's default
}

TEST(RefusalTest, AllThatIsTakenIsTaken) {
  TestPort port;
  const Json request = {{"model", kModelId},
                        {"prompt", "hello"},
                        {"max_tokens", 3},
                        {"temperature", 0.5},
                        {"top_p", 0.9},
                        {"top_k", -1},
                        {"min_p", 0.01},
                        {"repetition_penalty", 1.1},
                        {"presence_penalty", 0.5},
                        {"frequency_penalty", -0.5},
                        {"logit_bias", {{"7", -100}, {"8", 0.5}}},
                        {"seed", -3},
                        {"n", 2},
                        {"best_of", 2},
                        {"stop", {"zzz"}},
                        {"stop_token_ids", {250}},
                        {"ignore_eos", true},
                        {"include_stop_str_in_output", true},
                        {"skip_special_tokens", false},
                        {"add_special_tokens", false},
                        {"logprobs", 2},
                        {"echo", true},
                        {"user", "unit"},
                        {"request_id", "mine"},
                        {"routing_seed", 4},
                        {"return_routed_experts", true},
                        {"return_token_ids", true}};
  EXPECT_EQ(port.Complete(request).at("id"), "cmpl-mine");

  const auto parsed = ParseCompletion(request.dump(), port.serving());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const engine::GenerateWork& work = parsed->prompts.at(0);
  EXPECT_EQ(work.prompt, engine::Bytes("hello"));
  EXPECT_EQ(work.max_new_tokens, 3);
  EXPECT_EQ(work.num_choices, 2);
  EXPECT_EQ(work.stop, std::vector<std::string>{"zzz"});
  EXPECT_EQ(work.stop_token_ids, std::vector<TokenId>{250});
  EXPECT_TRUE(work.ignore_eos && work.include_stop && !work.skip_special_tokens && work.logprobs);
  EXPECT_EQ(work.top_logprobs, 2);
  EXPECT_EQ(work.prompt_logprobs, 2);
  EXPECT_TRUE(work.trace.experts);
  EXPECT_EQ(work.sampling.temperature, 0.5);
  EXPECT_EQ(work.sampling.top_p, 0.9);
  EXPECT_EQ(work.sampling.top_k, 0);
  EXPECT_EQ(work.sampling.min_p, 0.01);
  EXPECT_EQ(work.sampling.repetition_penalty, 1.1);
  EXPECT_EQ(work.sampling.presence_penalty, 0.5);
  EXPECT_EQ(work.sampling.frequency_penalty, -0.5);
  EXPECT_EQ(work.sampling.seed, static_cast<uint64_t>(-3));
  ASSERT_EQ(work.sampling.logit_bias.size(), 2);
  EXPECT_EQ(work.sampling.logit_bias[0].first, 7);
  EXPECT_EQ(work.sampling.logit_bias[0].second, -100);
  EXPECT_EQ(parsed->routing.unit_id, "unit");
  EXPECT_EQ(parsed->routing.routing_seed, 4);
}

TEST(RefusalTest, WhatIsNoJsonOrHasAFieldTwiceIsRefused) {
  TestPort port;
  for (const char* body :
       {"", "{", "[]", "3", "{\"prompt\": \"a\"} x", "{\"prompt\": \"a\", \"prompt\": \"b\"}",
        "{\"prompt\": \"\xff\"}", "{\"prompt\": \"\\ud800\"}"}) {
    const Answer answer = port.Post("/v1/completions", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(Json::parse(answer.body).at("error").at("type"), "invalid_request_error");
  }
  const std::string deep = "{\"prompt\": " + std::string(100'000, '[') + "}";
  EXPECT_EQ(port.Post("/v1/completions", deep).status, 400);
}

TEST(RefusalTest, TheModelIsTheOneThatIsServed) {
  TestPort port;
  for (const char* name : {"other", "owner/tiny2", "owner", "owner/tiny@", "owner/tiny@ghost"}) {
    const TestPort::Error error = port.Refusal(With("model", name));
    EXPECT_EQ(error.status, 404) << name;
    EXPECT_EQ(error.code, "model_not_found");
  }
}

TEST(RefusalTest, AnArmMayBeNamedInTheModel) {
  TestPort port;
  routing::PlanSpec spec;
  for (const auto& [arm, k] : {std::pair("control", 2u), {"treatment", 1u}}) {
    routing::ArmSpec& added = spec.arms.emplace_back();
    added.arm_id = arm;
    added.weight = 1;
    added.allow_explicit = arm == std::string("treatment");
    added.policy.policy_id = absl::StrCat("top-", k);
    added.policy.apply = routing::Rule{.kind = routing::TopK{.k = k}};
  }
  ASSERT_TRUE(port.controller().Patch(spec, {}).ok());

  const Json models = Json::parse(port.Get("/v1/models").body).at("data");
  ASSERT_EQ(models.size(), 2);
  EXPECT_EQ(models.at(1).at("id"), "owner/tiny@treatment");
  EXPECT_EQ(models.at(1).at("max_model_len"), 1024);
  const Json named = port.Complete(With("model", "owner/tiny@treatment"));
  EXPECT_EQ(named.at("routing").at("arm_id"), "treatment");
  EXPECT_EQ(port.Complete(With("routing", {{"arm", "treatment"}})).at("choices"),
            named.at("choices"));
  EXPECT_EQ(port.Refusal(With("model", "owner/tiny@control")).status, 404);
  EXPECT_EQ(port.Refusal(With("routing", {{"arm", "control"}})).status, 403);
  Json both = With("model", "owner/tiny@treatment");
  both["routing"] = {{"arm", "control"}};
  EXPECT_EQ(port.Refusal(both).param, "routing");
}

TEST(RefusalTest, PoliciesAndReplaysAreTheirMessagesInJson) {
  TestPortOptions options;
  options.serving.allow_inline_policy = true;
  TestPort port(options);
  const Json policy = {{"policy", {{"policyId", "one"}, {"apply", {{"topK", {{"k", 1}}}}}}}};
  const Json reply = port.Complete(With("routing", policy));
  EXPECT_EQ(reply.at("routing").at("arm_id"), "inline");
  EXPECT_EQ(reply.at("routing").at("policy_id"), "one");
  EXPECT_EQ(port.Refusal(With("routing", {{"policy", {{"no", 1}}}})).param, "routing.policy");
  TestPort closed;
  EXPECT_EQ(closed.Refusal(With("routing", policy)).status, 403);
}

TEST(RefusalTest, ErrorsOfTheServerItselfHaveTheSameForm) {
  TestPort port;
  RawClient client = port.Client();
  ASSERT_TRUE(client.Send("GET /v1/completions HTTP/1.1\r\nHost: a\r\n\r\n"));
  const Answer method = client.Read();
  EXPECT_EQ(method.status, 405);
  EXPECT_TRUE(Json::parse(method.body).contains("error"));
  EXPECT_EQ(port.Get("/v2").status, 404);
  const Answer chat = port.Post("/v1/chat/completions", "{}");
  EXPECT_EQ(chat.status, 404);
  EXPECT_THAT(Json::parse(chat.body).at("error").at("message").get<std::string>(),
              HasSubstr("/v1/completions"));
  ASSERT_TRUE(
      client.Send("POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                  "Content-Length: 99999999\r\n\r\n"));
  const Answer large = client.Read();
  EXPECT_EQ(large.status, 413);
  EXPECT_TRUE(Json::parse(large.body).contains("error"));
}

TEST(RefusalTest, ATokenIsAskedForAndNamesTheClient) {
  testing::TempFolder folder;
  TestPortOptions options;
  options.gate = std::make_shared<access::Gate>(access::Gate::Options{
      .port_name = "public",
      .opening = {std::shared_ptr<access::TokenFile>(
          access::TokenFile::Open(folder.Write("tokens", "ann:0123456789abcdef")).value())},
      .of_other_ports = {}});
  TestPort port(options);
  const Answer refused = port.Post("/v1/completions", With("n", 1).dump());
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(Json::parse(refused.body).at("error").at("type"), "authentication_error");
  EXPECT_EQ(port.Post("/v1/completions", With("n", 1).dump(),
                      "Authorization: Bearer 0123456789abcdef\r\n")
                .status,
            200);
  EXPECT_EQ(port.Get("/health").status, 200);
}

TEST(RefusalTest, TokenizersAnswerAsVllmDoes) {
  TestPort port;
  const auto post = [&](const char* path, const Json& body) {
    return Json::parse(port.Post(path, body.dump()).body);
  };
  const Json tokens = post("/tokenize", {{"prompt", "abx"}, {"add_special_tokens", false}});
  EXPECT_EQ(tokens.at("tokens"), Json({256, 'x'}));
  EXPECT_EQ(tokens.at("count"), 2);
  EXPECT_EQ(tokens.at("max_model_len"), 1024);
  EXPECT_EQ(post("/tokenize", {{"prompt", "abx"}, {"return_token_strs", true}}).at("token_strs"),
            Json({"ab", "x"}));
  EXPECT_EQ(post("/detokenize", {{"tokens", {256, 'x'}}}).at("prompt"), "abx");
  EXPECT_EQ(post("/detokenize", {{"tokens", {1000}}}).at("error").at("param"), "tokens[0]");
  EXPECT_EQ(post("/tokenize", Json::object()).at("error").at("param"), "prompt");
  EXPECT_EQ(post("/tokenize", {{"prompt", "a"}, {"x", 1}}).at("error").at("param"), "x");
  EXPECT_EQ(post("/tokenize", {{"prompt", 3}}).at("error").at("param"), "prompt");
  EXPECT_TRUE(Json::parse(port.Get("/tokenizer_info").body).contains("eos_token"));
}

TEST(RefusalTest, AModelIsFoundByItsNameEscapedOrNot) {
  TestPort port;
  for (const char* path : {"/v1/models/owner/tiny", "/v1/models/owner%2Ftiny"}) {
    EXPECT_EQ(Json::parse(port.Get(path).body).at("id"), kModelId);
  }
  for (const char* path :
       {"/v1/models/", "/v1/models/other", "/v1/models/owner%2", "/v1/models/%zz"}) {
    EXPECT_EQ(port.Get(path).status, 404) << path;
  }
}

}  // namespace
}  // namespace olmoe::completions
