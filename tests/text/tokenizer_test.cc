#include "server/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "server/text/nfc.h"
#include "server/util/utf8.h"
#include "tests/text/tiny_tokenizer.h"

namespace olmoe::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kEndOfText;
using testing::kPadding;
using testing::kTwoSpaces;
using testing::MakeTokenizer;
using testing::TinyId;
using testing::TinyTokenizerJson;
using Json = nlohmann::json;

std::vector<TokenId> Ids(const Tokenizer& tokenizer, std::string_view text) {
  const auto encoding = tokenizer.Encode(text);
  EXPECT_TRUE(encoding.ok()) << encoding.status();
  return encoding.ok() ? encoding->ids : std::vector<TokenId>{};
}

Encoding WithOffsets(const Tokenizer& tokenizer, std::string_view text,
                     bool add_special_tokens = false) {
  const auto encoding =
      tokenizer.Encode(text, {.add_special_tokens = add_special_tokens, .offsets = true});
  EXPECT_TRUE(encoding.ok()) << encoding.status();
  return encoding.ok() ? *encoding : Encoding{};
}

Json ByteLevelTrimming(bool add_prefix_space) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", true}};
}

TEST(TokenizerTest, WordsBecomeTokens) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  EXPECT_THAT(Ids(*tokenizer, ""), IsEmpty());
  EXPECT_THAT(Ids(*tokenizer, "the thing"),
              ElementsAre(TinyId("the"), TinyId(" "), TinyId("th"), TinyId("ing")));
  EXPECT_THAT(Ids(*tokenizer, std::string_view("\0", 1)), ElementsAre(TinyId({"\0", 1})));
  EXPECT_EQ(tokenizer->vocab_size(), 3 + 256 + 6);
}

TEST(TokenizerTest, TemplateIsAddedOnlyWhenAskedFor) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const Encoding encoding = WithOffsets(*tokenizer, "the", /*add_special_tokens=*/true);
  EXPECT_THAT(encoding.ids, ElementsAre(kEndOfText, TinyId("the")));
  EXPECT_THAT(encoding.offsets, ElementsAre(Offsets{0, 0}, Offsets{0, 3}));
  EXPECT_THAT(Ids(*tokenizer, "the"), ElementsAre(TinyId("the")));
}

TEST(TokenizerTest, TemplateMayGoAround) {
  Json json = TinyTokenizerJson();
  json["post_processor"]["single"].push_back(json["post_processor"]["single"][0]);
  const auto tokenizer = MakeTokenizer(json);
  const Encoding encoding = WithOffsets(*tokenizer, "a", /*add_special_tokens=*/true);
  EXPECT_THAT(encoding.ids, ElementsAre(kEndOfText, TinyId("a"), kEndOfText));
  EXPECT_THAT(encoding.offsets, ElementsAre(Offsets{0, 0}, Offsets{0, 1}, Offsets{0, 0}));
}

TEST(TokenizerTest, SpecialTokensAreCutOutBeforeNormalization) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  // The mark after the special token finds nothing to compose with.
  const Encoding encoding = WithOffsets(*tokenizer, "e\u0301<|endoftext|>\u0301");
  EXPECT_THAT(encoding.ids, ElementsAre(TinyId("\xC3"), TinyId("\xA9"), kEndOfText, TinyId("\xCC"),
                                        TinyId("\x81")));
  EXPECT_THAT(encoding.offsets, ElementsAre(Offsets{0, 1}, Offsets{0, 1}, Offsets{2, 15},
                                            Offsets{15, 16}, Offsets{15, 16}));
}

TEST(TokenizerTest, NormalizedTokensAreCutOutAfterNormalization) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  EXPECT_THAT(Ids(*tokenizer, "a  b"), ElementsAre(TinyId("a"), kTwoSpaces, TinyId("b")));
  Json json = TinyTokenizerJson();
  json["added_tokens"][2]["content"] = "e\u0301";
  const TokenId added = static_cast<TokenId>(json["model"]["vocab"].size());
  const auto composed = MakeTokenizer(json);
  EXPECT_THAT(Ids(*composed, "\u00E9e\u0301"), ElementsAre(added, added));
}

TEST(TokenizerTest, WithoutANormalizerTextStaysAsItIs) {
  Json json = TinyTokenizerJson();
  json["normalizer"] = nullptr;
  const auto tokenizer = MakeTokenizer(json);
  EXPECT_THAT(Ids(*tokenizer, "e\u0301"), ElementsAre(TinyId("e"), TinyId("\xCC"), TinyId("\x81")));
}

TEST(TokenizerTest, AddedTokenCutsTheTextThatThePatternSees) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  // Uncut, the second space would belong to the word: " ", " the".
  EXPECT_THAT(Ids(*tokenizer, "a  the"), ElementsAre(TinyId("a"), kTwoSpaces, TinyId("the")));
  EXPECT_THAT(Ids(*tokenizer, "a   the"), ElementsAre(TinyId("a"), kTwoSpaces, TinyId(" the")));
}

TEST(TokenizerTest, OffsetsAreTrimmedOnlyByAByteLevelPostProcessor) {
  Json json = TinyTokenizerJson();
  EXPECT_THAT(WithOffsets(*MakeTokenizer(json), " the  ").offsets,
              ElementsAre(Offsets{0, 4}, Offsets{4, 6}));
  json["post_processor"] = ByteLevelTrimming(false);
  EXPECT_THAT(WithOffsets(*MakeTokenizer(json), " the  ").offsets,
              ElementsAre(Offsets{1, 4}, Offsets{6, 6}));
  json["post_processor"] = ByteLevelTrimming(true);
  EXPECT_THAT(WithOffsets(*MakeTokenizer(json), " the the").offsets,
              ElementsAre(Offsets{0, 4}, Offsets{5, 8}));
}

TEST(TokenizerTest, SequenceOfPostProcessorsTrimsAndAdds) {
  Json json = TinyTokenizerJson();
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors", {ByteLevelTrimming(false), json["post_processor"]}}};
  const Encoding encoding = WithOffsets(*MakeTokenizer(json), " the", true);
  EXPECT_THAT(encoding.ids, ElementsAre(kEndOfText, TinyId(" the")));
  EXPECT_THAT(encoding.offsets, ElementsAre(Offsets{0, 0}, Offsets{1, 4}));
}

TEST(TokenizerTest, TokensOfASplitCharacterShareItsSpan) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  EXPECT_THAT(WithOffsets(*tokenizer, "a\U0001F600b").offsets,
              ElementsAre(Offsets{0, 1}, Offsets{1, 2}, Offsets{1, 2}, Offsets{1, 2}, Offsets{1, 2},
                          Offsets{2, 3}));
}

TEST(TokenizerTest, OffsetsAreThereOnlyWhenAskedFor) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  EXPECT_THAT(tokenizer->Encode("the")->offsets, IsEmpty());
}

TEST(TokenizerTest, IllFormedTextIsRefused) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  for (const char* bad : {"\xFF", "abc\xC3", "\xED\xA0\x80", "\xF4\x90\x80\x80"}) {
    EXPECT_EQ(tokenizer->Encode(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(TokenizerTest, DecodeKeepsOrSkipsSpecialTokens) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const std::vector<TokenId> ids = {kEndOfText, TinyId(" the"), kTwoSpaces, kPadding};
  EXPECT_EQ(tokenizer->Decode(ids, false), "<|endoftext|> the  <|padding|>");
  EXPECT_EQ(tokenizer->Decode(ids, true), " the  ");
  EXPECT_TRUE(tokenizer->IsSpecial(kPadding));
  EXPECT_FALSE(tokenizer->IsSpecial(kTwoSpaces));
}

TEST(TokenizerTest, IdsWithoutATokenDecodeToNothing) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const std::vector<TokenId> ids = {-1, TinyId("a"), tokenizer->vocab_size(), INT32_MAX, INT32_MIN};
  EXPECT_EQ(tokenizer->Decode(ids, false), "a");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_FALSE(tokenizer->IsSpecial(INT32_MAX));
}

TEST(TokenizerTest, MegabyteWithoutASpaceIsEncoded) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  EXPECT_EQ(Ids(*tokenizer, std::string(1 << 20, 'x')).size(), size_t{1} << 20);
  EXPECT_EQ(Ids(*tokenizer, std::string(1 << 20, ' ')).size(), size_t{1} << 19);
  EXPECT_EQ(Ids(*tokenizer, std::string(1 << 20, '\n')).size(), size_t{1} << 20);
}

// ICU's own check takes quadratic time for it: longer than the test may.
TEST(TokenizerTest, EndlessRunOfUnorderedMarksIsEncoded) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  std::string marks;
  while (marks.size() < 4 << 20) marks += "\u0301\u0323";
  const Encoding encoding = WithOffsets(*tokenizer, marks);
  ASSERT_EQ(encoding.ids.size(), marks.size());
  EXPECT_EQ(encoding.ids.front(), TinyId("\xCC"));  // U+0323
  EXPECT_EQ(encoding.ids[1], TinyId("\xA3"));
  EXPECT_EQ(encoding.offsets.back().end, marks.size() / 2);
}

// All kinds of pieces, each longer than what is handed over or normalized at once.
std::string LongMixedText() {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "the thing e\u0301 in  " + std::to_string(i);
  text += "<|endoftext|>";
  for (int i = 0; i < 50000; ++i) text += i % 7 == 0 ? "\u4E00" : "th";
  text += "<|endoftext|>e";
  for (int i = 0; i < 9000; ++i) text += "\u0301";
  return text;
}

TEST(TokenizerTest, PartsAreTheWholeInOrder) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const std::string text = LongMixedText();
  Encoding joined;
  int parts = 0;
  const absl::Status status =
      tokenizer->EncodeInParts(text, {.offsets = true}, [&](Encoding&& part) {
        EXPECT_EQ(part.ids.size(), part.offsets.size());
        EXPECT_LE(part.ids.size(), 64u << 10);
        joined.ids.insert(joined.ids.end(), part.ids.begin(), part.ids.end());
        joined.offsets.insert(joined.offsets.end(), part.offsets.begin(), part.offsets.end());
        ++parts;
        return absl::OkStatus();
      });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_GT(parts, 10);
  const Encoding whole = WithOffsets(*tokenizer, text);
  EXPECT_EQ(joined.ids, whole.ids);
  EXPECT_EQ(joined.offsets, whole.offsets);
  EXPECT_EQ(tokenizer->Decode(whole.ids, false), NormalizeNfc(text));
}

// Offsets of a long text are those of its pieces one by one, moved.
TEST(TokenizerTest, OffsetsOfALongTextAreThoseOfItsPieces) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const std::string piece = "e\u0301 the\u0323\u0301 \u0344 \u1112\u1161";
  const Encoding one = WithOffsets(*tokenizer, piece);
  const uint32_t code_points = static_cast<uint32_t>(CountCodePoints(piece));
  std::string text;
  for (int i = 0; i < 3000; ++i) text += piece;
  const Encoding all = WithOffsets(*tokenizer, text);
  ASSERT_EQ(all.ids.size(), 3000 * one.ids.size());
  for (size_t i = 0; i < all.ids.size(); ++i) {
    const uint32_t moved = static_cast<uint32_t>(i / one.ids.size()) * code_points;
    const Offsets& expected = one.offsets[i % one.ids.size()];
    ASSERT_EQ(all.offsets[i], (Offsets{expected.start + moved, expected.end + moved}));
  }
}

TEST(TokenizerTest, InterruptIsAskedAllTheTimeAndEndsTheEncoding) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  std::string marks;
  while (marks.size() < 2 << 20) marks += "e\u0301";
  const std::string words(2 << 20, 'x');
  std::string spaced;
  while (spaced.size() < 2 << 20) spaced += "the thing  ";
  for (const std::string& text : {words, marks, spaced}) {
    int asked = 0;
    const auto interrupt = [&asked] {
      return ++asked < 20 ? absl::OkStatus() : absl::CancelledError("enough");
    };
    EXPECT_EQ(tokenizer->Encode(text, {.interrupt = interrupt}).status().code(),
              absl::StatusCode::kCancelled);
    EXPECT_EQ(asked, 20);
  }
}

TEST(TokenizerTest, InterruptIsAskedBeforeAnythingIsDone) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const auto interrupt = [] { return absl::CancelledError("before"); };
  EXPECT_EQ(tokenizer->Encode("", {.interrupt = interrupt}).status().code(),
            absl::StatusCode::kCancelled);
}

TEST(TokenizerTest, MoreTokensThanWantedAreAnError) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  std::string spaced;
  while (spaced.size() < 100'000) spaced += "x y ";
  for (const std::string& text : {std::string(100'000, 'x'), spaced}) {
    const size_t count = Ids(*tokenizer, text).size();
    EXPECT_TRUE(tokenizer->Encode(text, {.max_tokens = count}).ok());
    EXPECT_EQ(tokenizer->Encode(text, {.max_tokens = count - 1}).status().code(),
              absl::StatusCode::kOutOfRange);
  }
}

TEST(TokenizerTest, ErrorOfTheTakerEndsTheEncoding) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  int taken = 0;
  const absl::Status status =
      tokenizer->EncodeInParts(std::string(1 << 20, 'x'), {}, [&taken](Encoding&&) {
        ++taken;
        return absl::OutOfRangeError("too much");
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(taken, 1);
}

TEST(TokenizerTest, ThreadsShareOneTokenizer) {
  const auto tokenizer = MakeTokenizer(TinyTokenizerJson());
  const std::string text =
      "the thing <|endoftext|> e\u0301 in the caf\u00E9 " + std::string(90, 't');
  const Encoding expected = WithOffsets(*tokenizer, text);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        const Encoding encoding = WithOffsets(*tokenizer, text);
        EXPECT_EQ(encoding.ids, expected.ids);
        EXPECT_EQ(encoding.offsets, expected.offsets);
        EXPECT_EQ(tokenizer->Decode(encoding.ids, true), tokenizer->Decode(expected.ids, true));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TokenizerTest, FileIsReadAndItsPathNamedInErrors) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir());
  const std::string path = (folder / "tiny_tokenizer.json").string();
  std::ofstream(path) << TinyTokenizerJson().dump(2);
  ASSERT_TRUE(Tokenizer::FromFile(path).ok());

  std::ofstream(path) << "{]";
  const absl::Status malformed = Tokenizer::FromFile(path).status();
  EXPECT_EQ(malformed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(malformed.message()), HasSubstr(path));

  std::ofstream(path).close();
  EXPECT_EQ(Tokenizer::FromFile(path).status().code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::remove(path);
  EXPECT_EQ(Tokenizer::FromFile(path).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Tokenizer::FromFile(folder.string()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace olmoe::text
