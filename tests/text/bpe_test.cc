#include "server/text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/text/reference_bpe.h"

namespace olmoe::text {
namespace {

std::array<TokenId, 256> IdIsByte() {
  std::array<TokenId, 256> ids;
  for (int byte = 0; byte < 256; ++byte) ids[byte] = byte;
  return ids;
}

// A model over bytes with tokens 0..255 for them and one more for each merge.
struct Model {
  std::vector<std::string> tokens;
  std::vector<BpeMerge> merges;

  Model() {
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  }

  TokenId Merge(TokenId left, TokenId right) {
    const TokenId merged = static_cast<TokenId>(tokens.size());
    tokens.push_back(tokens[left] + tokens[right]);
    merges.push_back({left, right, merged});
    return merged;
  }

  Bpe Build() const {
    std::vector<BpeToken> all;
    for (size_t id = 0; id < tokens.size(); ++id) {
      all.push_back({static_cast<TokenId>(id), tokens[id]});
    }
    return Bpe(IdIsByte(), merges, all);
  }
};

std::vector<TokenId> Encode(const Bpe& bpe, std::string_view word) {
  Bpe::Workspace workspace;
  std::vector<TokenId> ids;
  bpe.EncodeWord(word, &workspace, &ids);
  return ids;
}

std::vector<TokenId> Reference(const Model& model, std::string_view word) {
  std::vector<TokenId> bytes;
  for (const char byte : word) bytes.push_back(static_cast<unsigned char>(byte));
  return testing::ReferenceMerge(bytes, model.merges);
}

// `count` merges of random pairs of existing tokens over a small alphabet, no pair
// and no merged string twice, in random order of rank: harsher than a trained model.
Model RandomModel(std::mt19937* random, int count) {
  Model model;
  std::vector<TokenId> usable = {'a', 'b', 'c'};
  std::set<std::string> seen;
  for (int i = 0; i < count; ++i) {
    const TokenId left = usable[(*random)() % usable.size()];
    const TokenId right = usable[(*random)() % usable.size()];
    if (!seen.insert(model.tokens[left] + model.tokens[right]).second) continue;
    usable.push_back(model.Merge(left, right));
  }
  std::shuffle(model.merges.begin(), model.merges.end(), *random);
  return model;
}

std::string RandomWord(std::mt19937* random, size_t length) {
  std::string word;
  while (word.size() < length) word += static_cast<char>('a' + (*random)() % 3);
  return word;
}

TEST(BpeTest, EmptyWordHasNoTokens) { EXPECT_TRUE(Encode(Model().Build(), "").empty()); }

TEST(BpeTest, EarlierMergeWinsOverLeftmost) {
  Model model;
  const TokenId he = model.Merge('h', 'e');
  model.Merge('t', 'h');
  EXPECT_EQ(Encode(model.Build(), "the"), (std::vector<TokenId>{'t', he}));
}

TEST(BpeTest, LeftmostOfEqualPairsIsMergedFirst) {
  Model model;
  const TokenId aa = model.Merge('a', 'a');
  EXPECT_EQ(Encode(model.Build(), "aaa"), (std::vector<TokenId>{aa, 'a'}));
}

TEST(BpeTest, TokenThatItsBytesDoNotMergeToIsNeverProduced) {
  Model model;
  const TokenId he = model.Merge('h', 'e');
  const TokenId th = model.Merge('t', 'h');
  model.Merge(th, 'e');  // "the" is a token, but h+e comes first
  EXPECT_EQ(Encode(model.Build(), "the"), (std::vector<TokenId>{'t', he}));
}

TEST(BpeTest, OfTwoMergesForOnePairTheLaterCounts) {
  Model model;
  const TokenId ab = model.Merge('a', 'b');
  const TokenId bc = model.Merge('b', 'c');
  EXPECT_EQ(Encode(model.Build(), "abc"), (std::vector<TokenId>{ab, 'c'}));
  model.merges.push_back({'a', 'b', ab});
  EXPECT_EQ(Encode(model.Build(), "abc"), (std::vector<TokenId>{'a', bc}));
}

TEST(BpeTest, BytesWithoutATokenAreLeftOutBeforeMerging) {
  std::array<TokenId, 256> byte_ids;
  byte_ids.fill(-1);
  byte_ids['a'] = 0;
  byte_ids['b'] = 1;
  const BpeMerge merge = {0, 1, 2};
  const Bpe bpe(byte_ids, {&merge, 1}, {});
  EXPECT_EQ(Encode(bpe, "xaxbxb"), (std::vector<TokenId>{2, 1}));
}

TEST(BpeTest, AppendsToWhatIsThere) {
  Model model;
  const TokenId ab = model.Merge('a', 'b');
  const Bpe bpe = model.Build();
  Bpe::Workspace workspace;
  std::vector<TokenId> ids = {'a'};
  bpe.EncodeWord("b", &workspace, &ids);
  bpe.EncodeWord(std::string(100, 'b'), &workspace, &ids);
  bpe.EncodeWord("ab", &workspace, &ids);
  EXPECT_EQ(ids.size(), 103u);
  EXPECT_EQ(ids.front(), 'a');
  EXPECT_EQ(ids.back(), ab);
}

// Lengths on both sides of where scanning gives way to the queue.
TEST(BpeTest, AgreesWithTheDefinitionOnRandomModelsAndWords) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const Model model = RandomModel(&random, 60);
    const Bpe bpe = model.Build();
    for (size_t length = 0; length < 130; length += 1 + random() % 4) {
      const std::string word = RandomWord(&random, length);
      ASSERT_EQ(Encode(bpe, word), Reference(model, word)) << word;
    }
  }
}

std::vector<TokenId> InBlocks(const Bpe& bpe, std::string_view word, size_t block_bytes,
                              size_t margin_bytes) {
  Bpe::Workspace workspace;
  Bpe::LongWord long_word(&bpe, word, &workspace, block_bytes, margin_bytes);
  while (!long_word.done()) long_word.Step();
  std::vector<TokenId> ids;
  while (long_word.num_ids() > 0) long_word.Take(7, &ids);
  return ids;
}

// Blocks and margins so small that they are wrong at first time and again.
TEST(BpeTest, BlocksOfALongWordAgreeWithTheDefinition) {
  std::mt19937 random(9);
  for (int round = 0; round < 200; ++round) {
    const Model model = RandomModel(&random, 60);
    const Bpe bpe = model.Build();
    const std::string word = RandomWord(&random, random() % 130);
    const std::vector<TokenId> expected = Reference(model, word);
    for (const size_t block : {1, 2, 5, 16, 60}) {
      for (const size_t margin : {1, 3, 10}) {
        ASSERT_EQ(InBlocks(bpe, word, block, margin), expected) << word;
      }
    }
  }
}

// Bytes 1 2 3 ... of which every two neighbours merge, those further right sooner: each byte
// more changes all tokens back to the first.
TEST(BpeTest, LastByteMayChangeAllTokensOfALongWord) {
  Model model;
  for (TokenId byte = 199; byte >= 1; --byte) model.Merge(byte, byte + 1);
  const Bpe bpe = model.Build();
  std::string word;
  for (int byte = 1; byte <= 200; ++byte) {
    word += static_cast<char>(byte);
    ASSERT_EQ(InBlocks(bpe, word, 16, 4), Reference(model, word));
  }
}

TEST(BpeTest, BytesWithoutATokenAreLeftOutOfLongWords) {
  std::array<TokenId, 256> byte_ids;
  byte_ids.fill(-1);
  byte_ids['a'] = 0;
  byte_ids['b'] = 1;
  const BpeMerge merge = {0, 1, 2};
  const std::vector<BpeToken> tokens = {{0, "a"}, {1, "b"}, {2, "ab"}};
  const Bpe bpe(byte_ids, {&merge, 1}, tokens);
  std::string word;
  for (int i = 0; i < 5000; ++i) word += "xaxxbx";
  EXPECT_EQ(Encode(bpe, word), std::vector<TokenId>(5000, 2));
  EXPECT_TRUE(Encode(bpe, std::string(Bpe::kLongWordBytes, 'x')).empty());
}

TEST(BpeTest, EveryTokenAsAWordAgreesWithTheDefinition) {
  std::mt19937 random(8);
  const Model model = RandomModel(&random, 400);
  const Bpe bpe = model.Build();
  for (const std::string& token : model.tokens) {
    if (token.size() > 60) continue;
    ASSERT_EQ(Encode(bpe, token), Reference(model, token)) << token;
  }
}

// Quadratic time would run into the test's time limit.
TEST(BpeTest, MegabytesOfOneLetterBecomeTheLongestTokens) {
  Model model;
  TokenId longest = 'a';
  for (int doubling = 0; doubling < 6; ++doubling) longest = model.Merge(longest, longest);
  const std::vector<TokenId> ids = Encode(model.Build(), std::string((2 << 20) + 1, 'a'));
  ASSERT_EQ(ids.size(), (size_t{2} << 20) / 64 + 1);
  EXPECT_TRUE(std::all_of(ids.begin(), ids.end() - 1, [&](TokenId id) { return id == longest; }));
  EXPECT_EQ(ids.back(), 'a');
}

}  // namespace
}  // namespace olmoe::text
