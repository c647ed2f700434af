// Requests that bring along a recorded routing, from the message to the rows of the fake model,
// whose replies depend on every expert and weight.
#include <grpcpp/client_context.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "server/util/sha256.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::RoutingPolicy PolicyOf(const std::string& json) {
  v1::RoutingPolicy policy;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &policy).ok()) << json;
  return policy;
}

// Their weights are those of softmax(z) over all experts, under the mode that they name.
const std::vector<std::string>& LivePolicies() {
  static const auto& policies = *new std::vector<std::string>{
      R"({"policyId": "p"})",
      R"({"policyId": "p", "apply": {"topK": {"k": 5}}})",
      R"({"policyId": "p", "apply": {"topP": {"p": 0.7}, "weightMode": "WEIGHT_MODE_SUM_TO_ONE"}})",
      R"({"policyId": "p", "apply": {"topK": {"k": 3},
          "weightMode": "WEIGHT_MODE_MATCH_TOP_K_MASS"}})",
      R"({"policyId": "p", "apply": {"topK": {"k": 3}, "weightMode": "WEIGHT_MODE_NATIVE",
          "adjust": {"ban": [0, 3], "banMass": "BAN_MASS_KEEP"}}})",
      R"({"policyId": "p", "apply": {"topK": {"k": 2}, "adjust": {"force": [7, 1],
          "noise": {"tau": 0.7}}}})",
      R"({"policyId": "p", "apply": {"topK": {"k": 2}, "adjust": {"bias": {"values":
          [0, 1, 2, 3, -1, -2, 0.5, 0], "scope": "BIAS_SCOPE_SELECT"}}}})",
      R"({"policyId": "p", "apply": {"expression": {"keep": "rank == 1 || rank == 4 || p > 0.3"}}})",
      R"({"policyId": "p", "apply": {"topK": {"k": 3}},
          "decode": {"topK": {"k": 4}, "weightMode": "WEIGHT_MODE_SUM_TO_ONE"},
          "layerOverrides": [{"layers": [1], "apply": {"minP": {"ratio": 0.2}}}]})",
  };
  return policies;
}

// Only recorded weights replay these.
const std::vector<std::string>& OtherPolicies() {
  static const auto& policies = *new std::vector<std::string>{
      R"({"policyId": "p", "apply": {"topK": {"k": 3}, "adjust": {"steer": {"toward": [5]}}}})",
      R"({"policyId": "p", "apply": {"topK": {"k": 3}, "adjust": {"ban": [0, 3]}}})",
      R"({"policyId": "p", "apply": {"topK": {"k": 3}, "adjust": {"bias": {"values":
          [0, 1, 2, 3, -1, -2, 0.5, 0], "scope": "BIAS_SCOPE_BOTH"}}}})",
      R"({"policyId": "p", "apply": {"bh": {"alpha": 0.9, "pValue": "P_VALUE_KIND_ONE_MINUS_PROB",
          "temperature": 3}}})",
  };
  return policies;
}

class ReplayTest : public ::testing::Test {
 protected:
  static TestServerOptions Options() {
    TestServerOptions options;
    options.tune = [](Contexts* contexts) { contexts->serving.allow_inline_policy = true; };
    return options;
  }

  static v1::ScoreRequest ScoreOf(const std::vector<uint32_t>& context,
                                  const std::vector<uint32_t>& continuation) {
    v1::ScoreRequest request;
    v1::ScoreItem* item = request.add_items();
    item->mutable_context_tokens()->mutable_ids()->Add(context.begin(), context.end());
    item->mutable_continuation_tokens()->mutable_ids()->Add(continuation.begin(),
                                                            continuation.end());
    request.set_per_token(true);
    request.set_routing_seed(11);
    request.mutable_trace()->set_experts(true);
    request.mutable_trace()->set_weights(true);
    return request;
  }
  static v1::ScoreRequest ScoreRequest() { return ScoreOf({1, 2, 3}, {4, 5, 6, 7, 8}); }

  static v1::Replay ReplayOf(const v1::RoutingTrace& trace, v1::ReplayWeights weights) {
    v1::Replay replay;
    *replay.mutable_trace() = trace;
    replay.set_weights(weights);
    return replay;
  }

  template <class Request>
  static Request With(Request request, const v1::RoutingPolicy& policy) {
    *request.mutable_routing()->mutable_policy() = policy;
    return request;
  }
  template <class Request>
  static Request With(Request request, const v1::Replay& replay) {
    *request.mutable_routing()->mutable_replay() = replay;
    return request;
  }

  grpc::Status TryScore(const v1::ScoreRequest& request, v1::ScoreResponse* response) {
    grpc::ClientContext context;
    return server_.inference().Score(&context, request, response);
  }
  v1::ScoreResponse Score(const v1::ScoreRequest& request) {
    v1::ScoreResponse response;
    const grpc::Status status = TryScore(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    if (response.results_size() == 0) response.add_results();
    return response;
  }
  grpc::Status TryGenerate(const v1::GenerateRequest& request, v1::GenerateResponse* response) {
    grpc::ClientContext context;
    return server_.inference().Generate(&context, request, response);
  }

  // Bit by bit.
  static void ExpectSame(const v1::ScoreResponse& a, const v1::ScoreResponse& b) {
    EXPECT_EQ(a.results(0).SerializeAsString(), b.results(0).SerializeAsString());
    EXPECT_EQ(a.usage().expert_activations(), b.usage().expert_activations());
  }

  TestServer server_{Options()};
};

TEST_F(ReplayTest, LiveWeightsGiveTheBitsOfThePolicyThatLeftTheTrace) {
  for (const std::string& json : LivePolicies()) {
    SCOPED_TRACE(json);
    const v1::RoutingPolicy policy = PolicyOf(json);
    const v1::ScoreResponse under = Score(With(ScoreRequest(), policy));
    v1::Replay replay = ReplayOf(under.results(0).trace(), v1::REPLAY_WEIGHTS_LIVE);
    replay.mutable_trace()->clear_weights();
    *replay.mutable_otherwise() = policy;
    ExpectSame(Score(With(ScoreRequest(), replay)), under);
    replay.set_weights(v1::REPLAY_WEIGHTS_UNSPECIFIED);
    ExpectSame(Score(With(ScoreRequest(), replay)), under);
  }
}

TEST_F(ReplayTest, RecordedWeightsDoUnderAnyPolicyAndOtherwise) {
  for (const auto* policies : {&LivePolicies(), &OtherPolicies()}) {
    for (const std::string& json : *policies) {
      SCOPED_TRACE(json);
      const v1::ScoreResponse under = Score(With(ScoreRequest(), PolicyOf(json)));
      v1::Replay replay = ReplayOf(under.results(0).trace(), v1::REPLAY_WEIGHTS_RECORDED);
      ExpectSame(Score(With(ScoreRequest(), replay)), under);
      *replay.mutable_otherwise() =
          PolicyOf(R"({"policyId": "x", "apply": {"topK": {"k": 1}, "adjust": {"ban": [1]}}})");
      ExpectSame(Score(With(ScoreRequest(), replay)), under);
    }
  }
}

TEST_F(ReplayTest, WhatIsNotCoveredIsRoutedOtherwise) {
  const v1::RoutingPolicy five = PolicyOf(LivePolicies()[1]);
  const v1::ScoreResponse under = Score(With(ScoreRequest(), five));
  // Positions 2 and 3 of a trace of the native routing.
  v1::Replay replay = ReplayOf(Score(ScoreRequest()).results(0).trace(), v1::REPLAY_WEIGHTS_LIVE);
  v1::RoutingTrace& trace = *replay.mutable_trace();
  trace.set_first_position(2);
  trace.set_num_positions(2);
  trace.set_counts(std::string(4, '\2'));
  trace.set_experts(trace.experts().substr(8, 8));
  *replay.mutable_otherwise() = five;
  const v1::RoutingTrace ran = Score(With(ScoreRequest(), replay)).results(0).trace();
  EXPECT_EQ(ran.counts(), std::string("\5\5\5\5\2\2\2\2\5\5\5\5\5\5", 14));
  EXPECT_EQ(ran.experts().substr(0, 20), under.results(0).trace().experts().substr(0, 20));
  EXPECT_EQ(ran.experts().substr(20, 8), trace.experts());
  // Beyond the end there is nothing that it could cover.
  trace.set_first_position(100);
  ExpectSame(Score(With(ScoreRequest(), replay)), under);
}

TEST_F(ReplayTest, ACompletionIsGeneratedAndScoredAgain) {
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 6);
  request.mutable_trace()->set_experts(true);
  request.mutable_trace()->set_weights(true);
  const v1::RoutingPolicy policy = PolicyOf(LivePolicies().back());
  const v1::GenerateResponse under = server_.Generate(With(request, policy));
  v1::Replay replay = ReplayOf(under.trace(), v1::REPLAY_WEIGHTS_LIVE);
  *replay.mutable_otherwise() = policy;
  const v1::GenerateResponse again = server_.Generate(With(request, replay));
  EXPECT_THAT(again.token_ids(), ElementsAreArray(under.token_ids()));
  EXPECT_EQ(again.trace().SerializeAsString(), under.trace().SerializeAsString());

  const v1::ScoreRequest score =
      ScoreOf({1, 2, 3}, {under.token_ids().begin(), under.token_ids().end()});
  ExpectSame(Score(With(score, replay)), Score(With(score, policy)));

  grpc::ClientContext context;
  const auto stream = server_.inference().GenerateStream(&context, With(request, replay));
  std::vector<uint32_t> ids;
  v1::GenerateStreamResponse event;
  while (stream->Read(&event)) {
    ids.insert(ids.end(), event.delta().token_ids().begin(), event.delta().token_ids().end());
    if (event.has_started()) {
      EXPECT_EQ(event.started().routing().trace_digest(), again.routing().trace_digest());
    }
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_THAT(ids, ElementsAreArray(under.token_ids()));
}

TEST_F(ReplayTest, AStreamOfScoresReplaysToo) {
  const v1::ScoreResponse under = Score(With(ScoreRequest(), PolicyOf(OtherPolicies()[0])));
  grpc::ClientContext context;
  const auto stream = server_.inference().ScoreStream(&context);
  v1::ScoreStreamRequest message;
  *message.mutable_request() =
      With(ScoreRequest(), ReplayOf(under.results(0).trace(), v1::REPLAY_WEIGHTS_RECORDED));
  ASSERT_TRUE(stream->Write(message));
  message.mutable_request()->mutable_routing()->mutable_replay()->mutable_trace()->set_num_layers(
      3);
  ASSERT_TRUE(stream->Write(message));
  stream->WritesDone();
  int answered = 0, refused = 0;
  for (v1::ScoreStreamResponse response; stream->Read(&response);) {
    if (response.has_error()) {
      ++refused;
      EXPECT_THAT(response.error().message(), HasSubstr("routing.replay.trace.num_layers"));
    } else {
      ++answered;
      ExpectSame(response.response(), under);
    }
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(answered, 1);
  EXPECT_EQ(refused, 1);
}

TEST_F(ReplayTest, TheStampNamesTheTrace) {
  const v1::ScoreResponse under = Score(ScoreRequest());
  EXPECT_EQ(under.routing().trace_digest(), "");
  const v1::RoutingTrace& trace = under.results(0).trace();
  const std::string place("\0\0\0\0\7\0\0\0\2\0\0\0", 12);
  v1::Replay replay = ReplayOf(trace, v1::REPLAY_WEIGHTS_LIVE);
  v1::RoutingStamp stamp = Score(With(ScoreRequest(), replay)).routing();
  EXPECT_EQ(stamp.arm_id(), "inline");
  EXPECT_EQ(stamp.policy_id(), "replay");
  EXPECT_EQ(stamp.reason(), v1::ASSIGNMENT_REASON_INLINE_POLICY);
  EXPECT_EQ(stamp.policy_digest(), server_.controller().native_policy()->digest());
  EXPECT_EQ(stamp.trace_digest(), Sha256Hex(place + trace.counts() + trace.experts()));

  replay.set_weights(v1::REPLAY_WEIGHTS_RECORDED);
  *replay.mutable_otherwise() = PolicyOf(LivePolicies()[1]);
  stamp = Score(With(ScoreRequest(), replay)).routing();
  EXPECT_EQ(stamp.policy_id(), "replay");
  EXPECT_EQ(stamp.policy_digest(),
            Score(With(ScoreRequest(), replay.otherwise())).routing().policy_digest());
  EXPECT_EQ(stamp.trace_digest(),
            Sha256Hex(place + trace.counts() + trace.experts() + trace.weights()));
}

TEST_F(ReplayTest, StatisticsCountWhatRan) {
  const v1::ScoreResponse under = Score(With(ScoreRequest(), PolicyOf(LivePolicies()[1])));
  const v1::Replay replay = ReplayOf(under.results(0).trace(), v1::REPLAY_WEIGHTS_LIVE);
  Score(With(ScoreRequest(), replay));
  Score(With(ScoreRequest(), replay));
  grpc::ClientContext context;
  v1::GetExpertStatsResponse stats;
  ASSERT_TRUE(server_.admin().GetExpertStats(&context, {}, &stats).ok());
  int found = 0;
  for (const v1::ArmExpertStats& arm : stats.arms()) {
    if (arm.policy_id() != "replay") continue;
    ++found;
    EXPECT_EQ(arm.arm_id(), "inline");
    EXPECT_EQ(arm.policy_digest(), "");
    for (const v1::LayerExpertStats& layer : arm.layers()) {
      EXPECT_EQ(layer.tokens(), 14u);
      uint64_t selections = 0;
      for (const uint64_t tokens : layer.expert_tokens()) selections += tokens;
      EXPECT_EQ(selections, 14u * 5);
    }
  }
  EXPECT_EQ(found, 1);
}

struct BadReplay {
  std::vector<std::string> fields;
  std::function<void(v1::Replay*)> spoil;
};

TEST_F(ReplayTest, EveryFieldThatIsWrongIsNamed) {
  const v1::RoutingTrace trace = Score(ScoreRequest()).results(0).trace();
  const auto in_trace = [](const char* name) {
    return absl::StrCat("routing.replay.trace.", name);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<BadReplay> cases = {
      {{in_trace("num_layers"), in_trace("num_positions"), in_trace("weights")},
       [](v1::Replay* r) {
         r->clear_trace();
         r->mutable_trace()->set_weights(std::string(4, '\0'));
       }},
      {{in_trace("num_layers"), in_trace("counts")},
       [](v1::Replay* r) { r->mutable_trace()->set_num_layers(3); }},
      {{in_trace("counts")}, [](v1::Replay* r) { r->mutable_trace()->set_num_positions(6); }},
      {{in_trace("counts"), in_trace("num_positions")},
       [](v1::Replay* r) { r->mutable_trace()->set_num_positions(0xFFFFFFFF); }},
      {{in_trace("counts")}, [](v1::Replay* r) { (*r->mutable_trace()->mutable_counts())[3] = 0; }},
      {{in_trace("counts")}, [](v1::Replay* r) { (*r->mutable_trace()->mutable_counts())[3] = 9; }},
      {{in_trace("counts")},
       [](v1::Replay* r) { (*r->mutable_trace()->mutable_counts())[3] = '\xFF'; }},
      {{in_trace("experts"), in_trace("weights")},
       [](v1::Replay* r) { r->mutable_trace()->mutable_experts()->push_back('\0'); }},
      {{in_trace("experts")},
       [](v1::Replay* r) { (*r->mutable_trace()->mutable_experts())[3] = 8; }},
      {{in_trace("experts")},
       [](v1::Replay* r) {
         std::string& experts = *r->mutable_trace()->mutable_experts();
         experts[3] = experts[2];
       }},
      {{in_trace("weights")}, [](v1::Replay* r) { r->mutable_trace()->clear_weights(); }},
      {{in_trace("weights")},
       [](v1::Replay* r) { r->mutable_trace()->mutable_weights()->push_back('\0'); }},
      {{in_trace("weights")},
       [nan](v1::Replay* r) {
         r->mutable_trace()->mutable_weights()->replace(4, 4, reinterpret_cast<const char*>(&nan),
                                                        4);
       }},
      {{"routing.replay.weights"},
       [](v1::Replay* r) { r->set_weights(static_cast<v1::ReplayWeights>(7)); }},
      {{in_trace("counts"), "routing.replay.otherwise.policy_id",
        "routing.replay.otherwise.apply.top_k.k"},
       [](v1::Replay* r) {
         r->mutable_trace()->clear_counts();
         r->mutable_otherwise()->mutable_apply()->mutable_top_k()->set_k(9);
       }},
  };
  for (const BadReplay& bad : cases) {
    v1::Replay replay = ReplayOf(trace, v1::REPLAY_WEIGHTS_RECORDED);
    bad.spoil(&replay);
    v1::ScoreResponse scored;
    const grpc::Status status = TryScore(With(ScoreRequest(), replay), &scored);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.fields[0];
    EXPECT_THAT(ViolatedFields(status), ElementsAreArray(bad.fields)) << status.error_message();
    v1::GenerateResponse generated;
    EXPECT_THAT(ViolatedFields(TryGenerate(With(TokenRequest({1, 2}, 5), replay), &generated)),
                ElementsAreArray(bad.fields));
  }
  v1::Replay live = ReplayOf(trace, v1::REPLAY_WEIGHTS_LIVE);
  live.mutable_trace()->set_weights("x");  // not looked at
  Score(With(ScoreRequest(), live));
}

TEST_F(ReplayTest, ItIsNoLongerThanTheRequestCanBe) {
  v1::Replay replay;
  const auto with_positions = [&replay](uint32_t positions) {
    v1::RoutingTrace& trace = *replay.mutable_trace();
    trace.set_num_layers(2);
    trace.set_num_positions(positions);
    trace.set_counts(std::string(positions * 2, '\1'));
    trace.set_experts(std::string(positions * 2, '\3'));
    return replay;
  };
  v1::ScoreResponse scored;
  v1::GenerateResponse generated;
  EXPECT_TRUE(TryScore(With(ScoreRequest(), with_positions(8)), &scored).ok());
  const grpc::Status status = TryScore(With(ScoreRequest(), with_positions(9)), &scored);
  EXPECT_THAT(ViolatedFields(status), ElementsAre("routing.replay.trace.num_positions"));
  EXPECT_THAT(status.error_message(), HasSubstr("at most the 8 tokens"));
  EXPECT_TRUE(TryGenerate(With(TokenRequest({1, 2}, 5), with_positions(7)), &generated).ok());
  EXPECT_THAT(
      ViolatedFields(TryGenerate(With(TokenRequest({1, 2}, 5), with_positions(8)), &generated)),
      ElementsAre("routing.replay.trace.num_positions"));
  // What is cut off the context is not part of the sequence.
  const v1::ScoreRequest cut = ScoreOf(std::vector<uint32_t>(2000, 3), {4, 5});
  EXPECT_TRUE(TryScore(With(cut, with_positions(1025)), &scored).ok());
  EXPECT_GT(scored.results(0).context_tokens_dropped(), 0u);
  EXPECT_THAT(ViolatedFields(TryScore(With(cut, with_positions(1026)), &scored)),
              ElementsAre("routing.replay.trace.num_positions"));
}

TEST_F(ReplayTest, AScoreRequestHasOneItemThatIsNotRolling) {
  const v1::Replay replay =
      ReplayOf(Score(ScoreRequest()).results(0).trace(), v1::REPLAY_WEIGHTS_LIVE);
  v1::ScoreRequest request = With(ScoreRequest(), replay);
  *request.add_items() = request.items(0);
  v1::ScoreResponse response;
  EXPECT_THAT(ViolatedFields(TryScore(request, &response)), ElementsAre("items"));
  request.mutable_items()->RemoveLast();
  request.mutable_items(0)->set_rolling(true);
  EXPECT_THAT(ViolatedFields(TryScore(request, &response)), ElementsAre("items[0].rolling"));
}

TEST_F(ReplayTest, MemoryIsHeldForTheTraceUntilTheAnswer) {
  constexpr uint32_t kPositions = 1000, kSelections = kPositions * 2 * 8;
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, kPositions);
  v1::RoutingTrace& trace = *request.mutable_routing()->mutable_replay()->mutable_trace();
  trace.set_num_layers(2);
  trace.set_num_positions(kPositions);
  trace.set_counts(std::string(kPositions * 2, '\10'));
  for (uint32_t i = 0; i < kSelections; ++i) {
    trace.mutable_experts()->push_back(static_cast<char>(i % 8));
  }
  const auto held = [](const v1::GenerateRequest& sent) {
    TestServer server(Options());
    server.model().Hold();
    std::thread call([&server, &sent] {
      grpc::ClientContext context;
      v1::GenerateResponse response;
      EXPECT_TRUE(server.inference().Generate(&context, sent, &response).ok());
    });
    server.model().AwaitStepBegun(1);
    const int64_t bytes = server.limits().memory().used_bytes();
    server.model().Unhold();
    call.join();
    return bytes;
  };
  const int64_t with = held(request);
  request.clear_routing();
  const int64_t more = with - held(request);
  EXPECT_GE(more, kSelections);
  EXPECT_LE(more, 2 * kSelections);
}

TEST(ReplayNotAllowedTest, ItIsPermissionDeniedByDefault) {
  TestServer server;
  v1::GenerateRequest request = TokenRequest({1}, 1);
  request.mutable_routing()->mutable_replay();
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = server.inference().Generate(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "INLINE_POLICY_NOT_ALLOWED");
  EXPECT_THAT(status.error_message(), HasSubstr("--allow-inline-policy"));
}

}  // namespace
}  // namespace olmoe::rpc
