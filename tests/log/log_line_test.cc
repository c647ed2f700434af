#include "server/log/log_line.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace olmoe::log {
namespace {

using ::testing::EndsWith;
using ::testing::MatchesRegex;

LogLine Line(std::string value) {
  LogLine line{.time = absl::FromUnixMicros(1'500'000), .message = "request", .fields = {}};
  line.fields = {{"id", std::move(value)}, {"tokens", uint64_t{7}}, {"seconds", 0.25}};
  return line;
}

TEST(LogLineTest, JsonIsOneObjectWithTheFieldsInOrder) {
  EXPECT_EQ(FormatLine(Line("a b"), LogFormat::kJson),
            "{\"time\":\"1970-01-01T00:00:01.500000Z\",\"severity\":\"INFO\","
            "\"message\":\"request\",\"id\":\"a b\",\"tokens\":7,\"seconds\":0.25}\n");
}

TEST(LogLineTest, TextReadsAsOtherLogLines) {
  EXPECT_THAT(FormatLine(Line("a"), LogFormat::kText),
              MatchesRegex("I[0-9]{8} [0-9:.]{15} request\\] id=a tokens=7 seconds=0.25\n"));
}

TEST(LogLineTest, ALineStaysALineWhateverAClientSends) {
  const std::string hostile = std::string("\n\r\t\"\\ }\x80\xff\x01\0", 11) + "\xe2\x80\xa8";
  const std::string json = FormatLine(Line(hostile), LogFormat::kJson);
  EXPECT_EQ(std::count(json.begin(), json.end(), '\n'), 1);
  EXPECT_EQ(nlohmann::json::parse(json)["tokens"], 7);
  const std::string text = FormatLine(Line(hostile), LogFormat::kText);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  const auto is_printable = [](char c) { return c >= ' ' && c < 127; };
  EXPECT_TRUE(std::all_of(text.begin(), text.end() - 1, is_printable));
  EXPECT_THAT(text, EndsWith("\" tokens=7 seconds=0.25\n"));
}

TEST(LogLineTest, TextQuotesWhatIsNotOneWord) {
  EXPECT_THAT(FormatLine(Line(""), LogFormat::kText), ::testing::HasSubstr(" id=\"\" "));
  EXPECT_THAT(FormatLine(Line("a b"), LogFormat::kText), ::testing::HasSubstr(" id=\"a b\" "));
}

}  // namespace
}  // namespace olmoe::log
