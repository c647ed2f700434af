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
      {"Truncation", [](Json& j) { j["truncation"] = Json::object(); }, "truncation is not supp"},
      {"Padding", [](Json& j) { j["padding"] = Json::object(); }, "padding is not supported"},
      {"UnknownField", [](Json& j) { j["extra"] = 1; }, "field \"extra\" is not supported"},
      {"NoModel", [](Json& j) { j.erase("model"); }, "model: is missing, must be an object"},
      {"Unigram", [](Json& j) { j["model"]["type"] = "Unigram"; },
       "model.type: \"Unigram\" is not supported"},
      {"Dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, "model.dropout: dropout is not"},
      {"Unknown", [](Json& j) { j["model"]["unk_token"] = "<unk>"; }, "model.unk_token: \"<unk>\""},
      {"Prefix", [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
       "model.continuing_subword_prefix: \"##\""},
      {"Suffix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
       "model.end_of_word_suffix: \"</w>\""},
      {"ByteFallback", [](Json& j) { j["model"]["byte_fallback"] = true; },
       "model.byte_fallback: true is not supported"},
      {"IgnoreMerges", [](Json& j) { j["model"]["ignore_merges"] = true; },
       "model.ignore_merges: true is not supported"},
      {"ModelField", [](Json& j) { j["model"]["new"] = 1; }, "model: field \"new\""},
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
      {"SingleWord", [](Json& j) { j["added_tokens"][2]["single_word"] = true; },
       "added_tokens[2].single_word: true is not supported"},
      {"LeftStrip", [](Json& j) { j["added_tokens"][2]["lstrip"] = true; },
       "added_tokens[2].lstrip: true is not supported"},
      {"RightStrip", [](Json& j) { j["added_tokens"][2]["rstrip"] = true; },
       "added_tokens[2].rstrip: true is not supported"},
      {"EmptyContent", [](Json& j) { j["added_tokens"][2]["content"] = ""; },
       "added_tokens[2].content: must have 1 to 256 bytes, has 0"},
      {"LongContent", [](Json& j) { j["added_tokens"][2]["content"] = std::string(257, 'x'); },
       "has 257"},
      {"OtherId", [](Json& j) { j["added_tokens"][2]["id"] = 77; },
       "added_tokens[2].id: is 77, but 2 in model.vocab"},
      {"TakenId", [](Json& j) { j["added_tokens"][2]["content"] = "new"; },
       "added_tokens[2].id: 2 has another token already"},
      {"SameContent", [](Json& j) { j["added_tokens"].push_back(j["added_tokens"][2]); },
       "added_tokens[3]: an earlier one has the same content"},
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
  json["model"]["unk_token"] = "";
  json["model"]["continuing_subword_prefix"] = "";
  json["model"]["end_of_word_suffix"] = "";
  json["model"]["fuse_unk"] = true;
  json["model"]["merges"].insert(json["model"]["merges"].begin(), "#version: 0.2");
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {json["pre_tokenizer"]}}};
  json["decoder"]["add_prefix_space"] = true;
  json["post_processor"] = nullptr;
  json["added_tokens"].push_back({{"id", 5000}, {"content", "<new>"}});
  const auto spec = ParseTokenizerJson(json.dump());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->nfc);
  EXPECT_EQ(spec->model.merges.size(), 6u);
  EXPECT_EQ(spec->trimming, OffsetTrimming::kNone);
  EXPECT_EQ(spec->added_tokens.back().id, 5000);
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

TEST(TokenizerJsonTest, HostileNamesAreQuotedShort) {
  Json json = TinyTokenizerJson();
  json[std::string(100000, '\n')] = 1;
  ErrorOf(json.dump());
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
