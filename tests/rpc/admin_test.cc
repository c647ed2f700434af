#include <grpcpp/client_context.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class AdminTest : public ::testing::Test {
 protected:
  grpc::Status Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    patched_.Clear();
    return server_.admin().PatchRouters(&context, request, &patched_);
  }
  grpc::Status Unpatch(const v1::UnpatchRoutersRequest& request = {}) {
    grpc::ClientContext context;
    patched_.Clear();
    return server_.admin().UnpatchRouters(&context, request, &patched_);
  }
  v1::GetRoutingResponse Routing() {
    grpc::ClientContext context;
    v1::GetRoutingResponse response;
    EXPECT_TRUE(server_.admin().GetRouting(&context, {}, &response).ok());
    return response;
  }
  v1::RoutingStamp StampOf(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    const grpc::Status status = server_.inference().Generate(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.routing();
  }

  TestServer server_;
  v1::PatchRoutersResponse patched_;  // the last answer
};

v1::PatchRoutersRequest TwoArms() {
  v1::PatchRoutersRequest request;
  request.mutable_plan()->set_salt("exp1");
  request.mutable_plan()->set_note("less is more");
  for (const char* id : {"control", "treatment"}) {
    v1::Arm* arm = request.mutable_plan()->add_arms();
    arm->set_arm_id(id);
    arm->set_weight(50);
    arm->mutable_policy()->set_policy_id(absl::StrCat("p-", id));
    arm->mutable_policy()->mutable_apply()->mutable_top_k()->set_k(id[0] == 'c' ? 2 : 1);
  }
  request.mutable_plan()->mutable_arms(1)->set_allow_explicit(true);
  return request;
}

TEST_F(AdminTest, NewRequestsUseThePatch) {
  EXPECT_EQ(StampOf(TokenRequest({1}, 1)).policy_id(), "native");
  ASSERT_TRUE(Patch(TopKPatch(1)).ok());
  EXPECT_TRUE(patched_.changed());
  EXPECT_EQ(patched_.previous_generation(), 1u);
  EXPECT_EQ(patched_.current().generation(), 2u);
  EXPECT_EQ(patched_.current().source(), "patch");
  EXPECT_EQ(patched_.current().plan().arms(0).arm_id(), "default");
  EXPECT_EQ(patched_.current().plan().arms(0).policy().apply().top_k().k(), 1u);
  EXPECT_TRUE(patched_.current().has_activate_time());
  EXPECT_TRUE(patched_.has_swap_duration());
  const v1::RoutingStamp stamp = StampOf(TokenRequest({1}, 1));
  EXPECT_EQ(stamp.generation(), 2u);
  EXPECT_EQ(stamp.policy_id(), "top-1");
}

TEST_F(AdminTest, RunningRequestsKeepTheirPlanToTheEnd) {
  v1::GenerateResponse unpatched;
  grpc::ClientContext solo;
  ASSERT_TRUE(server_.inference().Generate(&solo, TokenRequest({1, 2}, 40), &unpatched).ok());

  const int steps_before = server_.model().counters().steps;
  server_.model().Hold();
  v1::GenerateResponse running;
  std::thread call([&] {
    grpc::ClientContext context;
    EXPECT_TRUE(server_.inference().Generate(&context, TokenRequest({1, 2}, 40), &running).ok());
  });
  server_.model().AwaitStepBegun(steps_before + 1);
  ASSERT_TRUE(Patch(TopKPatch(1)).ok());
  EXPECT_EQ(patched_.in_flight_on_previous(), 1u);
  const v1::GetRoutingResponse routing = Routing();
  EXPECT_EQ(routing.current().generation(), 2u);
  ASSERT_EQ(routing.draining_size(), 1);
  EXPECT_EQ(routing.draining(0).generation(), 1u);
  EXPECT_EQ(routing.draining(0).in_flight_requests(), 1u);
  server_.model().Unhold();
  call.join();
  EXPECT_EQ(running.routing().generation(), 1u);
  EXPECT_EQ(running.token_ids().at(39), unpatched.token_ids().at(39));
  EXPECT_EQ(running.text(), unpatched.text());
  EXPECT_EQ(Routing().draining_size(), 0);
}

TEST_F(AdminTest, APatchMayWaitUntilNoRequestUsesAnOlderPlan) {
  server_.model().Hold();
  std::thread call([&] { EXPECT_EQ(StampOf(TokenRequest({1}, 3)).generation(), 1u); });
  server_.model().AwaitStepBegun(1);
  std::thread release([&] {
    // Released only after the swap, which the patch does before it waits.
    while (Routing().current().generation() == 1) std::this_thread::yield();
    server_.model().Unhold();
  });
  v1::PatchRoutersRequest request = TopKPatch(1);
  request.mutable_wait_for_drain()->set_seconds(600);
  ASSERT_TRUE(Patch(request).ok());
  EXPECT_EQ(Routing().draining_size(), 0);
  call.join();
  release.join();
}

TEST_F(AdminTest, AMismatchedGenerationIsAbortedWithTheCurrentOne) {
  v1::PatchRoutersRequest request = TopKPatch(1);
  request.set_expected_generation(7);
  const grpc::Status status = Patch(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  const google::rpc::ErrorInfo info = ErrorInfoOf(status);
  EXPECT_EQ(info.reason(), "GENERATION_MISMATCH");
  EXPECT_EQ(info.metadata().at("current_generation"), "1");
  EXPECT_EQ(Routing().current().generation(), 1u);
  request.set_expected_generation(1);
  EXPECT_TRUE(Patch(request).ok());
  v1::UnpatchRoutersRequest unpatch;
  unpatch.set_expected_generation(1);
  EXPECT_EQ(Unpatch(unpatch).error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(server_.swaps(), ElementsAre("conflict", "published", "conflict"));
}

TEST_F(AdminTest, EveryViolationComesAtOnceAndNothingChanges) {
  v1::PatchRoutersRequest request = TwoArms();
  request.mutable_plan()->mutable_arms(0)->set_arm_id("Not An Id");
  request.mutable_plan()
      ->mutable_arms(0)
      ->mutable_policy()
      ->mutable_apply()
      ->mutable_top_k()
      ->set_k(9);
  auto* bh =
      request.mutable_plan()->mutable_arms(1)->mutable_policy()->mutable_apply()->mutable_bh();
  bh->set_alpha(1.5);
  bh->set_p_value(v1::P_VALUE_KIND_ONE_MINUS_PROB);
  const std::string before = Routing().SerializeAsString();
  const grpc::Status status = Patch(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(ViolatedFields(status),
              ElementsAre("plan.arms[0].arm_id", "plan.arms[0].policy.apply.top_k.k",
                          "plan.arms[1].policy.apply.bh.alpha"));
  EXPECT_EQ(Routing().SerializeAsString(), before);
  EXPECT_THAT(server_.swaps(), ElementsAre("rejected"));
}

TEST_F(AdminTest, ViolationsOfASinglePolicyAreNamedAsItWasSent) {
  EXPECT_THAT(ViolatedFields(Patch(TopKPatch(9))), ElementsAre("policy.apply.top_k.k"));
}

TEST_F(AdminTest, BadRequestsAreNamed) {
  EXPECT_THAT(ViolatedFields(Patch({})), ElementsAre("target"));
  v1::PatchRoutersRequest request = TopKPatch(1);
  request.mutable_wait_for_drain()->set_seconds(-1);
  request.mutable_policy()->mutable_apply()->set_weight_mode(static_cast<v1::WeightMode>(50));
  EXPECT_THAT(ViolatedFields(Patch(request)),
              ElementsAre("policy.apply.weight_mode", "wait_for_drain"));
  EXPECT_EQ(Routing().current().generation(), 1u);
}

TEST_F(AdminTest, AMissingCalibrationIsAFailedPrecondition) {
  v1::PatchRoutersRequest request;
  request.mutable_policy()->set_policy_id("bh");
  request.mutable_policy()->mutable_apply()->mutable_bh()->set_alpha(0.1);
  request.mutable_policy()->mutable_apply()->mutable_bh()->set_calibration_id("nowhere");
  EXPECT_EQ(Patch(request).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Routing().current().generation(), 1u);
}

TEST_F(AdminTest, ValidateOnlyChangesNothing) {
  v1::PatchRoutersRequest request = TopKPatch(1);
  request.set_validate_only(true);
  ASSERT_TRUE(Patch(request).ok());
  EXPECT_FALSE(patched_.changed());
  EXPECT_EQ(Routing().current().generation(), 1u);
  EXPECT_THAT(server_.swaps(), ElementsAre("unchanged"));
}

TEST_F(AdminTest, UnpatchingBringsTheModelsOwnRoutingBack) {
  ASSERT_TRUE(Patch(TopKPatch(1)).ok());
  ASSERT_TRUE(Unpatch().ok());
  EXPECT_TRUE(patched_.changed());
  EXPECT_EQ(patched_.current().generation(), 3u);
  EXPECT_EQ(patched_.current().source(), "unpatch");
  EXPECT_EQ(StampOf(TokenRequest({1}, 1)).policy_digest(),
            server_.controller().native_policy()->digest());
  ASSERT_TRUE(Unpatch().ok());
  EXPECT_FALSE(patched_.changed());
  EXPECT_THAT(patched_.warnings(), Not(IsEmpty()));
}

TEST_F(AdminTest, ArmsAreAssignedByUnitAndNamedOnlyWhereAllowed) {
  ASSERT_TRUE(Patch(TwoArms()).ok());
  v1::GenerateRequest request = TokenRequest({1}, 1);
  request.set_unit_id("alice");
  const v1::RoutingStamp alice = StampOf(request);
  EXPECT_EQ(alice.reason(), v1::ASSIGNMENT_REASON_SPLIT);
  EXPECT_EQ(alice.arm_id(), "treatment");  // bucket 66 of 100
  request.set_unit_id("bob");
  EXPECT_EQ(StampOf(request).arm_id(), "control");  // bucket 17
  request.clear_unit_id();
  EXPECT_EQ(StampOf(request).reason(), v1::ASSIGNMENT_REASON_RANDOM_UNIT);
  request.mutable_routing()->set_arm_id("treatment");
  EXPECT_EQ(StampOf(request).reason(), v1::ASSIGNMENT_REASON_EXPLICIT_ARM);
  request.mutable_routing()->set_arm_id("control");
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = server_.inference().Generate(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "ARM_NOT_ALLOWED");
}

TEST_F(AdminTest, StatusListsWhatRuns) {
  server_.model().Hold();
  v1::GenerateRequest request = TokenRequest({1, 2, 3}, 5);
  request.set_request_id("mine");
  std::thread call([&] { StampOf(request); });
  server_.model().AwaitStepBegun(1);
  grpc::ClientContext context;
  v1::GetServerStatusResponse status;
  ASSERT_TRUE(server_.admin().GetServerStatus(&context, {}, &status).ok());
  EXPECT_TRUE(status.has_start_time());
  EXPECT_GT(status.kv_cache_used_bytes(), 0u);
  EXPECT_GT(status.kv_cache_capacity_bytes(), status.kv_cache_used_bytes());
  ASSERT_EQ(status.requests_size(), 1);
  EXPECT_EQ(status.requests(0).request_id(), "mine");
  EXPECT_EQ(status.requests(0).method(), "generate");
  EXPECT_EQ(status.requests(0).routing().generation(), 1u);
  EXPECT_EQ(status.requests(0).prompt_tokens(), 3u);
  server_.model().Unhold();
  call.join();
}

TEST_F(AdminTest, DrainLetsAcceptedRequestsFinishAndRefusesNewOnes) {
  server_.model().Hold();
  std::thread call([&] { StampOf(TokenRequest({1}, 5)); });
  server_.model().AwaitStepBegun(1);
  v1::DrainResponse drained;
  std::thread drain([&] {
    grpc::ClientContext context;
    v1::DrainRequest request;
    request.mutable_grace()->set_seconds(600);
    EXPECT_TRUE(server_.admin().Drain(&context, request, &drained).ok());
  });
  while (!server_.engine().Status().draining) std::this_thread::yield();
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status refused =
      server_.inference().Generate(&context, TokenRequest({1}, 1), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(HasRetryInfo(refused));
  server_.model().Unhold();
  call.join();
  drain.join();
  EXPECT_EQ(drained.aborted_requests(), 0u);
}

TEST_F(AdminTest, DrainWithoutGraceCutsOffWhatRuns) {
  server_.model().Hold();
  grpc::Status cut_off;
  std::thread call([&] {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    cut_off = server_.inference().Generate(&context, TokenRequest({1}, 500), &response);
  });
  server_.model().AwaitStepBegun(1);
  v1::DrainResponse drained;
  std::thread drain([&] {
    grpc::ClientContext context;
    EXPECT_TRUE(server_.admin().Drain(&context, {}, &drained).ok());
  });
  while (!server_.engine().Status().draining) std::this_thread::yield();
  server_.model().Unhold();
  drain.join();
  call.join();
  EXPECT_EQ(cut_off.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(drained.aborted_requests(), 1u);
}

}  // namespace
}  // namespace olmoe::rpc
