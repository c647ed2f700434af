// JsonDocument and JsonCursor.
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/util/json_cursor.h"
#include "server/util/json_document.h"

namespace olmoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr JsonLimits kLimits = {.max_depth = 8, .max_values = 10'000};

std::string ParseError(std::string_view text, const JsonLimits& limits = kLimits) {
  const auto document = JsonDocument::Parse(text, limits);
  if (document.ok()) return "";
  EXPECT_EQ(document.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(document.status().message());
}

// A document and a cursor at its root.
class Reader {
 public:
  explicit Reader(std::string_view text) : document_(JsonDocument::Parse(text, kLimits)) {
    EXPECT_TRUE(document_.ok()) << document_.status() << " " << text;
  }

  JsonCursor root() { return JsonCursor(*document_, &status_); }
  std::string error() const { return std::string(status_.message()); }

 private:
  absl::StatusOr<JsonDocument> document_;
  absl::Status status_;
};

// What a reading of `text` says.
template <typename Read>
std::string ErrorOf(std::string_view text, const Read& read) {
  Reader reader(text);
  read(reader.root());
  return reader.error();
}

TEST(JsonDocumentTest, OneValueAndNothingBehindIt) {
  for (const char* text : {"0", " [] ", "{}", "\"\"", "null", "true", "-0.5e-3", "\xEF\xBB\xBF[1]",
                           R"({"a":[{"b":null}]})", "\"\\ud83d\\ude00\""}) {
    EXPECT_EQ(ParseError(text), "") << text;
  }
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "nul",
                           "NaN",
                           "Infinity",
                           "01",
                           "1.",
                           ".5",
                           "+1",
                           "0x10",
                           "'a'",
                           "[1] [2]",
                           "1 2",
                           "/**/1",
                           "1 // a",
                           "\"\n\"",
                           "\"\\x\"",
                           "\"\\ud800\"",
                           "1e999",
                           "\"\xFF\"",
                           "\"\xC0\x80\"",
                           "\"\xED\xA0\x80\""}) {
    EXPECT_THAT(ParseError(text), HasSubstr("not JSON at byte ")) << text;
  }
  EXPECT_EQ(ParseError(std::string_view("[1]\0[2]", 7)), "not JSON at byte 3: NUL");
}

TEST(JsonDocumentTest, LimitsAreExact) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(ParseError(nested(8)), "");
  EXPECT_EQ(ParseError(nested(9)), "[0][0][0][0][0][0][0]: nested deeper than 8");
  EXPECT_THAT(ParseError(std::string(1'000'000, '[')), HasSubstr("nested deeper than 8"));
  EXPECT_EQ(ParseError("[1,2,3]", {.max_depth = 1, .max_values = 4}), "");
  EXPECT_EQ(ParseError("[1,2,3]", {.max_depth = 1, .max_values = 3}), "more than 3 values");
  EXPECT_EQ(ParseError(R"({"a":{"b":1,"c":2}})", {.max_depth = 2, .max_values = 3}),
            "a: more than 3 values");
}

TEST(JsonDocumentTest, LongTokensAreRefused) {
  constexpr size_t kMost = 1 << 20;
  EXPECT_EQ(ParseError("[\"" + std::string(kMost - 1, 'a') + "\"]"), "");
  EXPECT_EQ(ParseError("[\"" + std::string(kMost + 1, 'a') + "\"]"),
            "more than 1048576 bytes without a break at byte 1");
  EXPECT_EQ(ParseError("[ " + std::string(kMost + 2, '1') + "]"),
            "more than 1048576 bytes without a break at byte 1");
  // What would be a break outside of a string is none inside, nor is an escaped quote.
  EXPECT_THAT(ParseError("[\"" + std::string(kMost, ',') + "\\\",,,,"),
              HasSubstr("break at byte 1"));
}

TEST(JsonDocumentTest, NoKeyTwice) {
  EXPECT_EQ(ParseError(R"({"a":1,"b":2,"a":3})"), R"(duplicate key "a")");
  EXPECT_EQ(ParseError(R"({"x":[{"a":1},{"a":1,"\u0061":3}]})"), R"(x[1]: duplicate key "a")");
  EXPECT_EQ(ParseError(R"([{"a":1},{"a":1}])"), "");
  EXPECT_EQ(ParseError(R"({"a":{"a":{"a":1}}})"), "");
}

TEST(JsonCursorTest, ReadsEveryKind) {
  Reader reader(R"({"s":"a\u00e9\n","t":true,"n":null,"u":18446744073709551615,
                    "i":-9223372036854775808,"d":0.1,"big":1e300,"a":[1,[2],{}],"zero":-0})");
  const JsonCursor root = reader.root();
  EXPECT_EQ(root["s"].String(), "a\u00e9\n");
  EXPECT_TRUE(root["t"].Bool());
  EXPECT_TRUE(root["n"].IsNull());
  EXPECT_FALSE(root["n"].IsAbsent());
  EXPECT_TRUE(root["absent"].IsNull());
  EXPECT_TRUE(root["absent"].IsAbsent());
  EXPECT_EQ(root["u"].Unsigned(), UINT64_MAX);
  EXPECT_EQ(root["i"].Integer(INT64_MIN, 0), INT64_MIN);
  EXPECT_EQ(root["zero"].Unsigned(), 0u);
  EXPECT_EQ(root["d"].Number(), 0.1);
  EXPECT_EQ(root["big"].Number(0, 1e308), 1e300);
  EXPECT_EQ(root["u"].Number(), 18446744073709551616.0);
  EXPECT_EQ(root["i"].Number(), -9223372036854775808.0);
  EXPECT_EQ(root["a"].size(), 3u);
  EXPECT_EQ(root["s"].size(), 0u);
  EXPECT_TRUE(root["absent"].BoolOr(true));
  EXPECT_EQ(reader.error(), "");
}

TEST(JsonCursorTest, FieldsComeInTheOrderOfTheText) {
  Reader reader(R"({"z":[1,2],"a":{"b":[3]},"m":4})");
  std::vector<std::string> names;
  reader.root().ForEachField(
      [&](const std::string& name, const JsonCursor&) { names.push_back(name); });
  EXPECT_THAT(names, ElementsAre("z", "a", "m"));
  std::vector<int64_t> numbers;
  reader.root()["z"].ForEach(
      [&](const JsonCursor& element) { numbers.push_back(element.Integer(0, 9)); });
  EXPECT_THAT(numbers, ElementsAre(1, 2));
  EXPECT_EQ(reader.root()["m"].Integer(0, 9), 4);
}

TEST(JsonCursorTest, AMistakeNamesItsPlaceAndWhatStandsThere) {
  const std::string text =
      R"({"a":{"b c":[1,"x"],"d":[]},"k":1.0,"n":null,"big":9223372036854775808})";
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["a"]["d"].String(); }),
            "a.d: must be a string, is []");
  EXPECT_EQ(ErrorOf(text,
                    [](JsonCursor root) {
                      root["a"]["b c"].ForEach([](const JsonCursor& e) { e.Integer(0, 5); });
                    }),
            R"(a["b c"][1]: must be an integer from 0 to 5, is "x")");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["k"].Integer(0, 5); }),
            "k: must be an integer from 0 to 5, is 1.0");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["big"].Integer(0, INT64_MAX); }),
            "big: must be an integer from 0 to 9223372036854775807, is 9223372036854775808");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["k"].Number(2, 3); }),
            "k: must be a number from 2 to 3, is 1.0");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["n"].Bool(); }),
            "n: must be true or false, is null");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["a"]["gone"].Number(); }),
            "a.gone: is missing, must be a number");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["k"]["x"]["y"].String(); }),
            "k: must be an object, is 1.0");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root["a"].ForEach([](const JsonCursor&) {}); }),
            R"(a: must be an array, is {"b c":[1,"x"],"d":[]})");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root.String(); }).substr(0, 30),
            R"(must be a string, is {"a":{"b )");
  EXPECT_EQ(ErrorOf(text, [](JsonCursor root) { root.AllowOnly({"a", "k", "n"}); }),
            R"(field "big" is not supported)");
}

TEST(JsonCursorTest, OnlyTheFirstMistakeIsKept) {
  EXPECT_EQ(ErrorOf(R"({"a":1,"b":2})",
                    [](JsonCursor root) {
                      EXPECT_EQ(root["b"].String(), "");
                      EXPECT_FALSE(root.ok());
                      EXPECT_EQ(root["a"].Integer(5, 6), 5);
                    }),
            "b: must be a string, is 2");
  int visited = 0;
  ErrorOf("[1,2,3]", [&](JsonCursor root) {
    root.ForEach([&](const JsonCursor& element) {
      ++visited;
      element.Bool();
    });
  });
  EXPECT_EQ(visited, 1);
}

TEST(JsonCursorTest, AStatusOfItsOwnTellsMistakesApart) {
  Reader reader(R"({"x":{"y":[7]}})");
  absl::Status inner;
  const JsonCursor x = reader.root()["x"].WithStatus(&inner);
  EXPECT_EQ(x["y"].Path(), "x.y");
  x["y"].ForEach([](const JsonCursor& element) { element.String(); });
  EXPECT_EQ(inner.message(), "x.y[0]: must be a string, is 7");
  inner = absl::OkStatus();
  x.AsRoot()["y"].ForEach([](const JsonCursor& element) { element.Bool(); });
  EXPECT_EQ(inner.message(), "y[0]: must be true or false, is 7");
  EXPECT_EQ(reader.error(), "");
}

TEST(JsonCursorTest, MessagesAreShortLinesWhateverTheFileHolds) {
  const std::string key(5000, '\n');
  Json json = {{key, {{key, {{key, {{key, std::string(100'000, 'x')}}}}}}}};
  const std::string text = json.dump();
  const std::string error =
      ErrorOf(text, [&](JsonCursor root) { root[key][key][key][key].Number(); });
  EXPECT_LT(error.size(), 400u);
  EXPECT_EQ(error.find('\n'), std::string::npos);
  EXPECT_THAT(error, HasSubstr("must be a number, is \"xxx"));
}

// Writes what a cursor sees in the way of the library, which is the reference.
Json Copied(const JsonCursor& value) {
  if (value.IsObject()) {
    Json object = Json::object();
    value.ForEachField(
        [&](const std::string& name, const JsonCursor& field) { object[name] = Copied(field); });
    return object;
  }
  if (value.IsArray()) {
    Json array = Json::array();
    value.ForEach([&](const JsonCursor& element) { array.push_back(Copied(element)); });
    return array;
  }
  if (value.IsString()) return value.String();
  if (value.IsNumber()) return value.Number();
  if (value.IsNull()) return nullptr;
  return value.Bool();
}

// Numbers as doubles, as Copied has them.
Json WithDoubles(const Json& json) {
  if (json.is_number()) return json.get<double>();
  if (!json.is_structured()) return json;
  Json copy = json;
  for (Json& element : copy) element = WithDoubles(element);
  return copy;
}

TEST(JsonTest, DamagedTextIsReadAsTheLibraryReadsIt) {
  const std::string whole =
      R"({"a":[1,-2,3.5e1,true,null,""],"b":{"c":"\u00e9\ud83d\ude00","d":[[],{}]},"e":false})";
  std::mt19937_64 random(1);
  int read = 0;
  for (int trial = 0; trial < 50'000; ++trial) {
    std::string text = whole;
    for (uint64_t hit = random() % 3; hit > 0; --hit) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = static_cast<char>(random());
      } else {
        text[at] = "{}[],:\"0-\\e"[random() % 11];
      }
    }
    if (text.find('\0') != text.npos) continue;
    const Json expected = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    const auto document = JsonDocument::Parse(text, kLimits);
    // The library keeps the last one.
    if (absl::StrContains(document.status().message(), "duplicate key")) continue;
    ASSERT_EQ(document.ok(), !expected.is_discarded()) << text << document.status();
    if (!document.ok()) continue;
    ++read;
    absl::Status status;
    ASSERT_EQ(Copied(JsonCursor(*document, &status)), WithDoubles(expected)) << text;
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_GT(read, 10'000);
}

}  // namespace
}  // namespace olmoe
