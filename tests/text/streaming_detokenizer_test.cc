#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "server/text/tokenizer.h"
#include "server/util/utf8.h"
#include "tests/text/tiny_tokenizer.h"

namespace olmoe::text {
namespace {

using testing::kEndOfText;
using testing::MakeTokenizer;
using testing::TinyId;
using testing::TinyTokenizerJson;

TEST(StreamingDetokenizerTest, CharacterComesOutWithItsLastByte) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  StreamingDetokenizer stream(tokenizer.get(), true);
  EXPECT_EQ(stream.Add(TinyId("the")), "the");
  EXPECT_EQ(stream.Add(TinyId("\xF0")), "");
  EXPECT_EQ(stream.Add(TinyId("\x9F")), "");
  EXPECT_EQ(stream.Add(TinyId("\x98")), "");
  EXPECT_EQ(stream.Add(TinyId("\x80")), "\U0001F600");
  EXPECT_EQ(stream.Flush(), "");
}

TEST(StreamingDetokenizerTest, BrokenBeginningComesOutAsSoonAsItIsKnown) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  StreamingDetokenizer stream(tokenizer.get(), true);
  EXPECT_EQ(stream.Add(TinyId("\xE2")), "");
  EXPECT_EQ(stream.Add(TinyId("a")),
            "\uFFFD"
            "a");
  EXPECT_EQ(stream.Add(TinyId("\xFF")), "\uFFFD");
  EXPECT_EQ(stream.Add(TinyId("\xE2")), "");
  EXPECT_EQ(stream.Add(TinyId("\x82")), "");
  EXPECT_EQ(stream.Flush(), "\uFFFD");
  EXPECT_EQ(stream.Flush(), "");
}

TEST(StreamingDetokenizerTest, BytesJoinAcrossASkippedSpecialTokenOnly) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  StreamingDetokenizer skipping(tokenizer.get(), true);
  EXPECT_EQ(skipping.Add(TinyId("\xC3")), "");
  EXPECT_EQ(skipping.Add(kEndOfText), "");
  EXPECT_EQ(skipping.Add(TinyId("\xA9")), "\u00E9");
  StreamingDetokenizer keeping(tokenizer.get(), false);
  EXPECT_EQ(keeping.Add(TinyId("\xC3")), "");
  EXPECT_EQ(keeping.Add(kEndOfText), "\uFFFD<|endoftext|>");
  EXPECT_EQ(keeping.Add(TinyId("\xA9")), "\uFFFD");
}

TEST(StreamingDetokenizerTest, PiecesOfRandomIdsConcatenateToDecode) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  // Bytes that begin, continue and break characters, besides all other ids.
  const std::string bytes = "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\xA0\xF4\x90\xC0\xFF";
  std::mt19937 random(2);
  for (int round = 0; round < 5000; ++round) {
    std::vector<TokenId> ids;
    for (int length = random() % 24; length > 0; --length) {
      const bool byte = random() % 4 != 0;
      ids.push_back(byte ? TinyId(bytes.substr(random() % bytes.size(), 1))
                         : static_cast<TokenId>(random() % (tokenizer->vocab_size() + 10)) - 3);
    }
    for (const bool skip : {false, true}) {
      StreamingDetokenizer stream(tokenizer.get(), skip);
      std::string text;
      for (const TokenId id : ids) {
        const std::string piece = stream.Add(id);
        ASSERT_TRUE(IsWellFormedUtf8(piece));
        text += piece;
      }
      text += stream.Flush();
      ASSERT_EQ(text, tokenizer->Decode(ids, skip));
    }
  }
}

TEST(StreamingDetokenizerTest, NothingIsHeldBackAfterAWholeText) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const std::string text = "the caf\u00E9 \u4F60\u597D \U0001F468\u200D\U0001F469 thing";
  StreamingDetokenizer stream(tokenizer.get(), true);
  const auto encoding = tokenizer->Encode(text);
  ASSERT_TRUE(encoding.ok());
  std::string streamed;
  for (const TokenId id : encoding->ids) streamed += stream.Add(id);
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(stream.Flush(), "");
}

}  // namespace
}  // namespace olmoe::text
