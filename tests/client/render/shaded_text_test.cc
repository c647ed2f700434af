#include "client/render/shaded_text.h"

#include "gtest/gtest.h"

namespace olmoe::client::render {
namespace {

const HeatScale& Scale() {
  static const HeatScale scale = {{' ', kNoColor, "low"}, {' ', 203, "high"}};
  return scale;
}

std::string Shaded(const std::vector<ShadedPart>& parts, bool color = true) {
  return RenderShadedText(parts, Scale(), Style(color));
}

TEST(RenderShadedText, PutsEachPartOnItsColour) {
  EXPECT_EQ(Shaded({{"Once", 0}, {" upon", 1}, {" a", -1}}),
            "Once\x1b[48;5;203m\x1b[30m upon\x1b[0m a\n");
  EXPECT_EQ(Shaded({{"Once", 0}, {" upon", 1}}, /*color=*/false), "Once upon\n");
  EXPECT_EQ(Shaded({}), "");
}

TEST(RenderShadedText, ColoursNoLineFeed) {
  EXPECT_EQ(Shaded({{"a\n\nb", 1}, {"\n", 1}}),
            "\x1b[48;5;203m\x1b[30ma\x1b[0m\n\n\x1b[48;5;203m\x1b[30mb\x1b[0m\n");
}

TEST(RenderShadedText, KeepsACharacterOfSeveralTokensWhole) {
  EXPECT_EQ(Shaded({{"\xc3", 0}, {"\xa9", 1}}), "\x1b[48;5;203m\x1b[30m\xc3\xa9\x1b[0m\n");
  EXPECT_EQ(Shaded({{"a\xc3", 0}}), "a\xef\xbf\xbd\n");         // the text ends inside of one
  EXPECT_EQ(Shaded({{"\xff", 0}, {"b", 0}}),
            "\xef\xbf\xbd"
            "b\n");  // of no character
}

TEST(RenderShadedText, SendsNoEscapeSequenceOfAModel) {
  EXPECT_EQ(Shaded({{"\x1b[2J", 0}}), "\xef\xbf\xbd[2J\n");
}

}  // namespace
}  // namespace olmoe::client::render
