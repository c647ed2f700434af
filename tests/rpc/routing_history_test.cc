// Rollback, renewal, history and explanations over the wire.
#include <grpcpp/client_context.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RoutingHistoryTest : public ::testing::Test {
 protected:
  v1::RoutingAdminService::Stub& admin() { return server_.admin(); }
  grpc::Status Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    patched_.Clear();
    return admin().PatchRouters(&context, request, &patched_);
  }
  grpc::Status Rollback(const v1::RollbackRoutingRequest& request) {
    grpc::ClientContext context;
    patched_.Clear();
    return admin().RollbackRouting(&context, request, &patched_);
  }
  grpc::Status Renew(uint64_t generation, int64_t seconds) {
    grpc::ClientContext context;
    v1::RenewRoutingRequest request;
    request.set_generation(generation);
    request.mutable_ttl()->set_seconds(seconds);
    return admin().RenewRouting(&context, request, &renewed_);
  }
  grpc::Status History(uint32_t page_size, const std::string& page_token) {
    grpc::ClientContext context;
    v1::ListRoutingHistoryRequest request;
    request.set_page_size(page_size);
    request.set_page_token(page_token);
    history_.Clear();
    return admin().ListRoutingHistory(&context, request, &history_);
  }
  grpc::Status Explain(const v1::ExplainAssignmentRequest& request) {
    grpc::ClientContext context;
    explained_.Clear();
    return admin().ExplainAssignment(&context, request, &explained_);
  }
  v1::PlanRecord Current() {
    grpc::ClientContext context;
    v1::GetRoutingResponse response;
    EXPECT_TRUE(admin().GetRouting(&context, {}, &response).ok());
    return response.current();
  }

  TestServer server_;
  v1::PatchRoutersResponse patched_;
  v1::RenewRoutingResponse renewed_;
  v1::ListRoutingHistoryResponse history_;
  v1::ExplainAssignmentResponse explained_;
};

TEST_F(RoutingHistoryTest, RollbackPublishesThePlanBefore) {
  ASSERT_TRUE(Patch(TopKPatch(1)).ok());
  ASSERT_TRUE(Patch(TopKPatch(2)).ok());
  v1::RollbackRoutingRequest request;
  request.set_expected_generation(3);
  ASSERT_TRUE(Rollback(request).ok());
  EXPECT_TRUE(patched_.changed());
  EXPECT_EQ(patched_.previous_generation(), 3u);
  EXPECT_EQ(patched_.current().generation(), 4u);
  EXPECT_EQ(patched_.current().source(), "rollback");
  EXPECT_EQ(patched_.current().plan().arms(0).policy().policy_id(), "top-1");
  EXPECT_THAT(server_.swaps(), ElementsAre("published", "published", "published"));
}

TEST_F(RoutingHistoryTest, ARollbackHasTheTimeToLiveThatItAsksFor) {
  v1::PatchRoutersRequest short_lived = TopKPatch(1);
  short_lived.mutable_ttl()->set_seconds(600);
  ASSERT_TRUE(Patch(short_lived).ok());
  ASSERT_TRUE(Rollback({}).ok());  // to the plan without
  EXPECT_FALSE(patched_.current().has_expire_time());
  EXPECT_THAT(patched_.warnings(),
              ElementsAre(HasSubstr("the time to live of generation 2 is not taken over")));
  v1::RollbackRoutingRequest request;
  request.set_to_generation(2);
  ASSERT_TRUE(Rollback(request).ok());
  EXPECT_FALSE(patched_.current().has_expire_time());
  EXPECT_THAT(patched_.warnings(), ElementsAre(HasSubstr("generation 2 is not taken over")));
  request.set_to_generation(1);
  request.mutable_ttl()->set_seconds(60);
  ASSERT_TRUE(Rollback(request).ok());
  const v1::PlanRecord& current = patched_.current();
  EXPECT_EQ(current.expire_time().seconds(), current.activate_time().seconds() + 60);
  EXPECT_THAT(patched_.warnings(), ElementsAre());
  request.mutable_ttl()->set_seconds(0);
  EXPECT_THAT(ViolatedFields(Rollback(request)), ElementsAre("ttl"));
}

TEST_F(RoutingHistoryTest, ADryRunTellsThePlanThatItChecked) {
  ASSERT_TRUE(Patch(TopKPatch(1)).ok());
  EXPECT_FALSE(patched_.has_checked());
  const v1::PlanRecord before = Current();
  v1::PatchRoutersRequest request = TopKPatch(2);
  request.set_validate_only(true);
  ASSERT_TRUE(Patch(request).ok());
  EXPECT_FALSE(patched_.changed());
  EXPECT_EQ(patched_.current().digest(), before.digest());
  EXPECT_NE(patched_.checked().digest(), before.digest());
  EXPECT_EQ(patched_.checked().plan().arms(0).policy().policy_id(), "top-2");
  EXPECT_EQ(patched_.checked().generation(), 0u);
  EXPECT_FALSE(patched_.checked().has_activate_time());
  EXPECT_EQ(Current().digest(), before.digest());
}

TEST_F(RoutingHistoryTest, RollbackToAnUnknownGenerationIsNotFound) {
  v1::RollbackRoutingRequest request;
  request.set_to_generation(0);
  const grpc::Status status = Rollback(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "UNKNOWN_GENERATION");
  request.set_to_generation(1);
  request.set_expected_generation(8);
  EXPECT_EQ(Rollback(request).error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(Current().generation(), 1u);
}

TEST_F(RoutingHistoryTest, ATimeToLiveIsToldAndRenewed) {
  v1::PatchRoutersRequest request = TopKPatch(1);
  request.mutable_ttl()->set_seconds(600);
  ASSERT_TRUE(Patch(request).ok());
  const v1::PlanRecord& current = patched_.current();
  EXPECT_EQ(current.expire_time().seconds(), current.activate_time().seconds() + 600);
  ASSERT_TRUE(Renew(2, 6000).ok());
  EXPECT_GT(renewed_.expire_time().seconds(), current.expire_time().seconds());
  EXPECT_EQ(Current().expire_time().seconds(), renewed_.expire_time().seconds());
  EXPECT_EQ(Renew(1, 60).error_code(), grpc::StatusCode::ABORTED);
}

TEST_F(RoutingHistoryTest, BadTimesAndKeysAreNamedAtOnce) {
  v1::PatchRoutersRequest request = TopKPatch(1);
  request.mutable_ttl();  // 0 s
  request.set_idempotency_key(std::string(129, 'k'));
  EXPECT_THAT(ViolatedFields(Patch(request)), ElementsAre("ttl", "idempotency_key"));
  request.mutable_ttl()->set_seconds(int64_t{3600} * 24 * 3661);
  request.set_idempotency_key("not\nprintable");
  EXPECT_THAT(ViolatedFields(Patch(request)), ElementsAre("ttl", "idempotency_key"));
  EXPECT_THAT(ViolatedFields(Renew(1, -1)), ElementsAre("ttl"));
  const grpc::Status lasting = Renew(1, 60);
  EXPECT_EQ(lasting.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ErrorInfoOf(lasting).reason(), "NO_TTL");
  EXPECT_EQ(Current().generation(), 1u);
}

TEST_F(RoutingHistoryTest, AKeyGivesTheFirstAnswerAgain) {
  v1::PatchRoutersRequest request = TopKPatch(1);
  request.set_idempotency_key("deploy-17");
  ASSERT_TRUE(Patch(request).ok());
  v1::PatchRoutersResponse first = patched_;
  EXPECT_TRUE(first.has_swap_duration());
  ASSERT_TRUE(Patch(TopKPatch(2)).ok());
  ASSERT_TRUE(Patch(request).ok());
  // Not known yet when an answer is kept.
  first.mutable_swap_duration()->Clear();
  first.mutable_current()->set_in_flight_requests(0);
  EXPECT_EQ(patched_.SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(Current().generation(), 3u);
  EXPECT_THAT(server_.swaps(), ElementsAre("published", "published", "unchanged"));

  request.mutable_policy()->mutable_apply()->mutable_top_k()->set_k(2);
  const grpc::Status status = Patch(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "IDEMPOTENCY_KEY_REUSED");
  EXPECT_THAT(ViolatedFields(status), ElementsAre("idempotency_key"));
}

TEST_F(RoutingHistoryTest, HistoryComesInPagesNewestFirst) {
  for (const uint32_t k : {1, 2, 3, 4}) ASSERT_TRUE(Patch(TopKPatch(k)).ok());
  std::vector<uint64_t> generations;
  std::string token;
  int pages = 0;
  do {
    ASSERT_TRUE(History(2, token).ok());
    for (const v1::PlanRecord& record : history_.records()) {
      generations.push_back(record.generation());
    }
    token = history_.next_page_token();
    ++pages;
  } while (!token.empty());
  EXPECT_THAT(generations, ElementsAre(5, 4, 3, 2, 1));
  EXPECT_EQ(pages, 3);
  ASSERT_TRUE(History(0, "").ok());
  EXPECT_EQ(history_.records_size(), 5);
  EXPECT_EQ(history_.records(0).plan().arms(0).policy().policy_id(), "top-4");
  EXPECT_EQ(history_.records(4).source(), "startup");
}

TEST_F(RoutingHistoryTest, BadPagesAreNamedAtOnce) {
  EXPECT_THAT(ViolatedFields(History(101, "x")), ElementsAre("page_size", "page_token"));
  EXPECT_THAT(ViolatedFields(History(1, "-1")), ElementsAre("page_token"));
}

v1::RoutingPlan HalfAndHalf() {
  v1::RoutingPlan plan;
  plan.set_salt("exp1");
  for (const char* id : {"control", "treatment"}) {
    v1::Arm* arm = plan.add_arms();
    arm->set_arm_id(id);
    arm->set_weight(50);
    arm->mutable_policy()->set_policy_id(id);
  }
  return plan;
}

TEST_F(RoutingHistoryTest, AssignmentsAreExplainedForAProposedPlanAndForTheCurrentOne) {
  v1::ExplainAssignmentRequest request;
  request.add_unit_ids("alice");
  request.add_unit_ids("bob");
  *request.mutable_plan() = HalfAndHalf();
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(Explain(request).ok());
    ASSERT_EQ(explained_.assignments_size(), 2);
    EXPECT_EQ(explained_.assignments(0).unit_id(), "alice");
    EXPECT_EQ(explained_.assignments(0).arm_id(), "treatment");
    EXPECT_EQ(explained_.assignments(0).bucket(), 66u);
    EXPECT_EQ(explained_.assignments(1).arm_id(), "control");
    EXPECT_EQ(explained_.assignments(1).bucket(), 17u);
    v1::PatchRoutersRequest patch;
    *patch.mutable_plan() = HalfAndHalf();
    ASSERT_TRUE(Patch(patch).ok());
    request.clear_plan();
  }
}

TEST_F(RoutingHistoryTest, EveryViolationOfAProposedPlanComesAtOnce) {
  v1::ExplainAssignmentRequest request;
  request.add_unit_ids("");
  request.add_unit_ids("fine");
  request.add_unit_ids(std::string(257, 'u'));
  *request.mutable_plan() = HalfAndHalf();
  request.mutable_plan()
      ->mutable_arms(0)
      ->mutable_policy()
      ->mutable_apply()
      ->mutable_top_k()
      ->set_k(9);
  request.mutable_plan()->mutable_arms(1)->set_arm_id("control");
  EXPECT_THAT(ViolatedFields(Explain(request)),
              ElementsAre("unit_ids[0]", "unit_ids[2]", "plan.arms[0].policy.apply.top_k.k",
                          "plan.arms[1].arm_id"));
  v1::ExplainAssignmentRequest many;
  for (int i = 0; i < 1001; ++i) many.add_unit_ids(std::string("u"));
  const grpc::Status status = Explain(many);
  EXPECT_THAT(ViolatedFields(status), ElementsAre("unit_ids"));
  EXPECT_THAT(status.error_message(), HasSubstr("has 1001"));
  EXPECT_EQ(Current().generation(), 1u);
}

}  // namespace
}  // namespace olmoe::rpc
