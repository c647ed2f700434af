#include "server/experiment/probe.h"

#include <grpcpp/client_context.h>

#include <cmath>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(CompareLogitsTest, GivesTheDivergenceFromTheModelsOwn) {
  const float ln2 = std::log(2.0f), ln3 = std::log(3.0f);
  const experiment::LogitDifference difference =
      experiment::CompareLogits(std::vector<float>{0, ln3}, std::vector<float>{ln2, ln2});
  EXPECT_NEAR(difference.max_abs, std::log(2.0), 1e-6);
  EXPECT_NEAR(difference.kl_nats, 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-7);
  EXPECT_TRUE(difference.top1_changed);  // of a tie the lower id counts
  EXPECT_FALSE(difference.identical);
}

TEST(CompareLogitsTest, AShiftIsADifferenceButNoDivergence) {
  const experiment::LogitDifference difference =
      experiment::CompareLogits(std::vector<float>{1, 2, 3}, std::vector<float>{3, 4, 5});
  EXPECT_EQ(difference.max_abs, 2);
  EXPECT_NEAR(difference.kl_nats, 0, 1e-12);
  EXPECT_FALSE(difference.top1_changed);
  EXPECT_FALSE(difference.identical);
}

TEST(CompareLogitsTest, EqualBitsAreIdentical) {
  const std::vector<float> logits = {1, -300, 3};
  const experiment::LogitDifference difference = experiment::CompareLogits(logits, logits);
  EXPECT_EQ(difference.max_abs, 0);
  EXPECT_EQ(difference.kl_nats, 0);
  EXPECT_TRUE(difference.identical);
}

class ProbeTest : public ::testing::Test {
 protected:
  explicit ProbeTest(TestServerOptions options = {}) : server_(std::move(options)) {}

  grpc::Status Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    patched_.Clear();
    return server_.admin().PatchRouters(&context, request, &patched_);
  }
  uint64_t Generation() { return server_.controller().slot().Current()->generation(); }

  // An arm of the plan that Patch sends, by name only unless it is the first.
  v1::RoutingPolicy* AddArm(const std::string& arm_id) {
    v1::Arm* arm = request_.mutable_plan()->add_arms();
    arm->set_arm_id(arm_id);
    arm->set_weight(1);
    arm->mutable_policy()->set_policy_id(arm_id);
    return arm->mutable_policy();
  }
  void AddTopK(const std::string& arm_id, uint32_t k) {
    AddArm(arm_id)->mutable_apply()->mutable_top_k()->set_k(k);
  }
  void AddAnalyze(const std::string& arm_id) {
    AddArm(arm_id)->mutable_analyze()->mutable_top_p()->set_p(0.5);
  }
  // Another rule that decides like the model's own top-2.
  void AddSameAsOwn(const std::string& arm_id) {
    v1::TopP* top_p = AddArm(arm_id)->mutable_apply()->mutable_top_p();
    top_p->set_p(0.5);
    top_p->set_min_k(2);
    top_p->set_max_k(2);
  }

  TestServer server_;
  v1::PatchRoutersRequest request_;
  v1::PatchRoutersResponse patched_;  // the last answer
};

TEST_F(ProbeTest, EveryArmIsComparedWithTheModelsOwnRouting) {
  AddTopK("own", 2);
  AddTopK("thin", 1);
  AddAnalyze("watch");
  v1::RoutingPolicy* some = AddArm("some");
  some->add_layer_overrides()->add_layers(1);
  some->mutable_layer_overrides(0)->mutable_apply()->mutable_top_k()->set_k(4);
  request_.mutable_probe()->set_text("abc");
  request_.mutable_probe()->set_require_change(true);
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_TRUE(patched_.changed());
  ASSERT_EQ(patched_.probe_results_size(), 4);
  for (const int same : {0, 2}) {
    const v1::ProbeResult& result = patched_.probe_results(same);
    EXPECT_EQ(result.max_abs_logit_difference(), 0);
    EXPECT_EQ(result.kl_divergence_nats(), 0);
    EXPECT_FALSE(result.top1_changed());
    EXPECT_EQ(result.mean_experts_per_token(), 2);
    EXPECT_EQ(result.layers_covered(), 0u);
  }
  const v1::ProbeResult& thin = patched_.probe_results(1);
  EXPECT_EQ(thin.arm_id(), "thin");
  EXPECT_GT(thin.max_abs_logit_difference(), 0);
  EXPECT_GT(thin.kl_divergence_nats(), 0);
  EXPECT_EQ(thin.mean_experts_per_token(), 1);
  EXPECT_EQ(thin.layers_covered(), 2u);
  EXPECT_EQ(patched_.probe_results(3).mean_experts_per_token(), 3);  // 2 and 4
  EXPECT_EQ(patched_.probe_results(3).layers_covered(), 1u);
}

TEST_F(ProbeTest, AProbeIsNoTrafficAndHoldsNoPlan) {
  request_ = TopKPatch(1);
  request_.mutable_probe();
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_EQ(patched_.probe_results_size(), 1);
  EXPECT_EQ(patched_.in_flight_on_previous(), 0u);
  EXPECT_THAT(server_.outcomes(), IsEmpty());
  EXPECT_THAT(server_.model().chunk_rows(), SizeIs(2)) << "own and one arm, a step each";
}

TEST_F(ProbeTest, ARuleThatChangesNoBitIsRefusedWhereAChangeMustShow) {
  AddSameAsOwn("same");
  AddAnalyze("watch");
  AddTopK("thin", 1);
  AddSameAsOwn("same-too");
  request_.mutable_probe()->set_require_change(true);
  const grpc::Status status = Patch(request_);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  google::rpc::PreconditionFailure failure;
  ASSERT_EQ(DetailsOf(status).details_size(), 1);
  ASSERT_TRUE(DetailsOf(status).details(0).UnpackTo(&failure));
  ASSERT_EQ(failure.violations_size(), 2);
  EXPECT_EQ(failure.violations(0).subject(), "arms/same");
  EXPECT_EQ(failure.violations(1).subject(), "arms/same-too");
  EXPECT_EQ(failure.violations(0).type(), "PROBE_UNCHANGED");
  EXPECT_EQ(Generation(), 1u);
  EXPECT_THAT(server_.swaps(), ElementsAre("rejected"));

  request_.mutable_probe()->set_require_change(false);
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_EQ(patched_.probe_results(0).max_abs_logit_difference(), 0);
  EXPECT_EQ(patched_.probe_results(0).layers_covered(), 2u);
  EXPECT_EQ(Generation(), 2u);
}

TEST_F(ProbeTest, ValidateOnlyProbesAndPublishesNothing) {
  request_ = TopKPatch(1);
  request_.set_validate_only(true);
  request_.mutable_probe();
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_FALSE(patched_.changed());
  ASSERT_EQ(patched_.probe_results_size(), 1);
  EXPECT_EQ(patched_.probe_results(0).arm_id(), "default");
  EXPECT_GT(patched_.probe_results(0).max_abs_logit_difference(), 0);
  EXPECT_EQ(Generation(), 1u);
}

TEST_F(ProbeTest, AStaleGenerationIsToldWithoutProbing) {
  request_ = TopKPatch(1);
  request_.set_expected_generation(7);
  request_.mutable_probe();
  EXPECT_EQ(Patch(request_).error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(server_.model().counters().steps, 0);
}

TEST_F(ProbeTest, TextBeyondTheLimitIsAViolation) {
  request_ = TopKPatch(1);
  request_.mutable_probe()->set_text(std::string(experiment::kMaxProbeTokens + 1, 'a'));
  EXPECT_THAT(ViolatedFields(Patch(request_)), ElementsAre("probe.text"));
  request_ = TopKPatch(1);
  request_.mutable_probe()->set_text(std::string(experiment::kMaxProbeTokens, 'a'));
  EXPECT_TRUE(Patch(request_).ok());
}

TEST_F(ProbeTest, TheArmOfProbesIsNotForPlans) {
  AddTopK("probe", 1);
  EXPECT_THAT(ViolatedFields(Patch(request_)), Contains("plan.arms[0].arm_id"));
}

TEST_F(ProbeTest, ADrainingServerRefusesThePatch) {
  server_.engine().Drain(absl::Now());
  request_ = TopKPatch(1);
  request_.mutable_probe();
  const grpc::Status status = Patch(request_);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(HasRetryInfo(status));
  EXPECT_THAT(status.error_message(), HasSubstr("probe of the model's own routing"));
  EXPECT_EQ(Generation(), 1u);
}

TEST_F(ProbeTest, TheDeadlineOfTheCallRefusesThePatch) {
  server_.model().Hold();
  request_ = TopKPatch(1);
  request_.mutable_probe();
  std::thread call([&] {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Hours(1)));
    EXPECT_EQ(server_.admin().PatchRouters(&context, request_, &patched_).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
  });
  server_.model().AwaitStepBegun(1);
  server_.PassTime(absl::Hours(2));
  server_.model().Unhold();
  call.join();
  EXPECT_THAT(server_.swaps(), ElementsAre("rejected"));
  EXPECT_EQ(Generation(), 1u);
}

class BusyProbeTest : public ProbeTest {
 protected:
  BusyProbeTest() : ProbeTest(Options()) {}

 private:
  static TestServerOptions Options() {
    TestServerOptions options;
    options.engine = {.max_batch_sequences = 1, .max_batch_tokens = 8, .max_queue = 1};
    return options;
  }
};

TEST_F(BusyProbeTest, AFullQueueRefusesThePatch) {
  server_.model().Hold();
  std::vector<std::thread> calls;
  for (int i = 0; i < 2; ++i) {
    calls.emplace_back([&] {
      grpc::ClientContext context;
      v1::GenerateResponse response;
      EXPECT_TRUE(server_.inference().Generate(&context, TokenRequest({1}, 2), &response).ok());
    });
    // The first has the slot, the second the place in the queue.
    if (i == 0) server_.model().AwaitStepBegun(1);
  }
  while (server_.engine().Status().queued_requests == 0) std::this_thread::yield();
  request_ = TopKPatch(1);
  request_.mutable_probe();
  const grpc::Status status = Patch(request_);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(status));
  EXPECT_EQ(Generation(), 1u);
  server_.model().Unhold();
  for (std::thread& call : calls) call.join();
}

class NoTokenizerProbeTest : public ProbeTest {
 protected:
  explicit NoTokenizerProbeTest(TinyModel model = {}) : ProbeTest(Options(model)) {}

 private:
  static TestServerOptions Options(TinyModel model) {
    TestServerOptions options;
    options.model = std::move(model);
    options.tokenizer = false;
    return options;
  }
};

TEST_F(NoTokenizerProbeTest, TheBuiltInPromptIsTokenIdsAndTextIsRefused) {
  request_ = TopKPatch(1);
  request_.mutable_probe();
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_THAT(server_.model().chunk_rows(), Each(ElementsAre(16)));
  request_ = TopKPatch(2);
  request_.mutable_probe()->set_text("a");
  const grpc::Status status = Patch(request_);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("probe.text"));
  EXPECT_EQ(Generation(), 2u);
}

class SmallModelProbeTest : public NoTokenizerProbeTest {
 protected:
  SmallModelProbeTest() : NoTokenizerProbeTest({.vocab_size = 3, .max_context = 8}) {}
};

TEST_F(SmallModelProbeTest, TheBuiltInPromptFitsEveryModel) {
  request_ = TopKPatch(1);
  request_.mutable_probe();
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_THAT(server_.model().chunk_rows(), Each(ElementsAre(8)));
}

class FailingProbeTest : public NoTokenizerProbeTest {
 protected:
  FailingProbeTest() : NoTokenizerProbeTest({.nan_token = 5}) {}
};

TEST_F(FailingProbeTest, AModelThatCannotRunThePromptRefusesThePatch) {
  request_ = TopKPatch(1);
  request_.mutable_probe();
  EXPECT_EQ(Patch(request_).error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(Generation(), 1u);
}

class SeriesWarningTest : public ProbeTest {
 protected:
  SeriesWarningTest() : ProbeTest(Options()) {}

 private:
  static TestServerOptions Options() {
    TestServerOptions options;
    options.tune = [](Contexts* contexts) {
      contexts->admin.count_series = [](const routing::RoutingPlan& plan) {
        return static_cast<int64_t>(1000 * plan.arms().size());
      };
    };
    return options;
  }
};

TEST_F(SeriesWarningTest, OnlyManySeriesAreNewsAndOnlyOnce) {
  AddTopK("a", 1);
  AddTopK("b", 2);
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_THAT(patched_.warnings(), IsEmpty()) << "an A/B experiment is nothing special";
  for (const char* arm : {"c", "d", "e", "f"}) AddTopK(arm, 1);
  request_.set_validate_only(true);
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_THAT(patched_.warnings(),
              ElementsAre(HasSubstr("6000 Prometheus series, those of the current plan 2000")));
  request_.set_validate_only(false);
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_THAT(patched_.warnings(), ElementsAre(HasSubstr("6000 Prometheus series")));
  request_.mutable_plan()->set_salt("another");
  ASSERT_TRUE(Patch(request_).ok());
  EXPECT_THAT(patched_.warnings(), IsEmpty()) << "it has been told";
}

}  // namespace
}  // namespace olmoe::rpc
