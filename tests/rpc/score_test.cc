#include <grpcpp/client_context.h>

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/experiment/score_windows.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What the fake model says about the tokens from `first_scored` on, without the engine
// and without any RPC.
std::vector<model::ScoredRow> Direct(const std::vector<TokenId>& tokens, int first_scored,
                                     int top = 0) {
  testing::FakeModel model(DefaultModel());
  const auto policy = routing::RoutingPolicy::Native(model.info().router_shape());
  std::vector<TokenId> inputs(tokens.begin(), tokens.end() - 1);
  std::vector<TokenId> targets(tokens.begin() + 1, tokens.end());
  std::fill(targets.begin(), targets.begin() + first_scored - 1, model::kNoTarget);
  std::vector<model::PageId> pages;
  for (int page = 0; page < model.kv_cache().num_pages; ++page) pages.push_back(page);
  model::StepBatch batch;
  model::Chunk& chunk = batch.chunks.emplace_back();
  chunk.tokens = inputs;
  chunk.pages = pages;
  chunk.policy = policy.get();
  chunk.score = model::ScoreRequest{targets, top};
  model::StepOutput output;
  EXPECT_TRUE(model.Step(batch, &output).ok());
  return output.chunks[0].scored;
}

double Sum(const std::vector<model::ScoredRow>& rows) {
  double sum = 0;
  for (const model::ScoredRow& row : rows) sum += static_cast<double>(row.logprob);
  return sum;
}

v1::ScoreResponse Score(TestServer* server, const v1::ScoreRequest& request) {
  grpc::ClientContext context;
  v1::ScoreResponse response;
  const grpc::Status status = server->inference().Score(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

v1::ScoreItem TokenItem(const std::vector<TokenId>& context,
                        const std::vector<TokenId>& continuation) {
  v1::ScoreItem item;
  for (const TokenId id : context) item.mutable_context_tokens()->add_ids(id);
  for (const TokenId id : continuation) item.mutable_continuation_tokens()->add_ids(id);
  return item;
}

v1::ScoreItem TextItem(const std::string& context, const std::string& continuation) {
  v1::ScoreItem item;
  item.set_context_text(context);
  item.set_continuation_text(continuation);
  return item;
}

// The tokens that an item is scored as: its own, with top 0 and per_token.
std::vector<uint32_t> ScoredIds(TestServer* server, const v1::ScoreItem& item) {
  v1::ScoreRequest request;
  *request.add_items() = item;
  request.set_per_token(true);
  const v1::ScoreResponse response = Score(server, request);
  std::vector<uint32_t> ids;
  for (const v1::ScoredToken& token : response.results(0).tokens()) {
    ids.push_back(token.token_id());
  }
  return ids;
}

double LogprobSum(TestServer* server, const v1::ScoreItem& item) {
  v1::ScoreRequest request;
  *request.add_items() = item;
  return Score(server, request).results(0).logprob_sum();
}

TEST(ScoreTest, EqualsTheModelItself) {
  TestServer server;
  v1::ScoreRequest request;
  request.set_request_id("s");
  request.set_top(3);
  *request.add_items() = TokenItem({1, 2, 3}, {4, 5});
  *request.add_items() = TokenItem({9}, {8, 7, 6});
  const v1::ScoreResponse response = Score(&server, request);
  EXPECT_EQ(response.request_id(), "s");
  EXPECT_EQ(response.routing().generation(), 1u);
  ASSERT_EQ(response.results_size(), 2);
  const std::vector<model::ScoredRow> expected[] = {Direct({1, 2, 3, 4, 5}, 3, 3),
                                                    Direct({9, 8, 7, 6}, 1, 3)};
  const uint32_t ids[2][3] = {{4, 5}, {8, 7, 6}};
  for (int i = 0; i < 2; ++i) {
    const v1::ScoreResult& result = response.results(i);
    ASSERT_EQ(result.tokens_size(), static_cast<int>(expected[i].size()));
    EXPECT_EQ(result.logprob_sum(), Sum(expected[i]));
    EXPECT_EQ(result.token_count(), expected[i].size());
    for (int j = 0; j < result.tokens_size(); ++j) {
      const model::ScoredRow& row = expected[i][static_cast<size_t>(j)];
      EXPECT_EQ(result.tokens(j).token_id(), ids[i][j]);
      EXPECT_EQ(result.tokens(j).logprob(), row.logprob);
      EXPECT_EQ(result.tokens(j).rank(), row.rank);
      ASSERT_EQ(result.tokens(j).top_size(), 3);
      EXPECT_EQ(result.tokens(j).top(0).token_id(), static_cast<uint32_t>(row.top[0].token));
    }
  }
}

TEST(ScoreTest, IsGreedyWhenEveryTokenIsTheArgMax) {
  TestServer server;
  // The two most likely continuations, found by generating.
  grpc::ClientContext context;
  v1::GenerateResponse generated;
  ASSERT_TRUE(server.inference().Generate(&context, TokenRequest({1, 2, 3}, 2), &generated).ok());
  const auto first = static_cast<TokenId>(generated.token_ids(0));
  const auto second = static_cast<TokenId>(generated.token_ids(1));
  v1::ScoreRequest request;
  *request.add_items() = TokenItem({1, 2, 3}, {first, second});
  *request.add_items() = TokenItem({1, 2, 3}, {first, (second + 1) % 260});
  const v1::ScoreResponse response = Score(&server, request);
  EXPECT_TRUE(response.results(0).is_greedy());
  EXPECT_FALSE(response.results(1).is_greedy());
}

TEST(ScoreTest, PerTokenResultsComeOnlyWhenAskedFor) {
  TestServer server;
  v1::ScoreRequest request;
  *request.add_items() = TokenItem({1}, {2, 3});
  EXPECT_EQ(Score(&server, request).results(0).tokens_size(), 0);
  request.set_per_token(true);
  const v1::ScoreResult result = Score(&server, request).results(0);
  ASSERT_EQ(result.tokens_size(), 2);
  EXPECT_EQ(result.tokens(0).top_size(), 0);
}

TEST(ScoreTest, AnEmptyContextIsThePrefixToken) {
  TestServerOptions options;
  options.model.eos_token_id = 77;
  TestServer server(options);
  v1::ScoreItem unset;
  unset.mutable_continuation_tokens()->add_ids(5);
  const double expected = Sum(Direct({77, 5}, 1));
  EXPECT_EQ(LogprobSum(&server, unset), expected);
  EXPECT_EQ(LogprobSum(&server, TokenItem({}, {5})), expected);
  v1::ScoreItem text;
  text.set_context_text("");
  text.set_continuation_text("\x05");
  EXPECT_EQ(LogprobSum(&server, text), expected);
}

TEST(ScoreTest, PadIsThePrefixWhereEosLiesOutsideTheVocabulary) {
  TestServerOptions options;
  options.tune = [](Contexts* contexts) {
    contexts->serving.model.eos_token_id = 50279;
    contexts->serving.model.pad_token_id = 3;
  };
  TestServer server(options);
  EXPECT_EQ(LogprobSum(&server, TokenItem({}, {5})), Sum(Direct({3, 5}, 1)));
}

TEST(ScoreTest, WithoutEosAndPadThePrefixIsToken0) {
  TestServer server;
  EXPECT_EQ(LogprobSum(&server, TokenItem({}, {5})), Sum(Direct({0, 5}, 1)));
}

TEST(ScoreTest, TextsAreTokenizedTogether) {
  TestServer server;
  // "ab" + "c" is the one token "abc": nothing is left beyond the context's one token.
  v1::ScoreRequest merged;
  *merged.add_items() = TextItem("ab", "c");
  grpc::ClientContext context;
  v1::ScoreResponse response;
  EXPECT_THAT(ViolatedFields(server.inference().Score(&context, merged, &response)),
              ElementsAre("items[0].continuation"));
  // "a" + "bc" is "abc" too; "x" + "abc" keeps both.
  EXPECT_THAT(ScoredIds(&server, TextItem("x", "abc")), ElementsAre(engine::kTokenAbc));
}

TEST(ScoreTest, WhiteSpaceAtTheEndOfTheContextMovesToTheContinuation) {
  TestServer server;
  EXPECT_THAT(ScoredIds(&server, TextItem("x ", "y")), ElementsAre(' ', 'y'));
  EXPECT_EQ(LogprobSum(&server, TextItem("x ", "y")), LogprobSum(&server, TextItem("x", " y")));
  // All white space: the context becomes the prefix token.
  EXPECT_THAT(ScoredIds(&server, TextItem(" ", "y")), ElementsAre(' ', 'y'));
  EXPECT_EQ(LogprobSum(&server, TextItem(" ", "y")), Sum(Direct({0, ' ', 'y'}, 1)));
  // byte_count stays that of the continuation as sent.
  v1::ScoreRequest request;
  *request.add_items() = TextItem("x ", "y\xC3\xA9");
  EXPECT_EQ(Score(&server, request).results(0).byte_count(), 3u);
}

TEST(ScoreTest, TextAndTokensMayBeMixed) {
  TestServer server;
  v1::ScoreItem item;
  item.set_context_text("x");
  item.mutable_continuation_tokens()->add_ids(engine::kTokenAb);
  EXPECT_EQ(LogprobSum(&server, item), Sum(Direct({'x', engine::kTokenAb}, 1)));
  v1::ScoreRequest request;
  *request.add_items() = item;
  EXPECT_EQ(Score(&server, request).results(0).byte_count(), 2u);  // "ab"
}

TEST(ScoreTest, ALongContextLosesItsLeftAndSaysSo) {
  TestServer server;
  std::vector<TokenId> context(1030, 9);
  context[6] = 8;  // dropped: 1030 + 1 tokens are cut to 1025
  const v1::ScoreItem item = TokenItem(context, {5});
  v1::ScoreRequest request;
  *request.add_items() = item;
  const v1::ScoreResult result = Score(&server, request).results(0);
  EXPECT_EQ(result.context_tokens_dropped(), 6u);
  std::vector<TokenId> kept(context.begin() + 6, context.end());
  kept.push_back(5);
  EXPECT_EQ(result.logprob_sum(), Sum(Direct(kept, 1024)));
}

TEST(ScoreTest, RollingScoresEveryTokenOnceInWindows) {
  TestServerOptions options;
  options.model.max_context = 8;
  TestServer server(options);
  std::vector<TokenId> tokens;
  for (int i = 0; i < 21; ++i) tokens.push_back(100 + i);
  double expected = 0;
  for (const engine::ScoreWindow& window : experiment::MakeRollingWindows(0, tokens, 8)) {
    expected += Sum(Direct(window.tokens, window.first_scored));
  }
  v1::ScoreItem item = TokenItem({1, 2, 3}, tokens);  // the context is ignored
  item.set_rolling(true);
  v1::ScoreRequest request;
  *request.add_items() = item;
  request.set_per_token(true);
  request.mutable_trace()->set_experts(true);
  const v1::ScoreResult result = Score(&server, request).results(0);
  EXPECT_NEAR(result.logprob_sum(), expected, 1e-12);
  ASSERT_EQ(result.token_count(), 21u);
  for (int i = 0; i < 21; ++i) {
    EXPECT_EQ(result.tokens(i).token_id(), static_cast<uint32_t>(tokens[static_cast<size_t>(i)]));
  }
  EXPECT_EQ(result.trace().num_positions(), 21u);
  EXPECT_EQ(result.trace().counts().size(), 42u);
}

TEST(ScoreTest, UsageCountsWhatWasComputed) {
  TestServer server;
  v1::ScoreRequest request;
  *request.add_items() = TokenItem({1, 2, 3}, {4, 5});
  const v1::ScoreResponse response = Score(&server, request);
  EXPECT_EQ(response.usage().routed_tokens(), 4u);  // the last token is never an input
  EXPECT_EQ(response.usage().expert_activations(), 4u * 2 * 2);  // layers, top-2
  EXPECT_TRUE(response.has_timing());
}

TEST(ScoreTest, TheStampIsInTheMetadata) {
  TestServer server;
  v1::ScoreRequest request;
  *request.add_items() = TokenItem({1}, {2});
  grpc::ClientContext context;
  v1::ScoreResponse response;
  ASSERT_TRUE(server.inference().Score(&context, request, &response).ok());
  EXPECT_EQ(context.GetServerInitialMetadata().count("x-olmoe-generation"), 1u);
  EXPECT_EQ(context.GetServerInitialMetadata().count("x-olmoe-arm"), 1u);
}

// "ab" is one token: nothing of the continuation is left to score.
TEST(ScoreTest, AContinuationThatMergesIntoItsContextLeavesTheOthersAlone) {
  TestServer server;
  v1::ScoreRequest request;
  *request.add_items() = TextItem("x", "yz");
  *request.add_items() = TextItem("xa", "b");
  *request.add_items() = TextItem("xa", "cb");
  request.set_per_token(true);
  const v1::ScoreResponse response = Score(&server, request);
  ASSERT_EQ(response.results_size(), 3);
  for (const int item : {0, 2}) {
    EXPECT_FALSE(response.results(item).has_error());
    EXPECT_EQ(response.results(item).token_count(), 2u);
    EXPECT_EQ(response.results(item).logprob_sum(), LogprobSum(&server, request.items(item)));
  }
  const v1::ScoreResult& merged = response.results(1);
  EXPECT_EQ(merged.error().code(), static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(merged.error().message(),
              AllOf(HasSubstr("items[1].continuation"), HasSubstr("merges into the end"),
                    HasSubstr("2 tokens by itself and 2 with the continuation")));
  EXPECT_EQ(merged.token_count(), 0u);
  EXPECT_EQ(merged.tokens_size(), 0);
}

TEST(ScoreTest, WhereNoItemCanBeScoredTheCallIsRefused) {
  TestServer server;
  v1::ScoreRequest request;
  *request.add_items() = TextItem("a", "b");
  *request.add_items() = TextItem("xa", "bc");
  grpc::ClientContext context;
  v1::ScoreResponse response;
  const grpc::Status status = server.inference().Score(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(ViolatedFields(status),
              ElementsAre("items[0].continuation", "items[1].continuation"));
  EXPECT_EQ(ErrorInfoOf(status).reason(), "CONTINUATION_MERGED");
}

}  // namespace
}  // namespace olmoe::rpc
