#include "server/util/command_line.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe {
namespace {

using ::testing::HasSubstr;

// The value of --n on this command line, or what is wrong with it.
template <class Target>
std::string Parse(const std::string& text, Target* target, Bounds<int> bounds = {}) {
  CLI::App app("", "tool");
  if constexpr (std::is_same_v<Target, int>) {
    AddNumber(app, "--n", *target, "", bounds);
  } else {
    AddNumber(app, "--n", *target, "");
  }
  try {
    app.parse(std::vector<std::string>{"--n=" + text});
  } catch (const CLI::ParseError& error) {
    return DescribeParseError(app, error);
  }
  return "";
}

TEST(AddNumberTest, WholeNumbersAreDecimalAndFitTheirType) {
  uint64_t large = 0;
  EXPECT_EQ(Parse("18446744073709551615", &large), "");
  EXPECT_EQ(large, UINT64_MAX);
  EXPECT_EQ(Parse("010", &large), "");
  EXPECT_EQ(large, 10u) << "no octal numbers";
  for (const char* text : {"-1", "-18446744073709551615", "18446744073709551616",
                           "99999999999999999999", "0x10", "1.0", "1e3", "+1", " 1", "1 ", "x"}) {
    EXPECT_THAT(Parse(text, &large), HasSubstr("--n")) << text;
    EXPECT_THAT(Parse(text, &large),
                HasSubstr("is not a whole number from 0 to 18446744073709551615"))
        << text;
  }
  EXPECT_THAT(Parse("", &large), HasSubstr("--n"));
  std::optional<uint32_t> small;
  EXPECT_EQ(Parse("4294967295", &small), "");
  EXPECT_EQ(small, UINT32_MAX);
  EXPECT_THAT(Parse("4294967296", &small), HasSubstr("from 0 to 4294967295"));
  int bounded = 0;
  EXPECT_EQ(Parse("-5", &bounded, {-5, 5}), "");
  EXPECT_EQ(bounded, -5);
  for (const char* text : {"-6", "6", "-99999999999999999999"}) {
    EXPECT_THAT(Parse(text, &bounded, {-5, 5}), HasSubstr("from -5 to 5")) << text;
  }
  int64_t lowest = 0;
  EXPECT_EQ(Parse("-9223372036854775808", &lowest), "");
  EXPECT_EQ(lowest, INT64_MIN);
  EXPECT_NE(Parse("-9223372036854775809", &lowest), "");
}

TEST(AddNumberTest, NumbersAreFinite) {
  std::optional<double> value;
  EXPECT_EQ(Parse("-2.5e-3", &value), "");
  EXPECT_EQ(value, -2.5e-3);
  for (const char* text : {"nan", "inf", "-inf", "1e999", "one", "0x1p3"}) {
    EXPECT_THAT(Parse(text, &value), HasSubstr("is not a number")) << text;
  }
}

TEST(IsSizeTest, LeavesBytesAndRefusesWhatIsNone) {
  const CLI::Validator is_size = IsSize();
  for (const auto& [given, bytes] : std::vector<std::pair<std::string, std::string>>{
           {"4096", "4096"}, {"2KiB", "2048"}, {"0010", "10"}, {"1 MiB", "1048576"}}) {
    std::string text = given;
    EXPECT_EQ(is_size(text), "") << given;
    EXPECT_EQ(text, bytes);
  }
  for (const char* given : {"-1", "-1KiB", "0x10", "3parsecs", "MiB", "", "1.5GiB",
                            "99999999999999999999", "18446744073709551615GiB"}) {
    std::string text = given;
    EXPECT_THAT(is_size(text), HasSubstr("is not a size such as 512MiB")) << given;
  }
}

TEST(NearestTest, FindsWhatWasProbablyMeant) {
  const std::vector<std::string> known = {"generate", "score",   "experts",
                                          "--top-k",  "--top-p", "--weights"};
  for (const auto& [word, meant] :
       std::vector<std::pair<std::string, std::string>>{{"generat", "generate"},
                                                        {"genarate", "generate"},
                                                        {"gen", "generate"},
                                                        {"scroe", "score"},
                                                        {"expert", "experts"},
                                                        {"--topk", "--top-k"},
                                                        {"--top_p", "--top-p"},
                                                        {"--weight", "--weights"},
                                                        {"frobnicate", ""},
                                                        {"x", ""},
                                                        {"--", ""}}) {
    EXPECT_EQ(Nearest(word, known), meant) << word;
  }
}

TEST(DescribeParseErrorTest, NamesTheCommandAndTheNearestOfItsFlags) {
  CLI::App app("", "tool");
  app.require_subcommand(1);
  bool wide = false;
  CLI::App* paint = app.add_subcommand("paint");
  paint->add_flag("--wide", wide);
  paint->add_flag("--hidden", wide)->group("");
  const auto describe = [&app](std::vector<std::string> arguments) -> std::string {
    try {
      app.parse(std::move(arguments));
    } catch (const CLI::ParseError& error) {
      return DescribeParseError(app, error);
    }
    return "";
  };
  EXPECT_EQ(describe({"piant"}),
            "\"piant\": no such command of tool; did you mean paint? (see tool --help)");
  EXPECT_EQ(describe({"--wid=3", "paint"}),
            "--wid: no such flag of tool paint; did you mean "
            "--wide? (see tool paint --help)");
  EXPECT_EQ(describe({"--hiden", "paint"}),
            "--hiden: no such flag of tool paint (see tool paint "
            "--help)");
}

}  // namespace
}  // namespace olmoe
