#include "client/bench/swapper.h"

#include <memory>
#include <string>
#include <vector>

#include "client/notation/policy_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace olmoe::client::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A server whose plan is generation 7, and which counts on from there.
class SwapperTest : public ::testing::Test {
 protected:
  SwapperTest() {
    current().set_generation(7);
    server_.on_patch = [this](const v1::PatchRoutersRequest& request) { return Patch(request); };
    server_.patch_response.mutable_current()->set_generation(99);  // of the rollback
  }

  v1::PlanRecord& current() { return *server_.routing_response.mutable_current(); }

  absl::StatusOr<v1::PatchRoutersResponse> Patch(const v1::PatchRoutersRequest& request) {
    patches_.push_back(request);
    if (!refusal_.ok()) return refusal_;
    if (request.expected_generation() != current().generation()) {
      return absl::AbortedError("generation");
    }
    current().set_generation(current().generation() + 1);
    *current().mutable_expire_time() = google::protobuf::Timestamp();
    v1::PatchRoutersResponse response;
    *response.mutable_current() = current();
    response.set_changed(true);
    response.mutable_swap_duration()->set_nanos(2000);
    return response;
  }

  std::unique_ptr<Swapper> Create() {
    auto swapper = Swapper::Create({.policies = {*notation::ParsePolicySpec("a@top-k=2"),
                                                 *notation::ParsePolicySpec("b@top-k=2")},
                                    .every = absl::Milliseconds(100)},
                                   &rpc_);
    EXPECT_TRUE(swapper.ok()) << swapper.status();
    return *std::move(swapper);
  }

  std::vector<std::string> Patched() const {
    std::vector<std::string> names;
    for (const auto& patch : patches_) names.push_back(patch.policy().policy_id());
    return names;
  }

  FakeServer server_;
  transport::RpcClient rpc_{
      {.server = server_.address(), .admin = server_.address(), .credentials = {}}};
  std::vector<v1::PatchRoutersRequest> patches_;
  absl::Status refusal_;
};

TEST_F(SwapperTest, PoliciesTakeTurnsAndThePlanComesBack) {
  const auto swapper = Create();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(swapper->Swap().ok());
  swapper->Restore();
  EXPECT_THAT(Patched(), ElementsAre("a", "b", "a"));
  EXPECT_EQ(patches_[0].expected_generation(), 7u);
  EXPECT_EQ(patches_[2].expected_generation(), 9u);
  EXPECT_EQ(patches_[0].ttl().seconds(), 60);  // a client that is killed leaves nothing
  EXPECT_EQ(server_.rollback_request.to_generation(), 7u);
  EXPECT_EQ(server_.rollback_request.expected_generation(), 10u);
  const SwapReport& report = swapper->report();
  EXPECT_EQ(report.swaps, 3u);
  EXPECT_EQ(report.first_generation, 8u);
  EXPECT_EQ(report.last_generation, 10u);
  EXPECT_EQ(report.blocked.Quantile(0.5), absl::Microseconds(2));
  EXPECT_EQ(report.round_trip.count(), 3u);
  EXPECT_EQ(report.original_generation, 7u);
  EXPECT_EQ(report.restored_generation, 99u);
}

TEST_F(SwapperTest, ATimeToLiveIsNotEnded) {
  *current().mutable_expire_time() = google::protobuf::Timestamp();
  const auto swapper = Swapper::Create({.policies = {{}, {}}, .every = absl::Seconds(1)}, &rpc_);
  EXPECT_EQ(swapper.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(swapper.status().message()), HasSubstr("time to live"));
}

TEST_F(SwapperTest, SomebodyElsesPlanIsWhatComesBack) {
  const auto swapper = Create();
  ASSERT_TRUE(swapper->Swap().ok());
  current().set_generation(20);  // theirs, for good
  current().clear_expire_time();
  EXPECT_EQ(swapper->Swap().code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(swapper->Swap().ok());
  swapper->Restore();
  EXPECT_EQ(swapper->report().conflicts, 1u);
  EXPECT_EQ(swapper->report().failures, 0u);
  EXPECT_EQ(swapper->report().swaps, 2u);
  EXPECT_THAT(Patched(), ElementsAre("a", "b", "b"));
  EXPECT_EQ(server_.rollback_request.to_generation(), 20u);
  EXPECT_EQ(server_.rollback_request.expected_generation(), 21u);
}

TEST_F(SwapperTest, ARefusalIsCountedAndNothingIsRolledBackWhereNothingChanged) {
  refusal_ = absl::ResourceExhaustedError("the disk is full");
  const auto swapper = Create();
  EXPECT_FALSE(swapper->Swap().ok());
  EXPECT_FALSE(swapper->Swap().ok());
  swapper->Restore();
  EXPECT_EQ(swapper->report().failures, 2u);
  EXPECT_EQ(swapper->report().first_failure, "the disk is full");
  EXPECT_EQ(swapper->report().restored_generation, 7u);
  EXPECT_FALSE(server_.rollback_request.has_to_generation());
}

TEST_F(SwapperTest, APlanThatCannotBeBroughtBackIsTold) {
  const auto swapper = Create();
  ASSERT_TRUE(swapper->Swap().ok());
  server_.failure = absl::FailedPreconditionError("the calibration is gone");
  swapper->Restore();
  EXPECT_EQ(swapper->report().restored_generation, 0u);
  EXPECT_EQ(swapper->report().not_restored, "the calibration is gone");
}

}  // namespace
}  // namespace olmoe::client::bench
