#include "server/util/utf8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace olmoe {
namespace {

using ::testing::ElementsAreArray;

TEST(Utf8Test, WellFormedTextIsAccepted) {
  EXPECT_TRUE(IsWellFormedUtf8(""));
  EXPECT_TRUE(IsWellFormedUtf8(std::string(1, '\0')));
  EXPECT_TRUE(IsWellFormedUtf8("plain ascii of more than eight bytes"));
  EXPECT_TRUE(IsWellFormedUtf8("0123456\u00E9 \u4F60\u597D \U0001F600 \U0010FFFF \uFFFF \uD7FF"));
}

TEST(Utf8Test, IllFormedTextIsRefusedAtEveryAlignment) {
  for (const std::string bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x80\x80", "\xE2\x82", "\xED\xA0\x80",
        "\xF0\x80\x80\x80", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    for (size_t before = 0; before < 17; ++before) {
      const std::string prefix(before, 'a');
      EXPECT_FALSE(IsWellFormedUtf8(prefix + bad)) << before;
      EXPECT_EQ(FirstIllFormedByte(prefix + bad + "a long tail of ascii"), before);
    }
  }
}

TEST(Utf8Test, EachMaximalIllFormedPartBecomesOneReplacement) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(LossyUtf8(""), "");
  EXPECT_EQ(LossyUtf8("a\u00E9"), "a\u00E9");
  EXPECT_EQ(LossyUtf8("a\xFF\xFE"
                      "b"),
            "a" + r + r + "b");
  EXPECT_EQ(LossyUtf8("\xF0\x9F\x98"), r);              // could have become a character
  EXPECT_EQ(LossyUtf8("\xF0\x9F\x98!"), r + "!");
  EXPECT_EQ(LossyUtf8("\xE2\x82\xE2\x82\xAC"), r + "\u20AC");
  EXPECT_EQ(LossyUtf8("\xED\xA0\x80"), r + r + r);      // a surrogate: no byte may follow ED
  EXPECT_EQ(LossyUtf8("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(LossyUtf8("\xC0\x80"), r + r);
  // Table 3-8 of the Unicode Standard.
  EXPECT_EQ(LossyUtf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
}

TEST(Utf8Test, OnlyAPossibleBeginningIsHeldBack) {
  const std::pair<std::string, size_t> cases[] = {{"", 0},
                                                  {"abc", 3},
                                                  {"a\u00E9", 3},
                                                  {"a\xC3", 1},
                                                  {"\xE2", 0},
                                                  {"\xE2\x82", 0},
                                                  {"\u20AC", 3},
                                                  {"\xF0\x9F\x98", 0},
                                                  {"x\xF0\x9F", 1},
                                                  {"\U0001F600", 4},
                                                  {"\xFF", 1},
                                                  {"\x80", 1},
                                                  {"\xC0", 1},
                                                  {"\xE0\x80", 2},
                                                  {"\xED\xA0", 2},
                                                  {"\xF4\x90", 2},
                                                  {"\xF5", 1},
                                                  {"\xC3\xC3", 1},
                                                  {"\x80\x80\x80\x80", 4}};
  for (const auto& [bytes, complete] : cases) {
    EXPECT_EQ(CompleteUtf8Prefix(bytes), complete) << ::testing::PrintToString(bytes);
  }
}

// One of each kind of byte at both ends of each range that the tables of UTF-8 tell apart.
constexpr char kTellingBytes[] = {'\x00', '\x41', '\x7F', '\x80', '\x8F', '\x90', '\x9F',
                                  '\xA0', '\xBF', '\xC0', '\xC1', '\xC2', '\xDF', '\xE0',
                                  '\xE1', '\xEC', '\xED', '\xEE', '\xEF', '\xF0', '\xF1',
                                  '\xF3', '\xF4', '\xF5', '\xFF'};

// Calls `check` with every string of up to four of them. Each lies in memory of exactly its
// size, so that AddressSanitizer sees a read beyond either end.
void ForEveryShortString(const std::function<void(std::string_view)>& check) {
  for (size_t size = 0; size <= 4; ++size) {
    const std::unique_ptr<char[]> bytes(new char[size]);
    size_t count = 1;
    for (size_t i = 0; i < size; ++i) count *= std::size(kTellingBytes);
    for (size_t number = 0; number < count; ++number) {
      size_t rest = number;
      for (size_t i = 0; i < size; ++i, rest /= std::size(kTellingBytes)) {
        bytes[i] = kTellingBytes[rest % std::size(kTellingBytes)];
      }
      check({bytes.get(), size});
    }
  }
}

// Whether bytes could follow that make a character of all of `bytes`: by trying.
bool CouldBeCompleted(std::string_view bytes) {
  for (size_t more = 1; bytes.size() + more <= 4; ++more) {
    for (const char second : {'\x80', '\x90', '\xA0'}) {
      const std::string whole = std::string(bytes) + second + std::string(more - 1, '\x80');
      if (IsWellFormedUtf8(whole) && CountCodePoints(whole) == 1) return true;
    }
  }
  return false;
}

TEST(Utf8Test, EveryShortStringIsHeldBackByItsEndAlone) {
  ForEveryShortString([](std::string_view bytes) {
    size_t expected = bytes.size();
    for (size_t held = std::min<size_t>(3, bytes.size()); held > 0; --held) {
      if (!CouldBeCompleted(bytes.substr(bytes.size() - held))) continue;
      expected = bytes.size() - held;
      break;
    }
    ASSERT_EQ(CompleteUtf8Prefix(bytes), expected) << ::testing::PrintToString(bytes);
  });
}

TEST(Utf8Test, EveryShortStringBecomesWellFormed) {
  ForEveryShortString([](std::string_view bytes) {
    const std::string text = LossyUtf8(bytes);
    ASSERT_TRUE(IsWellFormedUtf8(text)) << ::testing::PrintToString(bytes);
    ASSERT_EQ(text == bytes, IsWellFormedUtf8(bytes));
  });
}

TEST(Utf8Test, CodePointsAreCountedAndRead) {
  const std::string text = "a\u00E9\u20AC\U0001F600";
  EXPECT_EQ(CountCodePoints(text), 4u);
  size_t position = 0;
  std::vector<char32_t> read;
  while (position < text.size()) read.push_back(NextCodePoint(text, &position));
  EXPECT_THAT(read, ElementsAreArray({0x61, 0xE9, 0x20AC, 0x1F600}));
}

}  // namespace
}  // namespace olmoe
