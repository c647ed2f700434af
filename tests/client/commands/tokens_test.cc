#include <fstream>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/client/app_fixture.h"
#include "tests/client/scored_text.h"

namespace olmoe::client::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class TokensTest : public AppFixture {
 protected:
  TokensTest() {
    server_.model_info = ScoredModel();
    server_.score_response = ScoredText();
    for (const auto& [id, piece] :
         {std::pair(10, "Once"), std::pair(11, " a"), std::pair(12, " zebra")}) {
      server_.tokenize_response.add_ids(static_cast<uint32_t>(id));
      server_.tokenize_response.add_pieces(piece);
    }
  }

  std::string InColours(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--server", server_.address()});
    std::ostringstream out, err;
    std::istringstream in;
    EXPECT_EQ(RunApp(arguments, {.in = &in, .out = &out, .err = &err, .out_is_terminal = true}),
              ExitCode::kOk)
        << err.str();
    return out.str();
  }
};

TEST_F(TokensTest, ATableHasARowAToken) {
  ASSERT_EQ(Run({"tokens", "Once a zebra", "--policy", "top-k=1", "--routing-seed", "3"}),
            ExitCode::kOk)
      << err_.str();
  EXPECT_EQ(out_.str(),
            "#  TOKEN  PIECE       PROB  LOGPROB  RANK     K  ENTROPY  BUSIEST\n"
            "1     10  \"Once\"    0.7071  -0.3466     1  2.00    1.314  1:3 0:2 1:0\n"
            "2     11  \" a\"      0.2500  -1.3863     3  1.50    1.242  1:1 0:0 1:2\n"
            "3     12  \" zebra\"  0.0010  -6.9315    11     -        -  -\n");
  EXPECT_EQ(err_.str(), "[generation 5, arm default, policy p | 3 tokens, perplexity 17.959]\n");
  EXPECT_EQ(server_.tokenize_request.text(), "Once a zebra");
  EXPECT_FALSE(server_.tokenize_request.add_special_tokens());
  const v1::ScoreRequest& request = server_.score_request;
  ASSERT_EQ(request.items_size(), 1);
  EXPECT_TRUE(request.items(0).rolling());
  EXPECT_THAT(request.items(0).continuation_tokens().ids(), ElementsAre(10, 11, 12));
  EXPECT_TRUE(request.per_token());
  EXPECT_TRUE(request.trace().experts() && request.trace().weights() && request.trace().logits());
  EXPECT_EQ(request.routing().policy().apply().top_k().k(), 1u);
  EXPECT_EQ(request.routing_seed(), 3u);
}

TEST_F(TokensTest, OneLayerOrAllOfThemCanBeShown) {
  ASSERT_EQ(Run({"tokens", "x", "--layer", "1"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("RANK     K  ENTROPY  EXPERTS\n"));
  EXPECT_THAT(out_.str(), HasSubstr("     1  3.00    1.242  3 0 1\n"));
  ASSERT_EQ(Run({"tokens", "x", "--per-layer", "--top", "1"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("BUSIEST  K BY LAYER\n"));
  EXPECT_THAT(out_.str(), HasSubstr("1:3      1 3\n"));
  EXPECT_EQ(Run({"tokens", "x", "--layer", "2"}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--layer 2: the model has 2 layers"));
}

TEST_F(TokensTest, TheTextIsAnArgumentAFileOrTheStandardInput) {
  ASSERT_EQ(Run({"tokens"}, "from a pipe\n"), ExitCode::kOk);
  EXPECT_EQ(server_.tokenize_request.text(), "from a pipe");
  const std::string path = ::testing::TempDir() + "/tokens.txt";
  std::ofstream(path) << "from a file\n";
  ASSERT_EQ(Run({"tokens", "--file", path}), ExitCode::kOk);
  EXPECT_EQ(server_.tokenize_request.text(), "from a file\n");
  ASSERT_EQ(Run({"tokens", "--ids", "10,11,12"}), ExitCode::kOk);
  EXPECT_THAT(server_.score_request.items(0).continuation_tokens().ids(), ElementsAre(10, 11, 12));
  EXPECT_THAT(out_.str(), HasSubstr("1     10         0.7071"));
  std::ofstream(path) << "10,11,12\n";
  EXPECT_EQ(Run({"tokens", "--ids", "--file", path}), ExitCode::kOk) << err_.str();
}

TEST_F(TokensTest, OnATerminalTheTextIsColoured) {
  const std::string on = "\x1b[48;5;", ink = "m\x1b[30m";
  EXPECT_THAT(InColours({"tokens", "x"}), HasSubstr("Once" + on + "194" + ink + " a\x1b[0m" + on +
                                                    "203" + ink + " zebra\x1b[0m\nprobability"));
  EXPECT_THAT(
      InColours({"tokens", "x", "--color-by", "k"}),
      HasSubstr(on + "194" + ink + "Once\x1b[0m" + on + "194" + ink + " a\x1b[0m zebra\nexperts:"));
  EXPECT_THAT(InColours({"tokens", "x", "--color-by", "k", "--layer", "1"}),
              HasSubstr(on + "229" + ink + "Once\x1b[0m" + on + "194" + ink + " a\x1b[0m zebra\n"));
  EXPECT_THAT(
      InColours({"tokens", "x", "--color-by", "entropy"}),
      HasSubstr(on + "209" + ink + "Once\x1b[0m" + on + "215" + ink + " a\x1b[0m zebra\nentropy"));
  EXPECT_THAT(InColours({"tokens", "--ids", "10,11,12"}),
              HasSubstr("10" + on + "194" + ink + " 11\x1b"));
  EXPECT_THAT(InColours({"tokens", "x", "--format", "table"}), HasSubstr("BUSIEST"));
  EXPECT_THAT(InColours({"tokens", "x", "--no-color"}), HasSubstr("BUSIEST"));
}

TEST_F(TokensTest, JsonHasAllLayersOrOne) {
  ASSERT_EQ(Run({"tokens", "x", "--json"}), ExitCode::kOk);
  auto json = nlohmann::json::parse(out_.str());
  EXPECT_EQ(json["layers"], nlohmann::json({0, 1}));
  EXPECT_EQ(json["routing"]["generation"], "5");
  ASSERT_EQ(json["tokens"].size(), 3u);
  const auto& first = json["tokens"][0];
  EXPECT_EQ(first["token_id"], 10);
  EXPECT_EQ(first["piece"], "Once");
  EXPECT_EQ(first["rank"], 1);
  EXPECT_NEAR(first["logprob"].get<double>(), -0.3466, 1e-4);
  EXPECT_EQ(first["k"], nlohmann::json({1, 3}));
  EXPECT_NEAR(first["entropy"][0].get<double>(), 1.3863, 1e-4);
  EXPECT_EQ(first["experts"], nlohmann::json::parse("[[2], [3, 0, 1]]"));
  EXPECT_EQ(first["weights"], nlohmann::json::parse("[[0.375], [0.5, 0.25, 0.125]]"));
  EXPECT_TRUE(json["tokens"][2]["k"].is_null());
  EXPECT_TRUE(json["tokens"][2]["experts"].is_null());
  ASSERT_EQ(Run({"tokens", "--ids", "10,11,12", "--format", "json", "--layer", "1"}),
            ExitCode::kOk);
  json = nlohmann::json::parse(out_.str());
  EXPECT_EQ(json["layers"], nlohmann::json({1}));
  EXPECT_EQ(json["tokens"][0]["k"], nlohmann::json({3}));
  EXPECT_TRUE(json["tokens"][0]["piece"].is_null());
}

TEST_F(TokensTest, WhatIsWrongIsTold) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"tokens", "x", "--file", "y"},
                                             {"tokens", "--file", "/no/such/file"},
                                             {"tokens", "--ids", "one"},
                                             {"tokens", "\xff"},
                                             {"tokens", "x", "--layer", "-1"},
                                             {"tokens", "x", "--color-by", "mood"},
                                             {"tokens", "x", "--policy", "nonsense=1"}}) {
    EXPECT_EQ(Run(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(err_.str(), Not(HasSubstr("Run with --help")));
  }
  server_.score_failure = absl::PermissionDeniedError("no");
  EXPECT_EQ(Run({"tokens", "x", "--policy", "top-k=1"}), ExitCode::kNotAllowed);
  EXPECT_THAT(err_.str(), HasSubstr("--allow-inline-policy"));
  server_.score_failure = absl::OkStatus();
  server_.tokenize_response.add_ids(13);
  EXPECT_EQ(Run({"tokens", "x"}), ExitCode::kFailed);  // a piece is missing
  server_.tokenize_response.add_pieces("!");
  EXPECT_EQ(Run({"tokens", "x"}), ExitCode::kFailed);  // a score is missing
  server_.tokenize_response.Clear();
  EXPECT_EQ(Run({"tokens", ""}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("the text is empty"));
}

}  // namespace
}  // namespace olmoe::client::commands
