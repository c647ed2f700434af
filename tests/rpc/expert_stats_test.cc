// GetExpertStats over a FakeModel and a real engine.
#include <grpcpp/client_context.h>

#include <atomic>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "server/stats/arm_table.h"
#include "tests/rpc/expert_stats_fixture.h"
#include "tests/rpc/status_details.h"

namespace olmoe::rpc {
namespace {

using ::google::protobuf::util::TimeUtil;
using ::testing::ElementsAre;

// TOP_P with an analyzed rule, split with top-1.
v1::PatchRoutersRequest TwoArms(int salt) {
  v1::PatchRoutersRequest request;
  request.mutable_plan()->set_salt(absl::StrCat(salt));
  for (const char* id : {"mass", "one"}) {
    v1::Arm* arm = request.mutable_plan()->add_arms();
    arm->set_arm_id(id);
    arm->set_weight(1);
    arm->set_allow_explicit(true);
    arm->mutable_policy()->set_policy_id(id);
  }
  v1::RoutingPolicy* mass = request.mutable_plan()->mutable_arms(0)->mutable_policy();
  mass->mutable_apply()->mutable_top_p()->set_p(0.5 + 0.01 * (salt % 10));
  mass->mutable_analyze()->mutable_min_p()->set_ratio(0.3);
  v1::RoutingPolicy* one = request.mutable_plan()->mutable_arms(1)->mutable_policy();
  one->mutable_apply()->mutable_top_k()->set_k(1);
  return request;
}

uint64_t Selections(const v1::LayerExpertStats& layer) {
  return std::accumulate(layer.expert_tokens().begin(), layer.expert_tokens().end(), uint64_t{0});
}

void ExpectEqualities(const v1::GetExpertStatsResponse& response) {
  for (const v1::ArmExpertStats& arm : response.arms()) {
    for (const v1::LayerExpertStats& layer : arm.layers()) {
      uint64_t selections = 0, tokens = 0;
      for (int k = 0; k < layer.experts_per_token_size(); ++k) {
        selections += static_cast<uint64_t>(k) * layer.experts_per_token(k);
        tokens += layer.experts_per_token(k);
      }
      EXPECT_EQ(Selections(layer), selections);
      EXPECT_EQ(tokens, layer.tokens());
      EXPECT_EQ(layer.tokens(), arm.layers(0).tokens());
      EXPECT_GT(layer.tokens(), 0u);
    }
  }
}

TEST_F(ExpertStatsTest, CountsAreThoseOfTheRequestsByArmPolicyDecisionAndPhase) {
  const v1::GenerateResponse reply = server_.Generate(TokenRequest({1, 2, 3}, 4));
  const v1::GetExpertStatsResponse stats = Get();
  ASSERT_EQ(stats.arms_size(), 2);
  EXPECT_EQ(stats.arms(0).arm_id(), "default");
  EXPECT_EQ(stats.arms(0).policy_id(), "native");
  EXPECT_EQ(stats.arms(0).policy_digest(), reply.routing().policy_digest());
  EXPECT_EQ(stats.arms(0).kind(), v1::DECISION_KIND_APPLIED);
  EXPECT_EQ(stats.arms(0).phase(), v1::PHASE_PREFILL);
  EXPECT_EQ(stats.arms(1).phase(), v1::PHASE_DECODE);
  uint64_t selections = 0;
  for (const v1::ArmExpertStats& arm : stats.arms()) {
    EXPECT_EQ(arm.layers(0).tokens(), 3u);
    for (const v1::LayerExpertStats& layer : arm.layers()) {
      selections += Selections(layer);
      EXPECT_EQ(layer.mean_experts_per_token(), 2);
      EXPECT_EQ(layer.stddev_experts_per_token(), 0);
      EXPECT_GE(layer.load_max_over_mean(), 1);
      EXPECT_GT(layer.load_jain(), 0);
      EXPECT_LE(layer.load_entropy_ratio(), 1);
      EXPECT_GE(layer.idle_experts(), 2u);
      EXPECT_GT(layer.selected_mass(), 0);
    }
  }
  EXPECT_EQ(selections, reply.usage().expert_activations());
  EXPECT_LE(TimeUtil::TimestampToNanoseconds(stats.start_time()),
            TimeUtil::TimestampToNanoseconds(stats.end_time()));
}

TEST_F(ExpertStatsTest, ScoredTokensAreAPhaseOfTheirOwn) {
  grpc::ClientContext context;
  v1::ScoreRequest request;
  v1::ScoreItem* item = request.add_items();
  item->mutable_continuation_tokens()->add_ids(1);
  v1::ScoreResponse response;
  ASSERT_TRUE(server_.inference().Score(&context, request, &response).ok());
  ASSERT_EQ(Get().arms_size(), 1);
  EXPECT_EQ(Get().arms(0).phase(), v1::PHASE_SCORE);
}

TEST_F(ExpertStatsTest, TheCurrentPlanIsThatOfItsPoliciesAlone) {
  v1::GetExpertStatsRequest current;
  current.set_current_plan(true);
  server_.Generate(TokenRequest({1, 2, 3}, 1));
  EXPECT_EQ(Get(current).arms_size(), 1);
  v1::PatchRoutersRequest one = TopKPatch(1);
  one.mutable_policy()->set_policy_id("same");
  Patch(one);
  EXPECT_EQ(Get(current).arms_size(), 0) << "nothing was counted since";
  server_.Generate(TokenRequest({1, 2}, 1));
  ASSERT_EQ(Get(current).arms_size(), 1);
  EXPECT_EQ(Get(current).arms(0).policy_id(), "same");
  EXPECT_EQ(Get(current).arms(0).layers(0).tokens(), 2u);
  EXPECT_EQ(Get().arms_size(), 2);
  one.mutable_policy()->mutable_apply()->mutable_top_k()->set_k(2);
  Patch(one);  // another policy of the same name
  EXPECT_EQ(Get(current).arms_size(), 0);
}

TEST_F(ExpertStatsTest, ArmsThatThereAreNotAreErrors) {
  server_.Generate(TokenRequest({1, 2, 3}, 1));  // of arm default
  Patch(TwoArms(0));
  v1::GetExpertStatsRequest request;
  v1::GetExpertStatsResponse response;
  request.add_arm_ids("default");
  request.add_arm_ids("one");  // without a token yet
  ASSERT_TRUE(Get(request, &response).ok());
  EXPECT_EQ(response.arms_size(), 1);
  request.add_arm_ids("oen");
  EXPECT_THAT(ViolatedFields(Get(request, &response)), ElementsAre("arm_ids[2]"));
  request.set_current_plan(true);
  const grpc::Status status = Get(request, &response);
  EXPECT_THAT(ViolatedFields(status), ElementsAre("arm_ids[0]", "arm_ids[2]"));
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("it has: mass, one"));
}

TEST_F(ExpertStatsTest, TheLastWhileIsAskedForByItsLength) {
  server_.Generate(TokenRequest({1, 2, 3}, 1));
  v1::GetExpertStatsRequest request;
  request.mutable_since()->set_seconds(300);
  EXPECT_EQ(Get(request).arms_size(), 1);  // the server is younger
  v1::GetExpertStatsResponse response;
  request.set_since_cursor(Get().cursor());
  EXPECT_THAT(ViolatedFields(Get(request, &response)), ElementsAre("since"));
  request.clear_since_cursor();
  for (const int64_t seconds : {int64_t{0}, int64_t{-5}, int64_t{24 * 3600 + 1}}) {
    request.mutable_since()->set_seconds(seconds);
    EXPECT_THAT(ViolatedFields(Get(request, &response)), ElementsAre("since")) << seconds;
  }
}

TEST_F(ExpertStatsTest, FiltersLeaveOutArmsLayersAndKinds) {
  Patch(TwoArms(0));
  for (const char* arm : {"mass", "one"}) {
    v1::GenerateRequest request = TokenRequest({1, 2}, 1);
    request.mutable_routing()->set_arm_id(arm);
    server_.Generate(request);
  }
  v1::GetExpertStatsRequest request;
  request.add_arm_ids("mass");
  request.add_layers(1);
  const v1::GetExpertStatsResponse mass = Get(request);
  ASSERT_EQ(mass.arms_size(), 2);
  EXPECT_EQ(mass.arms(0).kind(), v1::DECISION_KIND_APPLIED);
  EXPECT_EQ(mass.arms(1).kind(), v1::DECISION_KIND_ANALYZED);
  EXPECT_GT(mass.arms(1).layers(0).union_experts(), 0u);
  ASSERT_EQ(mass.arms(0).layers_size(), 1);
  EXPECT_EQ(mass.arms(0).layers(0).layer(), 1u);
  request.Clear();
  request.add_kinds(v1::DECISION_KIND_ANALYZED);
  ASSERT_EQ(Get(request).arms_size(), 1);
  EXPECT_EQ(Get(request).arms(0).arm_id(), "mass");
  request.add_arm_ids("one");  // which analyzes nothing
  EXPECT_EQ(Get(request).arms_size(), 0);
}

TEST_F(ExpertStatsTest, EveryBadFieldIsNamed) {
  v1::GetExpertStatsRequest request;
  request.add_arm_ids("Not a name");
  request.add_arm_ids("default");
  request.add_arm_ids("");
  request.add_layers(2);
  request.add_layers(1);
  request.add_kinds(v1::DECISION_KIND_UNSPECIFIED);
  request.add_kinds(static_cast<v1::DecisionKind>(7));
  request.set_since_cursor("yesterday");
  v1::GetExpertStatsResponse response;
  grpc::Status status = Get(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(ViolatedFields(status), ElementsAre("arm_ids[0]", "arm_ids[2]", "layers[0]",
                                                  "kinds[0]", "kinds[1]", "since_cursor"));
  request.Clear();
  request.mutable_layers()->Resize(100'000, 99);
  request.mutable_kinds()->Resize(100'000, 99);
  for (size_t i = 0; i <= stats::kMaxArmsKept; ++i) request.add_arm_ids(std::string("?"));
  EXPECT_THAT(ViolatedFields(Get(request, &response)), ElementsAre("arm_ids", "layers", "kinds"));

  v1::WatchExpertStatsRequest watch;
  watch.mutable_filter()->add_layers(2);
  watch.mutable_filter()->set_since_cursor("-");
  for (const auto& [seconds, nanos] :
       {std::pair(0, 99'999'999), std::pair(3600, 1), std::pair(-1, 0), std::pair(0, 0)}) {
    watch.mutable_interval()->set_seconds(seconds);
    watch.mutable_interval()->set_nanos(nanos);
    grpc::ClientContext context;
    EXPECT_THAT(ViolatedFields(server_.admin().WatchExpertStats(&context, watch)->Finish()),
                ElementsAre("filter.layers[0]", "interval", "filter.since_cursor"));
  }
}

TEST_F(ExpertStatsTest, ACursorGivesWhatCameAfterItAndAnOldOneSaysSo) {
  server_.Generate(TokenRequest({1, 2, 3}, 1));
  const v1::GetExpertStatsResponse first = Get();
  server_.Generate(TokenRequest({1, 2}, 1));
  const v1::GetExpertStatsResponse second = Since(first.cursor());
  ASSERT_EQ(second.arms_size(), 1);
  EXPECT_EQ(second.arms(0).layers(0).tokens(), 2u);
  EXPECT_EQ(TimeUtil::TimestampToNanoseconds(second.start_time()),
            TimeUtil::TimestampToNanoseconds(first.end_time()));
  EXPECT_EQ(Since(second.cursor()).arms_size(), 0);
  v1::GetExpertStatsRequest request;
  request.set_since_cursor("00000000000000ff-1");
  v1::GetExpertStatsResponse response;
  const grpc::Status status = Get(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_FALSE(DetailsOf(status).details().empty());
}

TEST_F(ExpertStatsTest, EqualitiesHoldAtAThousandReadingsUnderLoad) {
  Patch(TwoArms(0));
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> activations = 0;
  std::vector<std::thread> clients;
  for (uint32_t i = 0; i < 3; ++i) {
    clients.emplace_back([&, i] {
      for (int n = 0; !stop; ++n) {
        v1::GenerateRequest request = TokenRequest({i, 2, 3}, 5);
        request.set_unit_id(absl::StrCat(i, "-", n));
        activations += server_.Generate(request).usage().expert_activations();
      }
    });
  }
  std::thread patches([&] {
    for (int salt = 1; !stop; ++salt) Patch(TwoArms(salt));
  });
  Totals sum_of_differences;
  std::string cursor;
  for (int i = 0; i < 1000; ++i) {
    const v1::GetExpertStatsResponse difference = Since(cursor);
    ExpectEqualities(difference);
    AddTo(difference, &sum_of_differences);
    cursor = difference.cursor();
    ExpectEqualities(Get());
    ASSERT_FALSE(HasFailure()) << "reading " << i;
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  patches.join();

  AddTo(Since(cursor), &sum_of_differences);
  const v1::GetExpertStatsResponse all = Get();
  Totals totals;
  AddTo(all, &totals);
  EXPECT_EQ(sum_of_differences, totals);
  uint64_t selections = 0;
  for (const v1::ArmExpertStats& arm : all.arms()) {
    if (arm.kind() != v1::DECISION_KIND_APPLIED) continue;
    for (const v1::LayerExpertStats& layer : arm.layers()) selections += Selections(layer);
  }
  EXPECT_EQ(selections, activations);
}

}  // namespace
}  // namespace olmoe::rpc
