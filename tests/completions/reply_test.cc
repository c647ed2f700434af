// Replies of POST /v1/completions, rule by rule.
#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/util/utf8.h"
#include "tests/completions/test_port.h"

namespace olmoe::completions {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kArrays[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};

// As lm-evaluation-harness asks for the score of a text.
Json EchoRequest(const Json& prompt) {
  return {{"model", kModelId}, {"prompt", prompt}, {"temperature", 0}, {"max_tokens", 1},
          {"logprobs", 1},     {"seed", 1234},     {"echo", true}};
}

Json Greedy(const Json& prompt, int max_tokens) {
  return {{"prompt", prompt}, {"temperature", 0}, {"max_tokens", max_tokens}};
}

double Largest(const Json& top) {
  double largest = -1e300;
  for (const auto& [name, value] : top.items()) largest = std::max(largest, value.get<double>());
  return largest;
}

TEST(ReplyTest, EchoWithLogprobsHasAllFourArraysOfThePromptAndOneMore) {
  TestPort port;
  const Json reply = port.Complete(EchoRequest("hello"));
  const Json& logprobs = reply.at("choices").at(0).at("logprobs");
  for (const char* name : kArrays) EXPECT_EQ(logprobs.at(name).size(), 6) << name;
  EXPECT_TRUE(logprobs.at("token_logprobs").at(0).is_null());
  EXPECT_TRUE(logprobs.at("top_logprobs").at(0).is_null());
  for (size_t i = 1; i < 6; ++i) {
    EXPECT_TRUE(logprobs.at("token_logprobs").at(i).is_number()) << i;
  }
  EXPECT_EQ(logprobs.at("tokens").at(1), "e");
  EXPECT_THAT(reply.at("choices").at(0).at("text").get<std::string>(), StartsWith("hello"));
}

TEST(ReplyTest, TheGeneratedTokenIsThereEvenIfItIsTheEnd) {
  TestPortOptions options;
  options.model.eos_token_id = engine::kTokenEnd;
  options.model.script = {{3, engine::kTokenEnd}};
  TestPort port(options);
  const Json reply = port.Complete(EchoRequest("xyz"));
  const Json& choice = reply.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(choice.at("text"), "xyz");
  for (const char* name : kArrays) EXPECT_EQ(choice.at("logprobs").at(name).size(), 4) << name;
  EXPECT_EQ(choice.at("logprobs").at("tokens").at(3), "<|end|>");
  EXPECT_EQ(choice.at("logprobs").at("text_offset").at(3), 3);
}

TEST(ReplyTest, TheArgMaxAndTheTokenStandAmongTheAlternativesWithTheSameNumbers) {
  TestPort port;
  const Json prompt = "some words that the model would not have said";
  const Json greedy = port.Complete(Greedy(prompt, 20)).at("choices").at(0);
  for (const int top : {1, 5, 20}) {
    Json request = EchoRequest(prompt);
    request["logprobs"] = top;
    request["max_tokens"] = 20;
    const Json logprobs = port.Complete(request).at("choices").at(0).at("logprobs");
    const size_t num_prompt = prompt.get<std::string>().size();
    int num_not_greedy = 0;
    for (size_t i = 1; i < logprobs.at("tokens").size(); ++i) {
      const Json& alternatives = logprobs.at("top_logprobs").at(i);
      const double logprob = logprobs.at("token_logprobs").at(i);
      const std::string token = logprobs.at("tokens").at(i);
      ASSERT_TRUE(alternatives.contains(token)) << token;
      EXPECT_EQ(alternatives.at(token).get<double>(), logprob);
      EXPECT_LE(alternatives.size(), top + 1);
      // What lm-evaluation-harness takes for greedy.
      if (i >= num_prompt) {
        EXPECT_EQ(logprob, Largest(alternatives));
      }
      if (logprob != Largest(alternatives)) ++num_not_greedy;
    }
    EXPECT_GT(num_not_greedy, 0);
  }
}

TEST(ReplyTest, WithZeroLogprobsTheTokenStandsAlone) {
  TestPort port;
  Json request = Greedy("abc", 3);
  request["logprobs"] = 0;
  const Json logprobs = port.Complete(request).at("choices").at(0).at("logprobs");
  for (size_t i = 0; i < 3; ++i) {
    const Json& alternatives = logprobs.at("top_logprobs").at(i);
    EXPECT_EQ(alternatives.size(), 1);
    EXPECT_EQ(alternatives.begin().value(), logprobs.at("token_logprobs").at(i));
  }
}

TEST(ReplyTest, WithoutLogprobsThereAreNone) {
  TestPort port;
  EXPECT_TRUE(port.Complete(Greedy("abc", 3)).at("choices").at(0).at("logprobs").is_null());
}

TEST(ReplyTest, IndicesCountThePromptsAndTheirChoices) {
  TestPort port;
  Json request = {{"prompt", {"one", "two", "three"}}, {"n", 2}, {"max_tokens", 4}, {"seed", 7}};
  const Json choices = port.Complete(request).at("choices");
  ASSERT_EQ(choices.size(), 6);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(choices.at(i).at("index"), i);
  for (size_t prompt = 0; prompt < 3; ++prompt) {
    for (int choice = 0; choice < 2; ++choice) {
      const Json alone = {
          {"prompt", request.at("prompt").at(prompt)}, {"max_tokens", 4}, {"seed", 7 + choice}};
      EXPECT_EQ(port.Complete(alone).at("choices").at(0).at("text"),
                choices.at(2 * prompt + choice).at("text"));
    }
  }
}

TEST(ReplyTest, ThePromptHasFourForms) {
  TestPort port;
  const Json text = port.Complete(EchoRequest("ab")).at("choices").at(0);
  const Json ids = {engine::kTokenAb};
  EXPECT_EQ(port.Complete(EchoRequest(ids)).at("choices").at(0), text);
  EXPECT_EQ(port.Complete(EchoRequest(Json::array({"ab"}))).at("choices").at(0), text);
  EXPECT_EQ(port.Complete(EchoRequest(Json::array({ids}))).at("choices").at(0), text);
}

TEST(ReplyTest, PartsOfCharactersAreWrittenAsBytesAndOffsetsCountCodePoints) {
  TestPort port;
  const Json reply = port.Complete(EchoRequest("a\u00e9\u20acb")).at("choices").at(0);
  const Json& logprobs = reply.at("logprobs");
  std::vector<std::string> tokens = logprobs.at("tokens");
  std::vector<size_t> offsets = logprobs.at("text_offset");
  tokens.resize(7);
  offsets.resize(8);
  EXPECT_THAT(tokens, ElementsAre("a", "bytes:\\xc3", "bytes:\\xa9", "bytes:\\xe2", "bytes:\\x82",
                                  "bytes:\\xac", "b"));
  EXPECT_THAT(offsets, ElementsAre(0, 1, 1, 2, 2, 2, 3, 4));
}

TEST(ReplyTest, NothingIsGeneratedWhereNothingIsAskedFor) {
  TestPort port;
  Json request = EchoRequest("hello");
  const Json one = port.Complete(request).at("choices").at(0);
  request["max_tokens"] = 0;
  const Json reply = port.Complete(request);
  const Json& none = reply.at("choices").at(0);
  EXPECT_EQ(none.at("text"), "hello");
  EXPECT_EQ(none.at("finish_reason"), "length");
  EXPECT_EQ(reply.at("usage").at("completion_tokens"), 0);
  for (const char* name : kArrays) {
    Json expected = one.at("logprobs").at(name);
    expected.erase(expected.size() - 1);
    EXPECT_EQ(none.at("logprobs").at(name), expected) << name;
  }
  request.erase("logprobs");
  EXPECT_EQ(port.Complete(request).at("choices").at(0).at("text"), "hello");
}

TEST(ReplyTest, AReaderOfDoublesHasExactlyTheFloats) {
  TestPort port;
  const testing::Answer answer = port.Post("/v1/completions", EchoRequest("hello").dump());
  const Json reply = Json::parse(answer.body);
  for (const Json& value : reply.at("choices").at(0).at("logprobs").at("token_logprobs")) {
    if (value.is_null()) continue;
    const double number = value;
    EXPECT_EQ(number, static_cast<double>(static_cast<float>(number)));
    char text[32];
    *std::to_chars(text, text + sizeof(text), number).ptr = '\0';
    EXPECT_THAT(answer.body, HasSubstr(text)) << "the shortest";
  }
}

TEST(ReplyTest, UsageCountsAllPromptsAndChoices) {
  TestPort port;
  Json request = Greedy({"one", "two four"}, 3);
  request["n"] = 2;
  const Json usage = port.Complete(request).at("usage");
  EXPECT_EQ(usage.at("prompt_tokens"), 11);
  EXPECT_EQ(usage.at("completion_tokens"), 12);
  EXPECT_EQ(usage.at("total_tokens"), 23);
}

TEST(ReplyTest, CachedTokensAreTold) {
  TestPortOptions options;
  options.serving.prefix_cache = experiment::PrefixCache::kShared;
  TestPort port(options);
  const Json request = EchoRequest("the same long prompt again");
  const Json cold = port.Complete(request), warm = port.Complete(request);
  EXPECT_EQ(cold.at("usage").at("prompt_tokens_details").at("cached_tokens"), 0);
  EXPECT_GT(warm.at("usage").at("prompt_tokens_details").at("cached_tokens"), 0);
  EXPECT_EQ(cold.at("choices"), warm.at("choices"));
}

TEST(ReplyTest, TheStampIsInTheReplyAndInItsHeader) {
  TestPort port;
  const testing::Answer answer = port.Post("/v1/completions", Greedy("abc", 1).dump());
  const Json reply = Json::parse(answer.body);
  const Json& stamp = reply.at("routing");
  EXPECT_EQ(stamp.at("arm_id"), "default");
  EXPECT_EQ(answer.Header("x-olmoe-arm"), "default");
  EXPECT_EQ(answer.Header("x-olmoe-generation"), stamp.at("generation").dump());
  EXPECT_EQ(answer.Header("x-olmoe-policy-digest"), stamp.at("policy_digest"));
  EXPECT_EQ(stamp.at("policy_digest").get<std::string>().size(), 64);
  EXPECT_EQ(reply.at("object"), "text_completion");
  EXPECT_EQ(reply.at("model"), kModelId);
  EXPECT_THAT(reply.at("id").get<std::string>(), StartsWith("cmpl-"));
  EXPECT_EQ(answer.Header("Content-Type"), "application/json");
}

TEST(ReplyTest, AStopStringEndsTheText) {
  TestPortOptions options;
  options.model.script = {{2, 'X'}, {3, 'Y'}, {4, 'Z'}};
  TestPort port(options);
  Json request = Greedy("ab", 5);
  request["prompt"] = Json{'a', 'b'};  // two tokens
  request["stop"] = "Z";
  Json choice = port.Complete(request).at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "XY");
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(choice.at("stop_reason"), "Z");
  request["stop"] = {"Q", "YZ"};
  EXPECT_EQ(port.Complete(request).at("choices").at(0).at("text"), "X");
  request["include_stop_str_in_output"] = true;
  EXPECT_EQ(port.Complete(request).at("choices").at(0).at("text"), "XYZ");
}

TEST(ReplyTest, ExpertsHaveTheShapeOfTheModelWhereKIsConstant) {
  TestPort port;
  Json request = Greedy("hello", 3);
  request["n"] = 2;
  request["return_routed_experts"] = true;
  const Json choices = port.Complete(request).at("choices");
  for (const Json& choice : choices) {
    std::string file;
    ASSERT_TRUE(absl::Base64Unescape(choice.at("routed_experts").get<std::string>(), &file));
    constexpr size_t kHeaderBytes = 128;
    ASSERT_EQ(file.size(), kHeaderBytes + 7 * 2 * 2 * 2);
    EXPECT_THAT(file, StartsWith(std::string("\x93NUMPY\x01\x00\x76\x00", 10)));
    EXPECT_THAT(file, HasSubstr("'descr': '<i2', 'fortran_order': False, 'shape': (7, 2, 2)"));
    EXPECT_EQ(file[kHeaderBytes - 1], '\n');
    for (size_t i = kHeaderBytes; i < file.size(); i += 2) {
      EXPECT_LT(file[i], 8);
      EXPECT_EQ(file[i + 1], 0);
    }
  }
  // Greedy choices are equal, and so are their experts.
  EXPECT_EQ(choices.at(0).at("routed_experts"), choices.at(1).at("routed_experts"));
}

TEST(ReplyTest, TokenIdsAreThoseOfThePromptAndOfEachChoice) {
  TestPort port;
  Json request = Greedy("hello", 3);
  EXPECT_FALSE(port.Complete(request).at("choices").at(0).contains("token_ids"));
  request["n"] = 2;
  request["return_token_ids"] = true;
  const Json choices = port.Complete(request).at("choices");
  for (const Json& choice : choices) {
    EXPECT_EQ(choice.at("prompt_token_ids"), (Json{'h', 'e', 'l', 'l', 'o'}));
    EXPECT_EQ(choice.at("token_ids").size(), 3u);
  }
}

TEST(ReplyTest, WithoutATokenizerTokensAreNamedByTheirIds) {
  TestPortOptions options;
  options.tokenizer = false;
  TestPort port(options);
  const Json choice = port.Complete(EchoRequest(Json{1, 2, 3})).at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "");
  EXPECT_EQ(choice.at("logprobs").at("tokens").at(2), "token_id:3");
}

}  // namespace
}  // namespace olmoe::completions
