#include "server/text/unicode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unicode/uchar.h>
#include <unicode/uversion.h>

#include <vector>

namespace olmoe::text {
namespace {

using ::testing::ElementsAreArray;

bool IcuIsNewerThanTheReference() {
  UVersionInfo version;
  u_getUnicodeVersion(version);
  return version[0] > 16;
}

TEST(UnicodeTest, LettersAndNumbersAreThoseOfUnicode16) {
  if (IcuIsNewerThanTheReference()) GTEST_SKIP() << "ICU knows letters that 16.0 does not";
  int letters = 0;
  int numbers = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    letters += ClassOf(c) == CharClass::kLetter;
    numbers += ClassOf(c) == CharClass::kNumber;
  }
  EXPECT_EQ(letters, 141028);
  EXPECT_EQ(numbers, 1911);
}

TEST(UnicodeTest, ClassesOfCharactersNewerThanUnicode15) {
  EXPECT_EQ(ClassOf(0x1C89), CharClass::kLetter);   // the first of the table
  EXPECT_EQ(ClassOf(0x2EBF0), CharClass::kLetter);  // 15.1
  EXPECT_EQ(ClassOf(0x2EE5D), CharClass::kLetter);  // the last of the table
  EXPECT_EQ(ClassOf(0x10D40), CharClass::kNumber);
  EXPECT_EQ(ClassOf(0x1CCF9), CharClass::kNumber);
  EXPECT_EQ(ClassOf(0x1C8B), CharClass::kOther);   // not assigned
  EXPECT_EQ(ClassOf(0x1CC00), CharClass::kOther);  // a symbol of 16.0
  EXPECT_EQ(ClassOf(0x2EE5E), CharClass::kOther);
}

// The number and the sum that Hugging Face tokenizers 0.23.3 gives: added tokens with single_word
// before every code point.
TEST(UnicodeTest, WordCharactersAreThoseOfTheReference) {
  if (IcuIsNewerThanTheReference()) GTEST_SKIP() << "ICU knows letters that 16.0 does not";
  int count = 0;
  int64_t sum = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (!IsWordCharacter(c)) continue;
    ++count;
    sum += static_cast<int64_t>(c);
  }
  EXPECT_EQ(count, 144667);
  EXPECT_EQ(sum, 15621645388);
}

TEST(UnicodeTest, WhiteSpaceIsExactlyTheProperty) {
  std::vector<char32_t> expected = {9, 10, 11, 12, 13, 0x20, 0x85, 0xA0, 0x1680};
  for (char32_t c = 0x2000; c <= 0x200A; ++c) expected.push_back(c);
  for (char32_t c : {0x2028, 0x2029, 0x202F, 0x205F, 0x3000}) expected.push_back(c);
  std::vector<char32_t> found;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (ClassOf(c) == CharClass::kSpace) found.push_back(c);
  }
  EXPECT_THAT(found, ElementsAreArray(expected));
}

}  // namespace
}  // namespace olmoe::text
