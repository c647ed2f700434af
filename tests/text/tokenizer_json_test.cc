#include "server/text/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/text/tiny_tokenizer.h"

namespace olmoe::text {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::TinyTokenizerJson;
using Json = nlohmann::json;

std::string ErrorOf(std::string_view json) {
  const absl::Status status = Tokenizer::FromJson(json).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json.substr(0, 200);
  const std::string message(status.message());
  EXPECT_THAT(message, Not(HasSubstr("\n")));
  EXPECT_LT(message.size(), 400u);
  return message;
}

struct Mutation {
  std::string name;
  std::function<void(Json&)> apply;
  std::string error;
};

// Every way in which a file may differ from what is supported, and what it is told.
const std::vector<Mutation>& Mutations() {
  static const auto* const mutations = new std::vector<Mutation>{
      {"Version", [](Json& j) { j["version"] = "2.0"; }, "version: must be \"1.0\""},
      {"NoModel", [](Json& j) { j.erase("model"); }, "model: is missing, must be an object"},
      {"Unigram", [](Json& j) { j["model"]["type"] = "Unigram"; },
       "model.type: \"Unigram\" is not supported"},
      {"Dropout", [](Json& j) { j["model"]["dropout"] = 0.1; },
       "model.dropout: must be 0 or null, is 0.1"},
      {"Unknown",
       [](Json& j) {
         j["model"]["unk_token"] = "<unk>";
         j["model"]["vocab"].erase("q");
       },
       "model.unk_token: \"<unk>\" is not supported where a byte has no token, as \"q\""},
      {"ByteFallback",
       [](Json& j) {
         j["model"]["byte_fallback"] = true;
         j["model"]["vocab"].erase("q");
       },
       "model.byte_fallback: true is not supported where a byte has no token"},
      {"Prefix", [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
       "model.continuing_subword_prefix: \"##\""},
      {"Suffix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
       "model.end_of_word_suffix: \"</w>\""},
      {"VocabIsList", [](Json& j) { j["model"]["vocab"] = Json::array(); },
       "model.vocab: must be an object, is []"},
      {"VocabIsEmpty", [](Json& j) { j["model"]["vocab"] = Json::object(); },
       "model.vocab: is empty"},
      {"IdIsString", [](Json& j) { j["model"]["vocab"]["a"] = "7"; },
       "model.vocab.a: must be an integer from 0 to 1048575, is \"7\""},
      {"IdIsFraction", [](Json& j) { j["model"]["vocab"]["a"] = 7.5; }, "must be an integer"},
      {"IdIsNegative", [](Json& j) { j["model"]["vocab"]["a"] = -1; }, "0 to 1048575, is -1"},
      {"IdIsHuge", [](Json& j) { j["model"]["vocab"]["a"] = 1 << 20; }, "0 to 1048575, is 1048576"},
      {"IdIsBeyond64Bits", [](Json& j) { j["model"]["vocab"]["a"] = UINT64_MAX; },
       "is 18446744073709551615"},
      {"IdTwice", [](Json& j) { j["model"]["vocab"]["a"] = testing::ByteId('b'); },
       "has another token already"},
      {"MergeUnknown", [](Json& j) { j["model"]["merges"][0] = "q\u00E4 u"; },
       "model.merges[0]: token \"q\\xc3\\xa4\" is not in model.vocab"},
      {"MergeResultUnknown", [](Json& j) { j["model"]["merges"][0] = "q u"; },
       "model.merges[0]: token \"qu\" is not in model.vocab"},
      {"MergeOfOne", [](Json& j) { j["model"]["merges"][1] = "abc"; },
       "model.merges[1]: must be two tokens and one space, is \"abc\""},
      {"MergeOfThree", [](Json& j) { j["model"]["merges"][1] = "a b c"; }, "two tokens and one"},
      {"MergeList", [](Json& j) { j["model"]["merges"][1] = {"a", "b", "c"}; },
       "model.merges[1]: must be two tokens, is 3"},
      {"MergeListOfNumbers", [](Json& j) { j["model"]["merges"][1] = {1, 2}; },
       "model.merges[1][0]: must be a string, is 1"},
      {"MergeNumber", [](Json& j) { j["model"]["merges"][1] = 5; },
       "model.merges[1]: must be an array, is 5"},
      {"Lowercase", [](Json& j) { j["normalizer"]["type"] = "Lowercase"; },
       "normalizer.type: \"Lowercase\" is not supported"},
      {"LowercaseInSequence",
       [](Json& j) {
         j["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", {{{"type", "NFC"}}, {{"type", "Strip"}}}}};
       },
       "normalizer.normalizers[1].type: \"Strip\""},
      {"NoPreTokenizer", [](Json& j) { j["pre_tokenizer"] = nullptr; },
       "pre_tokenizer: must be an object, is null"},
      {"Whitespace", [](Json& j) { j["pre_tokenizer"]["type"] = "Whitespace"; },
       "pre_tokenizer.type: \"Whitespace\""},
      {"PrefixSpace", [](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; },
       "pre_tokenizer.add_prefix_space: true is not supported"},
      {"NoRegex", [](Json& j) { j["pre_tokenizer"]["use_regex"] = false; },
       "pre_tokenizer.use_regex: false is not supported"},
      {"TwoPreTokenizers",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers", {j["pre_tokenizer"], j["pre_tokenizer"]}}};
       },
       "pre_tokenizer: must hold ByteLevel exactly once"},
      {"NoDecoder", [](Json& j) { j["decoder"] = nullptr; }, "decoder: must be an object"},
      {"Metaspace", [](Json& j) { j["decoder"]["type"] = "Metaspace"; }, "decoder.type: \"Meta"},
      {"DecoderSequence",
       [](Json& j) {
         j["decoder"] = {{"type", "Sequence"}, {"decoders", {{{"type", "Fuse"}}, j["decoder"]}}};
       },
       "decoder.decoders[0].type: \"Fuse\" is not supported"},
      {"DecoderStrips",
       [](Json& j) {
         j["decoder"] = {{"type", "Sequence"}, {"decoders", {j["decoder"], {{"type", "Strip"}}}}};
       },
       "decoder.decoders[1].type: \"Strip\" is not supported"},
      {"Roberta", [](Json& j) { j["post_processor"]["type"] = "RobertaProcessing"; },
       "post_processor.type: \"RobertaProcessing\""},
      {"TemplateWithoutText", [](Json& j) { j["post_processor"]["single"].erase(1); },
       "post_processor.single: must hold sequence \"A\" exactly once"},
      {"TemplateOfAPair", [](Json& j) { j["post_processor"]["single"][1]["Sequence"]["id"] = "B"; },
       "sequence \"B\" is not supported"},
      {"TemplateTokenUndefined",
       [](Json& j) { j["post_processor"]["single"][0]["SpecialToken"]["id"] = "<s>"; },
       "\"<s>\" is not in special_tokens"},
      {"TemplateTokenWithoutToken",
       [](Json& j) { j["post_processor"]["special_tokens"]["<|endoftext|>"]["ids"] = {999}; },
       "special token id 999 has no token"},
      {"TwoTemplates",
       [](Json& j) {
         j["post_processor"] = {{"type", "Sequence"},
                                {"processors", {j["post_processor"], j["post_processor"]}}};
       },
       "a second TemplateProcessing is not supported"},
      {"LongContent", [](Json& j) { j["added_tokens"][2]["content"] = std::string(257, 'x'); },
       "added_tokens[2].content: must have at most 256 bytes, has 257"},
      {"IdOfAnother",
       [](Json& j) {
         j["model"]["vocab"]["zz"] = 266;  // so the vocabulary has 266 tokens, and no 265
         j["added_tokens"][2]["content"] = "new";
       },
       "added_tokens: id 266 of"},
      {"SameOnceNormalized",
       [](Json& j) {
         j["added_tokens"].push_back(j["added_tokens"][2]);
         j["added_tokens"][2]["content"] = "e\u0301";
         j["added_tokens"][3]["content"] = "\u00e9";
       },
       "added_tokens: two are \"\\xc3\\xa9\" once normalized"},
      {"AddedIdIsMissing", [](Json& j) { j["added_tokens"][2].erase("id"); },
       "added_tokens[2].id: is missing, must be an integer"},
      {"FlagIsNumber", [](Json& j) { j["added_tokens"][2]["special"] = 1; },
       "added_tokens[2].special: must be true or false, is 1"},
  };
  return *mutations;
}

class TokenizerJsonMutationTest : public ::testing::TestWithParam<Mutation> {};

TEST_P(TokenizerJsonMutationTest, IsRefusedByName) {
  Json json = TinyTokenizerJson();
  GetParam().apply(json);
  EXPECT_THAT(ErrorOf(json.dump()), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(TokenizerJson, TokenizerJsonMutationTest, ::testing::ValuesIn(Mutations()),
                         [](const auto& info) { return info.param.name; });

TEST(TokenizerJsonTest, TinyTokenizerIsAccepted) {
  EXPECT_TRUE(Tokenizer::FromJson(TinyTokenizerJson().dump()).ok());
}

TEST(TokenizerJsonTest, MergesAsPairsAndAsStringsAreTheSame) {
  Json json = TinyTokenizerJson();
  const auto strings = ParseTokenizerJson(json.dump());
  for (Json& merge : json["model"]["merges"]) {
    const std::string both = merge;
    merge = {both.substr(0, both.find(' ')), both.substr(both.find(' ') + 1)};
  }
  const auto pairs = ParseTokenizerJson(json.dump());
  ASSERT_TRUE(strings.ok() && pairs.ok());
  ASSERT_EQ(strings->model.merges.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(strings->model.merges[i].left, pairs->model.merges[i].left);
    EXPECT_EQ(strings->model.merges[i].right, pairs->model.merges[i].right);
    EXPECT_EQ(strings->model.merges[i].merged, pairs->model.merges[i].merged);
  }
}

TEST(TokenizerJsonTest, HarmlessVariantsAreAccepted) {
  Json json = TinyTokenizerJson();
  json["model"].erase("type");
  json["model"]["dropout"] = 0.0;
  json["model"]["unk_token"] = "<|endoftext|>";  // every byte has a token
  json["model"]["byte_fallback"] = true;
  json["model"]["continuing_subword_prefix"] = "";
  json["model"]["end_of_word_suffix"] = "";
  json["model"]["fuse_unk"] = true;
  json["model"]["merges"].insert(json["model"]["merges"].begin(), "#version: 0.2");
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {json["pre_tokenizer"]}}};
  json["decoder"]["add_prefix_space"] = true;
  json["decoder"] = {{"type", "Sequence"}, {"decoders", {json["decoder"], {{"type", "Fuse"}}}}};
  json["post_processor"] = nullptr;
  const auto spec = ParseTokenizerJson(json.dump());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->nfc);
  EXPECT_EQ(spec->model.merges.size(), 6u);
  EXPECT_EQ(spec->trimming, OffsetTrimming::kNone);
  EXPECT_THAT(spec->notes, ::testing::IsEmpty());
}

TEST(TokenizerJsonTest, WhatIsLeftOutIsNotedInOneLine) {
  Json json = TinyTokenizerJson();
  json["truncation"] = {{"max_length", 8}};
  json["padding"] = {{"strategy", "BatchLongest"}};
  json["extra"] = 1;
  json["model"]["new"] = true;
  json["unused"] = nullptr;
  const auto spec = ParseTokenizerJson(json.dump());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->notes, ::testing::ElementsAre(::testing::AllOf(
                               HasSubstr("ignored: "), HasSubstr("truncation"),
                               HasSubstr("padding"), HasSubstr("extra"), HasSubstr("model.new"))));
}

// What tests/e2e/test_tokenizer_files.py compares with Hugging Face tokenizers.
TEST(TokenizerJsonTest, AddedTokensHaveTheNextFreeIds) {
  Json json = TinyTokenizerJson();
  const TokenId next = static_cast<TokenId>(json["model"]["vocab"].size());
  json["added_tokens"][2]["id"] = 77;  // of a token of the vocabulary: that of the vocabulary
  json["added_tokens"].push_back({{"id", 5000}, {"content", "<new>"}});
  json["added_tokens"].push_back({{"id", 5001}, {"content", ""}});  // none
  json["added_tokens"].push_back({{"id", 2}, {"content", "<other>"}});
  json["added_tokens"].push_back({{"id", 5002}, {"content", "<new>"}, {"rstrip", true}});
  const auto spec = ParseTokenizerJson(json.dump());
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_EQ(spec->added_tokens.size(), 5u);
  EXPECT_EQ(spec->added_tokens[2].token.id, testing::kTwoSpaces);
  EXPECT_EQ(spec->added_tokens[3].token.id, next);
  EXPECT_TRUE(spec->added_tokens[3].token.rstrip);  // the later one counts
  EXPECT_EQ(spec->added_tokens[4].token.id, next + 1);
  EXPECT_THAT(spec->notes, ::testing::ElementsAre(HasSubstr("266 and not 2 for <other>")));
}

TEST(TokenizerJsonTest, OtherJsonIsRefused) {
  for (const char* json : {"", " ", "null", "[]", "0", "\"text\"", "{}", "{", "{\"a\":", "nul",
                           "{\"model\":{}}garbage", "1e999", "\xEF\xBB\xBF"}) {
    ErrorOf(json);
  }
}

TEST(TokenizerJsonTest, IllFormedUtf8IsRefused) {
  EXPECT_THAT(ErrorOf("{\"version\":\"\xFF\"}"), HasSubstr("not JSON at byte"));
  EXPECT_THAT(ErrorOf("{\"version\":\"\\ud800\"}"), HasSubstr("not JSON at byte"));
}

TEST(TokenizerJsonTest, DeepNestingIsRefusedBeforeParsing) {
  for (const std::string open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 1000000; ++i) deep += open;
    EXPECT_THAT(ErrorOf(deep), HasSubstr("nested deeper than 64"));
  }
  // Brackets inside strings do not count.
  EXPECT_THAT(ErrorOf("{\"version\":\"" + std::string(100, '[') + "\\\"[\"}"),
              HasSubstr("version: must be"));
  std::string nested = "{\"type\":\"NFC\"}";
  for (int i = 0; i < 40; ++i) nested = "{\"type\":\"Sequence\",\"normalizers\":[" + nested + "]}";
  EXPECT_THAT(ErrorOf("{\"normalizer\":" + nested + "}"), HasSubstr("nested deeper than 64"));
}

TEST(TokenizerJsonTest, HostileNamesAreNotedShort) {
  Json json = TinyTokenizerJson();
  for (int i = 0; i < 1000; ++i) json[std::to_string(i) + std::string(100000, '\n')] = 1;
  const auto spec = ParseTokenizerJson(json.dump());
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_EQ(spec->notes.size(), 1u);
  EXPECT_LT(spec->notes[0].size(), 1000u);
  EXPECT_THAT(spec->notes[0], Not(HasSubstr("\n")));
}

TEST(TokenizerJsonTest, EveryTruncationIsRefused) {
  const std::string whole = TinyTokenizerJson().dump();
  for (size_t length = 0; length < whole.size(); ++length) {
    ASSERT_FALSE(Tokenizer::FromJson(std::string_view(whole).substr(0, length)).ok()) << length;
  }
}

TEST(TokenizerJsonTest, RandomDamageGivesAnErrorOrAWorkingTokenizer) {
  const std::string whole = TinyTokenizerJson().dump();
  std::mt19937 random(11);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (int hit = random() % 3; hit >= 0; --hit) {
      const size_t at = random() % damaged.size();
      switch (random() % 3) {
        case 0: damaged[at] = static_cast<char>(random()); break;
        case 1: damaged.erase(at, 1 + random() % 8); break;
        default: damaged.insert(at, 1, "{}[],:\"0-\\e"[random() % 11]); break;
      }
    }
    const auto tokenizer = Tokenizer::FromJson(damaged);
    if (!tokenizer.ok()) {
      EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
      ++refused;
      continue;
    }
    const auto encoding = (*tokenizer)->Encode(" the e\u0301  <|endoftext|>", {.offsets = true});
    ASSERT_TRUE(encoding.ok());
    EXPECT_EQ(encoding->ids.size(), encoding->offsets.size());
    (*tokenizer)->Decode(encoding->ids, true);
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace olmoe::text
