// The tokenizer of OLMoE-1B-7B against what Hugging Face `tokenizers` gives; the
// cases are described in tests/data/golden/README.md.
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "glog/logging.h"
#include "server/text/nfc.h"
#include "server/text/tokenizer.h"
#include "tests/support/test_data.h"

namespace olmoe::text {
namespace {

using Json = nlohmann::json;

std::unique_ptr<Tokenizer> Load(const std::string& path) {
  auto tokenizer = Tokenizer::FromFile(path);
  CHECK(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::vector<Json> ReadLines(const std::string& path) {
  std::istringstream stream(testing::ReadFileOrDie(path));
  std::vector<Json> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(Json::parse(line));
  return lines;
}

std::vector<Offsets> OffsetsOf(const Json& pairs) {
  std::vector<Offsets> offsets;
  for (const Json& pair : pairs) offsets.push_back({pair[0], pair[1]});
  return offsets;
}

TEST(GoldenTokenizerTest, EveryCaseEncodesAndDecodesAsTheReference) {
  OLMOE_REQUIRE_DATA(tokenizer_path, "tokenizer-olmoe/tokenizer.json");
  OLMOE_REQUIRE_DATA(cases_path, "golden/tokenizer/cases.jsonl");
  const auto tokenizer = Load(tokenizer_path);
  const std::vector<Json> cases = ReadLines(cases_path);
  for (size_t i = 0; i < cases.size(); ++i) {
    const Json& expected = cases[i];
    SCOPED_TRACE("case " + std::to_string(i) + ", " + expected["category"].get<std::string>());
    const std::string text = expected["text"];
    const auto encoding = tokenizer->Encode(text, {.offsets = true});
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    EXPECT_EQ(encoding->ids, expected["ids"].get<std::vector<TokenId>>());
    EXPECT_EQ(encoding->offsets, OffsetsOf(expected["offsets"]));
    EXPECT_EQ(tokenizer->Encode(text)->ids, encoding->ids);
    const std::string decoded = expected["decoded"];
    EXPECT_EQ(tokenizer->Decode(encoding->ids, false), decoded);
    EXPECT_EQ(tokenizer->Decode(encoding->ids, true),
              expected.value("decoded_skip_special", decoded));
  }
  EXPECT_GE(cases.size(), 400u);
  RecordProperty("cases", static_cast<int>(cases.size()));
}

void ExpectStream(const Tokenizer& tokenizer, const Json& expected, bool skip) {
  const auto field = [&](const std::string& name) -> const Json& {
    const bool differs = skip && expected.contains(name + "_skip_special");
    return expected[differs ? name + "_skip_special" : name];
  };
  const std::vector<TokenId> ids = expected["ids"];
  StreamingDetokenizer stream(&tokenizer, skip);
  std::vector<std::string> chunks;
  for (const TokenId id : ids) chunks.push_back(stream.Add(id));
  EXPECT_EQ(chunks, field("chunks").get<std::vector<std::string>>());
  EXPECT_EQ(stream.Flush(), field("flush").get<std::string>());
  EXPECT_EQ(tokenizer.Decode(ids, skip), field("decoded").get<std::string>());
}

TEST(GoldenTokenizerTest, EveryStreamComesOutInTheReferencesPieces) {
  OLMOE_REQUIRE_DATA(tokenizer_path, "tokenizer-olmoe/tokenizer.json");
  OLMOE_REQUIRE_DATA(stream_path, "golden/tokenizer/stream.jsonl");
  const auto tokenizer = Load(tokenizer_path);
  const std::vector<Json> streams = ReadLines(stream_path);
  for (size_t i = 0; i < streams.size(); ++i) {
    SCOPED_TRACE("stream " + std::to_string(i));
    ExpectStream(*tokenizer, streams[i], /*skip=*/false);
    ExpectStream(*tokenizer, streams[i], /*skip=*/true);
  }
  EXPECT_GE(streams.size(), 220u);
  RecordProperty("streams", static_cast<int>(streams.size()));
}

// Decoding gives NFC back, which for most passages is the passage itself.
TEST(GoldenTokenizerTest, NaturalTextSurvivesTheRoundTrip) {
  OLMOE_REQUIRE_DATA(tokenizer_path, "tokenizer-olmoe/tokenizer.json");
  OLMOE_REQUIRE_DATA(text_path, "eval/wiki_passages.txt");
  const auto tokenizer = Load(tokenizer_path);
  std::istringstream passages(testing::ReadFileOrDie(text_path));
  for (std::string passage; std::getline(passages, passage);) {
    const auto encoding = tokenizer->Encode(passage);
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    EXPECT_EQ(tokenizer->Decode(encoding->ids, false), NormalizeNfc(passage));
  }
}

TEST(GoldenTokenizerTest, OlmoeTokenizerHasItsKnownShape) {
  OLMOE_REQUIRE_DATA(tokenizer_path, "tokenizer-olmoe/tokenizer.json");
  const auto tokenizer = Load(tokenizer_path);
  EXPECT_EQ(tokenizer->vocab_size(), 50280);
  std::set<TokenId> special;
  for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
    if (tokenizer->IsSpecial(id)) special.insert(id);
  }
  EXPECT_EQ(special, (std::set<TokenId>{1, 50279}));
  EXPECT_EQ(tokenizer->TokenBytes(50279), "<|endoftext|>");
}

}  // namespace
}  // namespace olmoe::text
