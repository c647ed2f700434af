#include <grpcpp/client_context.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/recording_sink.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::string Metadata(const grpc::ClientContext& context, const std::string& key) {
  const auto& metadata = context.GetServerInitialMetadata();
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

// The same generation without any RPC: an engine of its own.
engine::Reply SoloRun(std::vector<TokenId> prompt, int max_new_tokens, uint32_t top_k) {
  testing::FakeModel model(DefaultModel());
  routing::RoutingController controller({.shape = model.info().router_shape()});
  auto engine = engine::Engine::Create({}, &model, nullptr);
  engine::GenerateWork work;
  work.prompt = std::move(prompt);
  work.max_new_tokens = max_new_tokens;
  work.sampling.temperature = 0;
  engine::Request request;
  request.request_id = "solo";
  request.work = std::move(work);
  request.pin = controller.slot().Pin();
  request.assignment = request.pin->Assign("", "solo");
  if (top_k > 0) {
    routing::PolicySpec spec;
    spec.policy_id = "x";
    spec.apply = routing::Rule{routing::TopK{top_k}, {}};
    request.assignment.policy =
        *routing::RoutingPolicy::Create(spec, controller.shape(), nullptr, "");
  }
  auto sink = std::make_shared<engine::RecordingSink>();
  EXPECT_TRUE(engine::SubmitTo(engine.get(), std::move(request), sink).ok());
  return sink->AwaitDone();
}

std::vector<uint32_t> Ids(const engine::Reply& reply) {
  const std::vector<TokenId> ids = reply.token_ids();
  return {ids.begin(), ids.end()};
}

TEST(GenerateTest, AnswersWhatTheEngineGenerates) {
  TestServer server;
  v1::GenerateResponse response;
  grpc::ClientContext context;
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 9);
  request.set_request_id("r-1");
  ASSERT_TRUE(server.inference().Generate(&context, request, &response).ok());
  EXPECT_THAT(response.token_ids(), ElementsAreArray(Ids(SoloRun({1, 2, 3}, 9, 0))));
  EXPECT_EQ(response.request_id(), "r-1");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(response.usage().prompt_tokens(), 3u);
  EXPECT_EQ(response.usage().completion_tokens(), 9u);
  EXPECT_EQ(response.usage().routed_tokens(), 11u);  // the last token is never an input
  EXPECT_EQ(response.usage().expert_activations(), 11u * 2 * 2);  // layers, top-2
  EXPECT_TRUE(response.has_timing());
  EXPECT_EQ(response.tokens_size(), 0);
  EXPECT_FALSE(response.has_trace());
}

TEST(GenerateTest, TextGoesInAndComesOut) {
  TestServerOptions options;
  options.model.script = {{2, 'H'}, {3, 'i'}, {4, engine::kTokenAb}};
  TestServer server(options);
  v1::GenerateResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Generate(&context, TextRequest("xy", 3), &response).ok());
  EXPECT_EQ(response.text(), "Hiab");
  EXPECT_EQ(response.usage().prompt_tokens(), 2u);
}

TEST(GenerateTest, StopStringsAndStopTokensEndTheText) {
  TestServerOptions options;
  options.model.script = {{1, 'a'}, {2, 'S'}, {3, 'T'}, {4, 'b'}};
  TestServer server(options);
  v1::GenerateRequest request = TokenRequest({1}, 8);
  request.add_stop("ST");
  v1::GenerateResponse response;
  grpc::ClientContext first;
  ASSERT_TRUE(server.inference().Generate(&first, request, &response).ok());
  EXPECT_EQ(response.text(), "a");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_STOP_STRING);
  EXPECT_EQ(response.matched_stop(), "ST");
  EXPECT_THAT(response.token_ids(), ElementsAre('a', 'S', 'T'));

  request = TokenRequest({1}, 8);
  request.add_stop_token_ids('T');
  response.Clear();
  grpc::ClientContext second;
  ASSERT_TRUE(server.inference().Generate(&second, request, &response).ok());
  EXPECT_EQ(response.text(), "aS");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_STOP_TOKEN);
}

TEST(GenerateTest, LogprobsComeWithPiecesAndAlternatives) {
  TestServer server;
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 2);
  request.set_logprobs(3);
  v1::GenerateResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Generate(&context, request, &response).ok());
  ASSERT_EQ(response.tokens_size(), 2);
  for (const v1::GeneratedToken& token : response.tokens()) {
    ASSERT_EQ(token.top_size(), 3);
    EXPECT_TRUE(token.has_logprob());
    EXPECT_EQ(token.top(0).token_id(), token.token_id());  // greedy
    EXPECT_EQ(token.top(0).logprob(), token.logprob());
    EXPECT_EQ(token.piece(), server.contexts().serving.tokenizer->TokenBytes(
                                 static_cast<TokenId>(token.token_id())));
  }
}

TEST(GenerateTest, LogprobsOfZeroAlternativesStillGiveTheTokensOwn) {
  TestServer server;
  v1::GenerateRequest request = TokenRequest({1}, 1);
  request.set_logprobs(0);
  v1::GenerateResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Generate(&context, request, &response).ok());
  ASSERT_EQ(response.tokens_size(), 1);
  EXPECT_TRUE(response.tokens(0).has_logprob());
  EXPECT_EQ(response.tokens(0).top_size(), 0);
}

TEST(GenerateTest, ADrawnSeedIsReturnedAndRepeatsTheText) {
  TestServer server;
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 16);
  request.clear_sampling();
  v1::GenerateResponse drawn, repeated;
  grpc::ClientContext first, second;
  ASSERT_TRUE(server.inference().Generate(&first, request, &drawn).ok());
  request.mutable_sampling()->set_seed(drawn.seed());
  ASSERT_TRUE(server.inference().Generate(&second, request, &repeated).ok());
  EXPECT_EQ(repeated.seed(), drawn.seed());
  EXPECT_THAT(repeated.token_ids(), ElementsAreArray(drawn.token_ids()));
}

TEST(GenerateTest, TheTraceHoldsEveryComputedPosition) {
  TestServer server;
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 4);
  request.mutable_trace()->set_experts(true);
  request.mutable_trace()->set_logits(true);
  v1::GenerateResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Generate(&context, request, &response).ok());
  EXPECT_EQ(response.trace().num_positions(), 6u);  // the last token is never an input
  EXPECT_EQ(response.trace().num_layers(), 2u);
  EXPECT_EQ(response.trace().counts(), std::string(12, '\2'));
  EXPECT_EQ(response.trace().experts().size(), 24u);
  EXPECT_EQ(response.trace().weights(), "");
  EXPECT_EQ(response.trace().logits().size(), 6u * 2 * 8 * sizeof(float));
}

TEST(GenerateTest, TheStampIsInTheReplyAndInTheMetadata) {
  TestServer server;
  v1::GenerateResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Generate(&context, TokenRequest({1}, 1), &response).ok());
  EXPECT_EQ(response.routing().generation(), 1u);
  EXPECT_EQ(response.routing().arm_id(), "default");
  EXPECT_EQ(response.routing().policy_id(), "native");
  EXPECT_EQ(response.routing().policy_digest(), server.controller().native_policy()->digest());
  EXPECT_EQ(response.routing().reason(), v1::ASSIGNMENT_REASON_DEFAULT);
  EXPECT_EQ(Metadata(context, "x-olmoe-generation"), "1");
  EXPECT_EQ(Metadata(context, "x-olmoe-arm"), "default");
}

TEST(GenerateTest, AnInlinePolicyRunsForItsRequestAlone) {
  TestServerOptions options;
  options.tune = [](Contexts* contexts) { contexts->serving.allow_inline_policy = true; };
  TestServer server(options);
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 9);
  *request.mutable_routing()->mutable_policy() = TopKPatch(5).policy();
  v1::GenerateResponse with_policy, without;
  grpc::ClientContext first, second;
  ASSERT_TRUE(server.inference().Generate(&first, request, &with_policy).ok());
  ASSERT_TRUE(server.inference().Generate(&second, TokenRequest({1, 2, 3}, 9), &without).ok());
  EXPECT_THAT(with_policy.token_ids(), ElementsAreArray(Ids(SoloRun({1, 2, 3}, 9, 5))));
  EXPECT_EQ(with_policy.routing().reason(), v1::ASSIGNMENT_REASON_INLINE_POLICY);
  EXPECT_EQ(with_policy.routing().arm_id(), "inline");
  EXPECT_EQ(with_policy.routing().policy_id(), "top-5");
  EXPECT_EQ(Metadata(first, "x-olmoe-arm"), "inline");
  EXPECT_THAT(without.token_ids(), ElementsAreArray(Ids(SoloRun({1, 2, 3}, 9, 0))));
}

TEST(GenerateTest, ACancelledCallFreesItsPages) {
  TestServer server;
  server.model().Hold();
  grpc::ClientContext context;
  std::thread call([&] {
    v1::GenerateResponse response;
    const grpc::Status status =
        server.inference().Generate(&context, TokenRequest({1}, 500), &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  });
  server.model().AwaitStepBegun(1);
  EXPECT_GT(server.engine().Status().kv_used_bytes, 0);
  context.TryCancel();
  call.join();
  server.StepUntilOutcomes(1);
  EXPECT_EQ(server.outcomes()[0].code, absl::StatusCode::kCancelled);
  EXPECT_EQ(server.engine().Status().kv_used_bytes, 0);
  EXPECT_EQ(server.controller().slot().InFlight(1), 0);
}

TEST(GenerateTest, TheDeadlineOfTheCallEndsTheRequest) {
  TestServer server;
  server.model().Hold();
  std::thread call([&] {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Hours(1)));
    v1::GenerateResponse response;
    EXPECT_EQ(server.inference().Generate(&context, TokenRequest({1}, 500), &response).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
  });
  server.model().AwaitStepBegun(1);
  server.PassTime(absl::Hours(2));
  server.model().Unhold();
  call.join();
  server.AwaitOutcomes(1);
  EXPECT_EQ(server.outcomes()[0].code, absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(server.engine().Status().kv_used_bytes, 0);
}

TEST(GenerateTest, AFullQueueIsAnsweredWithARetryDelay) {
  TestServerOptions options;
  options.engine.max_batch_sequences = 1;
  options.engine.max_queue = 1;
  TestServer server(options);
  server.model().Hold();
  std::vector<std::thread> calls;
  const auto start = [&] {
    calls.emplace_back([&] {
      grpc::ClientContext context;
      v1::GenerateResponse response;
      EXPECT_TRUE(server.inference().Generate(&context, TokenRequest({1}, 1), &response).ok());
    });
  };
  start();
  server.model().AwaitStepBegun(1);
  start();
  while (server.engine().Status().queued_requests == 0) std::this_thread::yield();
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status =
      server.inference().Generate(&context, TokenRequest({1}, 1), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(status));
  server.model().Unhold();
  for (std::thread& call : calls) call.join();
}

TEST(GenerateTest, NonFiniteLogitsFailThatRequestAlone) {
  TestServerOptions options;
  options.model.nan_token = 66;
  TestServer server(options);
  v1::GenerateResponse response;
  grpc::ClientContext bad, good;
  const grpc::Status status =
      server.inference().Generate(&bad, TokenRequest({1, 66}, 4), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_TRUE(server.inference().Generate(&good, TokenRequest({1, 65}, 1), &response).ok());
}

TEST(GenerateTest, OutcomesAreReportedOnceEach) {
  TestServer server;
  v1::GenerateResponse response;
  grpc::ClientContext good, bad;
  ASSERT_TRUE(server.inference().Generate(&good, TokenRequest({1}, 1), &response).ok());
  ASSERT_FALSE(server.inference().Generate(&bad, TokenRequest({}, 1), &response).ok());
  const std::vector<Outcome> outcomes = server.outcomes();
  ASSERT_EQ(outcomes.size(), 2u);
  EXPECT_EQ(outcomes[0].method, "Generate");
  EXPECT_EQ(outcomes[0].arm_id, "default");
  EXPECT_EQ(outcomes[0].code, absl::StatusCode::kOk);
  EXPECT_TRUE(outcomes[0].reached_engine);
  EXPECT_EQ(outcomes[1].arm_id, "");
  EXPECT_EQ(outcomes[1].code, absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(outcomes[1].reached_engine);
}

}  // namespace
}  // namespace olmoe::rpc
