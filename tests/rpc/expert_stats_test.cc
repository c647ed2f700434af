// GetExpertStats and WatchExpertStats over a FakeModel and a real engine.
#include <grpcpp/client_context.h>

#include <atomic>
#include <map>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "server/rpc/watch_turns.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::google::protobuf::util::TimeUtil;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class ExpertStatsTest : public ::testing::Test {
 protected:
  grpc::Status Get(const v1::GetExpertStatsRequest& request, v1::GetExpertStatsResponse* response) {
    grpc::ClientContext context;
    return server_.admin().GetExpertStats(&context, request, response);
  }
  v1::GetExpertStatsResponse Get(const v1::GetExpertStatsRequest& request = {}) {
    v1::GetExpertStatsResponse response;
    const grpc::Status status = Get(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::GetExpertStatsResponse Since(const std::string& cursor) {
    v1::GetExpertStatsRequest request;
    request.set_since_cursor(cursor);
    return Get(request);
  }
  v1::GenerateResponse Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    const grpc::Status status = server_.inference().Generate(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  void Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    v1::PatchRoutersResponse response;
    const grpc::Status status = server_.admin().PatchRouters(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  TestServer server_;
};

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

// Selections per "arm/kind/layer/expert", and tokens per "arm/kind".
using Totals = std::map<std::string, uint64_t>;
void AddTo(const v1::GetExpertStatsResponse& response, Totals* totals) {
  for (const v1::ArmExpertStats& arm : response.arms()) {
    const std::string name = absl::StrCat(arm.arm_id(), "/", static_cast<int>(arm.kind()));
    for (const v1::LayerExpertStats& layer : arm.layers()) {
      for (int e = 0; e < layer.expert_tokens_size(); ++e) {
        (*totals)[absl::StrCat(name, "/", layer.layer(), "/", e)] += layer.expert_tokens(e);
      }
    }
    (*totals)[name] += arm.layers(0).tokens();
  }
}

TEST_F(ExpertStatsTest, CountsAreThoseOfTheRequestsByArmPolicyDecisionAndPhase) {
  const v1::GenerateResponse reply = Generate(TokenRequest({1, 2, 3}, 4));
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

TEST_F(ExpertStatsTest, FiltersLeaveOutArmsLayersAndKinds) {
  Patch(TwoArms(0));
  for (const char* arm : {"mass", "one"}) {
    v1::GenerateRequest request = TokenRequest({1, 2}, 1);
    request.mutable_routing()->set_arm_id(arm);
    Generate(request);
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
  request.add_arm_ids("retired-long-ago");
  EXPECT_EQ(Get(request).arms_size(), 0);
}

TEST_F(ExpertStatsTest, EveryBadFieldIsNamed) {
  v1::GetExpertStatsRequest request;
  request.add_arm_ids("Not a name");
  request.add_arm_ids("fine");
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
  for (int i = 0; i < 33; ++i) request.add_arm_ids("?");
  EXPECT_THAT(ViolatedFields(Get(request, &response)), ElementsAre("arm_ids", "layers", "kinds"));

  v1::WatchExpertStatsRequest watch;
  watch.mutable_filter()->add_layers(2);
  watch.mutable_filter()->set_since_cursor("-");
  for (const auto& [seconds, nanos] : {std::pair(0, 99'999'999), std::pair(3600, 1),
                                       std::pair(-1, 0), std::pair(0, 0)}) {
    watch.mutable_interval()->set_seconds(seconds);
    watch.mutable_interval()->set_nanos(nanos);
    grpc::ClientContext context;
    EXPECT_THAT(ViolatedFields(server_.admin().WatchExpertStats(&context, watch)->Finish()),
                ElementsAre("filter.layers[0]", "interval", "filter.since_cursor"));
  }
}

TEST_F(ExpertStatsTest, ACursorGivesWhatCameAfterItAndAnOldOneSaysSo) {
  Generate(TokenRequest({1, 2, 3}, 1));
  const v1::GetExpertStatsResponse first = Get();
  Generate(TokenRequest({1, 2}, 1));
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
        activations += Generate(request).usage().expert_activations();
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

class WatchTest : public ExpertStatsTest {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::WatchExpertStatsResponse>>;

  Reader Watch(const std::string& since_cursor = "") {
    v1::WatchExpertStatsRequest request;
    request.mutable_filter()->set_since_cursor(since_cursor);
    request.mutable_interval()->set_nanos(100'000'000);
    return server_.admin().WatchExpertStats(&context_, request);
  }
  static v1::GetExpertStatsResponse Next(const Reader& reader) {
    v1::WatchExpertStatsResponse message;
    EXPECT_TRUE(reader->Read(&message));
    return message.delta();
  }

  grpc::ClientContext context_;
};

TEST_F(WatchTest, MessagesTogetherAreWhatWasCounted) {
  Generate(TokenRequest({1, 2, 3}, 1));
  const Reader reader = Watch();
  Totals sum;
  v1::GetExpertStatsResponse message = Next(reader);
  ASSERT_EQ(message.arms_size(), 1) << "the first message has all that was before";
  AddTo(message, &sum);
  for (int i = 0; i < 3; ++i) {
    Generate(TokenRequest({1, 2}, 3));
    const v1::GetExpertStatsResponse next = Next(reader);
    EXPECT_EQ(TimeUtil::TimestampToNanoseconds(next.start_time()),
              TimeUtil::TimestampToNanoseconds(message.end_time()));
    message = next;
    AddTo(message, &sum);
  }
  // Whoever's stream ends goes on with the cursor of its last message.
  context_.TryCancel();
  AddTo(Since(message.cursor()), &sum);
  Totals totals;
  AddTo(Get(), &totals);
  EXPECT_EQ(sum, totals);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(WatchTest, ItMayBeginAtACursor) {
  Generate(TokenRequest({1, 2, 3}, 1));
  const Reader reader = Watch(Get().cursor());
  EXPECT_EQ(Next(reader).arms_size(), 0);
  context_.TryCancel();
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(WatchTest, DrainEndsItAndRefusesNewOnes) {
  const Reader reader = Watch();
  Next(reader);
  grpc::ClientContext drain;
  v1::DrainResponse drained;
  ASSERT_TRUE(server_.admin().Drain(&drain, {}, &drained).ok());
  v1::WatchExpertStatsResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  grpc::ClientContext late;
  EXPECT_EQ(server_.admin().WatchExpertStats(&late, {})->Finish().error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(WatchTest, ShutdownEndsIt) {
  const Reader reader = Watch();
  Next(reader);
  server_.admin_server().Shutdown(absl::Now());
  EXPECT_FALSE(reader->Finish().ok());
}

TEST(WatchLimitTest, OneTooManyIsToldToComeBack) {
  TestServer server({.max_watches = 1});
  grpc::ClientContext first, second, third;
  const auto reader = server.admin().WatchExpertStats(&first, {});
  v1::WatchExpertStatsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const grpc::Status refused = server.admin().WatchExpertStats(&second, {})->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(refused));
  first.TryCancel();
  reader->Finish();
  // The server learns of it a little later than the client.
  while (true) {
    grpc::ClientContext next;
    const auto again = server.admin().WatchExpertStats(&next, {});
    const bool accepted = again->Read(&message);
    next.TryCancel();
    again->Finish();
    if (accepted) break;
  }
}

using Do = WatchTurns::Do;

TEST(WatchTurnsTest, IntervalsDuringAWriteAreOneWriteAfterIt) {
  WatchTurns turns;
  EXPECT_EQ(turns.OnDue(), Do::kWrite);
  EXPECT_EQ(turns.OnDue(), Do::kNothing);
  EXPECT_EQ(turns.OnDue(), Do::kNothing);
  EXPECT_EQ(turns.OnWritten(), Do::kWrite);
  EXPECT_EQ(turns.OnWritten(), Do::kNothing);
  EXPECT_EQ(turns.OnDue(), Do::kWrite);
}

TEST(WatchTurnsTest, TheEndWaitsForTheWriteAndComesOnce) {
  WatchTurns turns;
  turns.OnDue();
  EXPECT_EQ(turns.OnEnd(), Do::kNothing);
  EXPECT_EQ(turns.OnDue(), Do::kNothing);
  EXPECT_EQ(turns.OnEnd(), Do::kNothing);
  EXPECT_EQ(turns.OnWritten(), Do::kFinish);
  EXPECT_EQ(turns.OnDue(), Do::kNothing);
  EXPECT_EQ(turns.OnEnd(), Do::kNothing);
  WatchTurns idle;
  EXPECT_EQ(idle.OnEnd(), Do::kFinish);
}

}  // namespace
}  // namespace olmoe::rpc
