#include "server/text/byte_alphabet.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace olmoe::text {
namespace {

TEST(ByteAlphabetTest, EveryByteHasItsOwnCharacterAndComesBack) {
  std::set<std::string> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = AlphabetCharacter(static_cast<uint8_t>(byte));
    characters.insert(character);
    EXPECT_EQ(BytesFromAlphabet(character), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(characters.size(), 256u);
}

TEST(ByteAlphabetTest, KnownCharacters) {
  EXPECT_EQ(AlphabetCharacter('a'), "a");
  EXPECT_EQ(AlphabetCharacter(' '), "\u0120");
  EXPECT_EQ(AlphabetCharacter('\n'), "\u010A");
  EXPECT_EQ(AlphabetCharacter(0x00), "\u0100");
  EXPECT_EQ(AlphabetCharacter(0x7F), "\u0121");
  EXPECT_EQ(AlphabetCharacter(0xAD), "\u0143");
  EXPECT_EQ(AlphabetCharacter(0xE9), "\u00E9");
}

TEST(ByteAlphabetTest, TextWithAnythingElseIsNotInTheAlphabet) {
  EXPECT_EQ(BytesFromAlphabet(""), "");
  EXPECT_EQ(BytesFromAlphabet("\u0120the"), " the");
  EXPECT_FALSE(BytesFromAlphabet("a b").has_value());
  EXPECT_FALSE(BytesFromAlphabet("\u00AD").has_value());
  EXPECT_FALSE(BytesFromAlphabet("\u0144").has_value());
  EXPECT_FALSE(BytesFromAlphabet("\U0001F600").has_value());
}

}  // namespace
}  // namespace olmoe::text
