// The real `olmoectl route` over the vectors of an independent oracle.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/test_data.h"

namespace olmoe::client::route {
namespace {

using nlohmann::json;

std::vector<json> Lines(const std::string& text) {
  std::vector<json> lines;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(json::parse(text.substr(start, end - start)));
    start = end + 1;
  }
  return lines;
}

// What the binary printed; the test fails where it did not end well.
std::string RunRoute(const std::string& arguments) {
  const std::string command = std::string("'") + OLMOECTL_PATH + "' route " + arguments;
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return text;
}

void ExpectNumbers(const json& printed, const json& expected, double relative, double absolute) {
  ASSERT_EQ(printed.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double value = expected[i];
    EXPECT_NEAR(printed[i].get<double>(), value, relative * value + absolute) << "[" << i << "]";
  }
}

// `policy`: the rule that decided.
void ExpectDecision(const json& printed, const json& expected, const json& policy) {
  for (const auto& [name, value] : expected.items()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(name == "s_first" || printed.contains(name)) << printed;
    if (name == "weights") {
      ExpectNumbers(printed[name], value, 2e-5, 1e-37);
    } else if (name == "p_first") {
      const bool cdf = policy.at("pvalue") == "LAYER_CDF";
      ExpectNumbers(printed[name], value, cdf ? 1e-8 : 0, cdf ? 1e-15 : 1e-5);
    } else if (name != "candidate" && name != "s_first") {
      EXPECT_EQ(printed[name], value);
    }
  }
  for (const auto& [name, value] : printed.items()) EXPECT_TRUE(expected.contains(name)) << name;
}

const json& RuleThatRan(const json& c) {
  if (c.contains("base")) return c.at("base");
  const bool late =
      c.contains("prompt_tokens") && c.value("position", uint64_t{0}) >= c.at("prompt_tokens");
  return late && c.contains("decode") ? c.at("decode") : c.at("policy");
}

// Returns the number of cases.
size_t ExpectVectors(const std::string& folder) {
  const std::vector<json> cases = Lines(testing::ReadFileOrDie(folder + "/vectors.jsonl"));
  const std::vector<json> printed = Lines(
      RunRoute("--cases '" + folder + "/vectors.jsonl' --tables '" + folder + "/tables.jsonl'"));
  EXPECT_EQ(printed.size(), cases.size());
  if (printed.size() != cases.size()) return 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE("id " + cases[i].at("id").dump());
    const json& expected = cases[i].at("expected");
    const json& policy = cases[i].at("policy");
    ExpectDecision(printed[i], expected, RuleThatRan(cases[i]));
    if (!expected.contains("candidate")) continue;
    ExpectDecision(printed[i].at("candidate"), expected.at("candidate"), policy);
  }
  return cases.size();
}

TEST(RouteVectorsTest, EveryVectorIsDecidedAsTheOracleDoes) {
  EXPECT_EQ(ExpectVectors(testing::SourcePath("tests/data/routing")), 426u);
}

TEST(RouteVectorsTest, EverySelectionIsTheOracles) {
  EXPECT_EQ(ExpectVectors(testing::SourcePath("tests/data/selection")), 559u);
}

}  // namespace
}  // namespace olmoe::client::route
