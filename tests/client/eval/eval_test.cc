// The parts of `olmoectl eval` that need no server.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/eval/bootstrap.h"
#include "client/eval/corpus.h"
#include "client/eval/dataset.h"
#include "client/eval/journal.h"
#include "client/eval/report.h"
#include "client/eval/result.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "olmoe/v1/inference.pb.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_data.h"

namespace olmoe::client::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Corpus, DocumentsAreSeparatedByALineOfItsOwn) {
  EXPECT_THAT(SplitDocuments("a\nb\n<|endoftext|>\n\nc <|endoftext|> d\n<|endoftext|>\n"
                             "<|endoftext|>\n\n"),
              ElementsAre("a\nb", "c <|endoftext|> d"));
  EXPECT_THAT(SplitDocuments("<|endoftext|>\r\na\r\n<|endoftext|>\r\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(SplitDocuments("one\n\ntwo\n"), ElementsAre("one\n\ntwo"));
  EXPECT_THAT(SplitDocuments(""), ElementsAre());
  EXPECT_THAT(SplitLines("one\n\ntwo\n"), ElementsAre("one", "two"));
}

TEST(Corpus, QuestionsAreReadAndWrongOnesNamed) {
  const auto questions =
      ParseQuestions("{\"context\": \"Q\", \"continuations\": [\" a\", \" b\"], \"label\": 1}\n\n");
  ASSERT_TRUE(questions.ok()) << questions.status();
  ASSERT_EQ(questions->size(), 1u);
  EXPECT_EQ((*questions)[0].context, "Q");
  EXPECT_THAT((*questions)[0].continuations, ElementsAre(" a", " b"));
  EXPECT_EQ((*questions)[0].label, 1u);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\n[]", "line 2: must be an object, is []"},
      {R"({"continuations": ["a", "b"], "label": 0})",
       "line 1: context: is missing, must be a string"},
      {R"({"context": "", "continuations": ["a"], "label": 0})", "2..256"},
      {R"({"context": "", "continuations": ["a", ""], "label": 0})",
       "continuations[1]: must not be empty"},
      {R"({"context": "", "continuations": ["a", "b"], "label": 2})",
       "label: must be an integer from 0 to 1"},
      {R"({"context": "", "continuations": ["a", "b"], "label": "a"})",
       "label: must be an integer from 0 to 1"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(std::string(ParseQuestions(text).status().message()), HasSubstr(message));
  }
}

TEST(Corpus, FilesThatCannotBeUsedAreNamed) {
  testing::TempFolder folder;
  for (const std::string& path :
       {folder.path(), folder.File("absent.txt"), folder.Write("empty.txt", "\n"),
        folder.Write("bytes.txt", "a\xff"), folder.Write("bad.jsonl", "x")}) {
    const auto corpus = ReadCorpus(path, /*line_documents=*/false);
    EXPECT_EQ(corpus.status().code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_THAT(std::string(corpus.status().message()), StartsWith(path));
  }
}

TEST(Corpus, TheEvaluationSetsAreRead) {
  for (const char* name : {"arc_easy", "piqa"}) {
    const std::string file = absl::StrCat("deploy/demo/data/", name, ".jsonl");
    const auto corpus = ReadCorpus(testing::SourcePath(file), false);
    ASSERT_TRUE(corpus.ok()) << corpus.status();
    EXPECT_TRUE(corpus->is_choice);
    EXPECT_GT(corpus->questions.size(), 100u);
  }
  const auto passages = ReadCorpus(testing::DataPath("eval/wiki_passages.txt"), true);
  ASSERT_TRUE(passages.ok()) << passages.status();
  EXPECT_EQ(passages->documents.size(), 500u);
}

TEST(Windows, EveryTokenButTheFirstIsPredictedOnce) {
  for (const Cutting& cutting : {Cutting{4, 4}, Cutting{4, 2}, Cutting{5, 3}, Cutting{1, 1}}) {
    for (size_t tokens = 0; tokens < 30; ++tokens) {
      size_t next = 1;
      for (const TokenWindow& window : CutWindows(tokens, cutting)) {
        EXPECT_EQ(window.first, next);
        EXPECT_LT(window.begin, window.first);
        EXPECT_GT(window.end, window.first);
        EXPECT_LE(window.end - window.begin, cutting.window + 1);
        next = window.end;
      }
      EXPECT_EQ(next, std::max<size_t>(tokens, 1)) << tokens;
    }
  }
}

TEST(Windows, OverlappingOnesPredictOnlyWhatIsNew) {
  EXPECT_THAT(CutWindows(10, {.window = 4, .stride = 2}),
              ElementsAre(TokenWindow{0, 1, 5}, TokenWindow{2, 5, 7}, TokenWindow{4, 7, 9},
                          TokenWindow{6, 9, 10}));
  EXPECT_THAT(CutWindows(10, {.window = 4, .stride = 4, .limit = 2}),
              ElementsAre(TokenWindow{0, 1, 5}, TokenWindow{4, 5, 9}));
}

// A reply with one result per list of log-probabilities; rank 1 where it is > -1.
v1::ScoreResponse Reply(const std::vector<std::vector<float>>& results, uint32_t prompt_tokens,
                        uint64_t activations) {
  v1::ScoreResponse response;
  for (const std::vector<float>& logprobs : results) {
    v1::ScoreResult* result = response.add_results();
    for (const float logprob : logprobs) {
      result->set_logprob_sum(result->logprob_sum() + logprob);
      v1::ScoredToken* token = result->add_tokens();
      token->set_logprob(logprob);
      token->set_rank(logprob > -1 ? 1 : 7);
    }
    result->set_token_count(static_cast<uint32_t>(logprobs.size()));
  }
  response.mutable_usage()->set_prompt_tokens(prompt_tokens);
  response.mutable_usage()->set_expert_activations(activations);
  return response;
}

TEST(Result, PerplexityIsWeightedByTokensAndNotByUnits) {
  const auto one = ReadResult(Reply({{-0.5, -1.5, -4}}, 4, 24), 1, std::nullopt);
  const auto two = ReadResult(Reply({{-2}}, 2, 8), 1, std::nullopt);
  ASSERT_TRUE(one.ok() && two.ok());
  UnitResult sum = *one;
  sum.Add(*two);
  EXPECT_EQ(sum.units, 2u);
  EXPECT_EQ(sum.tokens, 4u);
  EXPECT_DOUBLE_EQ(sum.Loss(), 8.0 / 4);
  EXPECT_DOUBLE_EQ(sum.Perplexity(), std::exp(2.0));
  EXPECT_DOUBLE_EQ(sum.TokenAccuracy(), 0.25);
  EXPECT_EQ(sum.rows, 4u);  // the last token of each is not run
  EXPECT_DOUBLE_EQ(sum.ActivationsPerToken(), 8);
}

TEST(Result, AChoiceIsTheLargestSumOrTheLargestPerByte) {
  // Sums -3, -4, -9; per byte -3, -1, -0.9.
  const auto reply = Reply({{-3}, {-2, -2}, {-3, -3, -3}}, 30, 10);
  const auto judge = [&reply](size_t label) {
    return *ReadResult(reply, 3, Choice{.label = label, .bytes = {1, 4, 10}});
  };
  EXPECT_EQ(judge(0).correct, 1u);
  EXPECT_EQ(judge(0).correct_norm, 0u);
  EXPECT_EQ(judge(1).correct, 0u);
  EXPECT_EQ(judge(1).correct_norm, 0u);
  EXPECT_EQ(judge(2).correct, 0u);
  EXPECT_EQ(judge(2).correct_norm, 1u);
  EXPECT_DOUBLE_EQ(judge(1).Loss(), 2);
  EXPECT_EQ(judge(1).rows, 27u);
}

TEST(Result, TheFirstOfEqualsIsChosen) { EXPECT_EQ(ArgMax(std::vector<double>{-2, -1, -1}), 1u); }

TEST(Result, RepliesThatAreNotWholeAreRefused) {
  EXPECT_FALSE(ReadResult(Reply({}, 4, 8), 1, std::nullopt).ok());
  EXPECT_FALSE(ReadResult(Reply({{}}, 4, 8), 1, std::nullopt).ok());
  EXPECT_FALSE(ReadResult(Reply({{-1}}, 1, 8), 1, std::nullopt).ok());
  EXPECT_FALSE(ReadResult(Reply({{-1}}, 4, 8), 1, Choice{.label = 0, .bytes = {1, 1}}).ok());
  EXPECT_FALSE(ReadResult(Reply({{-INFINITY}}, 4, 8), 1, std::nullopt).ok());
}

TEST(Bootstrap, OfAConstantDifferenceIsThatDifference) {
  std::vector<PairedUnit> units;
  for (int i = 0; i < 20; ++i) units.push_back({i * 1.0, i * 1.0 + 3 * (i + 1), i + 1.0});
  const Difference difference = BootstrapDifference(units, 1);
  EXPECT_DOUBLE_EQ(difference.mean, 3);
  EXPECT_NEAR(*difference.low, 3, 1e-12);
  EXPECT_NEAR(*difference.high, 3, 1e-12);
}

TEST(Bootstrap, HasTheWidthThatTheStandardErrorGives) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> noise(0.5, 2);
  std::vector<PairedUnit> units;
  double sum = 0, squares = 0;
  for (int i = 0; i < 400; ++i) {
    const double first = 10 * noise(random);  // cancels: pairs are drawn together
    units.push_back({first, first + noise(random), 1});
    const double difference = units.back().other - first;
    sum += difference;
    squares += difference * difference;
  }
  const double mean = sum / 400;
  const double error = std::sqrt((squares / 400 - mean * mean) / 400);
  const Difference difference = BootstrapDifference(units, 1);
  EXPECT_NEAR(difference.mean, mean, 1e-12);
  EXPECT_NEAR(*difference.low, mean - 1.96 * error, 0.15 * error);
  EXPECT_NEAR(*difference.high, mean + 1.96 * error, 0.15 * error);
}

TEST(Bootstrap, IsThatOfItsSeed) {
  const std::vector<PairedUnit> units = {{1, 2, 1}, {2, 5, 2}, {4, 4, 3}, {0, 9, 1}};
  const Difference one = BootstrapDifference(units, 1), again = BootstrapDifference(units, 1);
  const Difference two = BootstrapDifference(units, 2);
  EXPECT_EQ(one.low, again.low);
  EXPECT_EQ(one.high, again.high);
  EXPECT_EQ(one.mean, two.mean);
  EXPECT_LE(*one.low, one.mean);
  EXPECT_GE(*one.high, one.mean);
}

TEST(Bootstrap, OfOneUnitHasNoInterval) {
  const Difference difference = BootstrapDifference(std::vector<PairedUnit>{{1, 3, 4}}, 1);
  EXPECT_EQ(difference.mean, 0.5);
  EXPECT_FALSE(difference.low || difference.high);
}

UnitResult SomeResult() {
  return {.nll = 1.0 / 3,
          .tokens = 5,
          .greedy = 2,
          .rows = 9,
          .activations = 72,
          .seconds = 0.1,
          .correct = 1,
          .correct_norm = 0,
          .bytes = 20,
          .choice = 3};
}

TEST(Journal, ReadsBackTheSameNumbers) {
  testing::TempFolder folder;
  const std::string path = folder.File("journal.jsonl");
  UnitResult result = SomeResult();
  result.analyzed_slots = 18;
  result.analyzed = 40;
  result.common = 30;
  result.either = 60;
  {
    auto journal = Journal::Open(path);
    ASSERT_TRUE(journal.ok()) << journal.status();
    EXPECT_EQ((*journal)->Find("k1"), nullptr);
    ASSERT_TRUE((*journal)->Add("k1", "a.txt", "top-k-4", result).ok());
  }
  auto journal = Journal::Open(path);
  ASSERT_TRUE(journal.ok()) << journal.status();
  ASSERT_NE((*journal)->Find("k1"), nullptr);
  EXPECT_EQ(*(*journal)->Find("k1"), result);
  EXPECT_EQ((*journal)->Find("k2"), nullptr);
}

TEST(Journal, CountsOfExpertsAreAddedFromDisk) {
  testing::TempFolder folder;
  const std::string path = folder.File("journal.jsonl");
  const auto check = [](const Journal& journal) {
    ExpertCounts counts = {100, 0, 0};
    EXPECT_TRUE(journal.AddExpertsOf("k1", &counts));
    EXPECT_TRUE(journal.AddExpertsOf("k3", &counts));
    EXPECT_THAT(counts, ElementsAre(111, 2, 33));
    EXPECT_FALSE(journal.AddExpertsOf("k2", &counts));  // has none
    ExpertCounts of_another_model = {0, 0};
    EXPECT_FALSE(journal.AddExpertsOf("k1", &of_another_model));
    EXPECT_THAT(of_another_model, ElementsAre(0, 0));
  };
  {
    auto journal = Journal::Open(path);
    ASSERT_TRUE((*journal)->Add("k1", "a", "p", SomeResult(), {1, 2, 3}).ok());
    ASSERT_TRUE((*journal)->Add("k2", "a", "p", SomeResult()).ok());
    ASSERT_TRUE((*journal)->Add("k3", "a", "p", SomeResult(), {10, 0, 30}).ok());
    check(**journal);
  }
  check(**Journal::Open(path));
  Journal in_memory;
  ASSERT_TRUE(in_memory.Add("k1", "a", "p", SomeResult(), {1, 2, 3}).ok());
  ExpertCounts counts(3);
  EXPECT_FALSE(in_memory.AddExpertsOf("k1", &counts));
}

TEST(Journal, ALineOfAnOlderVersionIsOfNoUse) {
  testing::TempFolder folder;
  const std::string path = folder.Write(
      "journal.jsonl",
      R"({"key":"k1","data":"a","policy":"p","nll":1,"seconds":1,"tokens":1,"greedy":1,"rows":1,)"
      R"("activations":1,"correct":0,"correct_norm":0})"
      "\n");
  auto journal = Journal::Open(path);
  ASSERT_TRUE(journal.ok()) << journal.status();
  EXPECT_EQ((*journal)->Find("k1"), nullptr);
}

TEST(Journal, ALineThatWasCutOffIsDroppedAndWrittenOver) {
  testing::TempFolder folder;
  const std::string path = folder.File("journal.jsonl");
  ASSERT_TRUE((*Journal::Open(path))->Add("k1", "a", "p", SomeResult()).ok());
  ASSERT_TRUE((*Journal::Open(path))->Add("k2", "a", "p", SomeResult()).ok());
  const std::string whole = testing::ReadFileOrDie(path);
  for (size_t size = whole.size() / 2; size < whole.size(); ++size) {
    folder.Write("journal.jsonl", whole.substr(0, size));
    auto journal = Journal::Open(path);
    ASSERT_TRUE(journal.ok()) << journal.status();
    EXPECT_NE((*journal)->Find("k1"), nullptr);
    EXPECT_EQ((*journal)->Find("k2"), nullptr);
    ASSERT_TRUE((*journal)->Add("k2", "a", "p", SomeResult()).ok());
    EXPECT_EQ(testing::ReadFileOrDie(path), whole);
  }
}

TEST(Journal, AnotherFileIsRefusedAndKept) {
  testing::TempFolder folder;
  for (const std::string content :
       {"some text\n", "some text", "{\"arms\": []}", "{\"key\": 1}\n", "[]\n"}) {
    const std::string path = folder.Write("journal.jsonl", content);
    EXPECT_EQ(Journal::Open(path).status().code(), absl::StatusCode::kInvalidArgument) << content;
    EXPECT_EQ(testing::ReadFileOrDie(path), content);
  }
  EXPECT_EQ(Journal::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Journal, BelongsToOneProcessAtATime) {
  testing::TempFolder folder;
  const std::string path = folder.File("journal.jsonl");
  auto journal = Journal::Open(path);
  ASSERT_TRUE(journal.ok());
  EXPECT_THAT(std::string(Journal::Open(path).status().message()),
              HasSubstr("another process uses it"));
}

Report SomeReport() {
  Report report;
  report.model.set_num_layers(4);
  Dataset texts{.name = "a,b.txt", .units = {}};
  Dataset questions{.name = "q.jsonl", .is_choice = true, .units = {}};
  const std::vector<UnitResult> first = {SomeResult(), SomeResult()};
  std::vector<UnitResult> other = first;
  for (UnitResult& result : other) result.nll += 0.5;
  other[1].correct = 0;
  const Subject native{.name = "native", .digest = "d0"}, thin{.name = "thin", .digest = "d1"};
  report.rows = {MakeRow(texts, native, first, {first, {}}, true, 1),
                 MakeRow(texts, thin, first, {other, {}}, false, 1),
                 MakeRow(questions, native, first, {first, {}}, true, 1),
                 MakeRow(questions, thin, first, {other, {}}, false, 1)};
  return report;
}

TEST(Report, TextsAndQuestionsAreTablesOfTheirOwn) {
  const std::string table = RenderTable(SomeReport(), render::Style());
  EXPECT_THAT(table, StartsWith("DATA     POLICY  TOKENS"));
  EXPECT_THAT(table, HasSubstr("\n\nDATA     POLICY  QUESTIONS     ACC"));
  EXPECT_THAT(table, HasSubstr("0.0667  1.069     0.4000     2.00          8.0     90"));
  EXPECT_THAT(table, HasSubstr("+0.1000 [+0.1000, +0.1000]\n"));  // loss: 0.5 nats of 5 tokens
  EXPECT_THAT(table, HasSubstr("-0.5000 [-1.0000, +0.0000]\n"));  // one right answer of two
}

TEST(Report, MarkdownIsATable) {
  EXPECT_THAT(RenderMarkdown(SomeReport()),
              StartsWith("| DATA | POLICY | TOKENS | LOSS | PPL | TOKEN ACC | EXPERTS | "
                         "ACTIVATIONS | TOK/S | LOSS - FIRST [95%] |\n| --- | --- | ---: |"));
}

TEST(Report, CsvHasEveryNumberAndQuotesCommas) {
  const std::string csv = RenderCsv(SomeReport());
  EXPECT_THAT(csv, StartsWith("data,policy,routing,policy_digest,kind,units,tokens,loss,"));
  EXPECT_THAT(csv, HasSubstr("\n\"a,b.txt\",native,,d0,text,2,10,0.06666666666666667,"));
  EXPECT_THAT(csv, HasSubstr("\nq.jsonl,thin,,d1,multiple_choice,2,10,"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5);
}

TEST(Report, JsonHasNullWhereANumberDoesNotApply) {
  const auto json = nlohmann::json::parse(RenderJson(SomeReport(), false));
  ASSERT_EQ(json["results"].size(), 4u);
  EXPECT_TRUE(json["results"][0]["difference"].is_null());
  EXPECT_NEAR(json["results"][1]["difference"].get<double>(), 0.1, 1e-12);
  EXPECT_TRUE(json["results"][1]["acc"].is_null());
  EXPECT_TRUE(json["results"][2]["perplexity"].is_null());
  EXPECT_EQ(json["results"][3]["acc"], 0.5);
  EXPECT_EQ(json["bootstrap"]["confidence"], 0.95);
}

}  // namespace
}  // namespace olmoe::client::eval
