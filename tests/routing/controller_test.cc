#include "server/routing/controller.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/routing/policies.h"

namespace olmoe::routing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RoutingController::Options DefaultOptions() {
  RoutingController::Options options;
  options.shape = kSmall;
  options.now = [] { return absl::FromUnixSeconds(1000); };
  return options;
}

PlanSpec OneArm(Rule rule, std::string policy_id = "p") {
  return PlanOf({ArmOf("default", PolicyOf(std::move(rule), std::nullopt, std::move(policy_id)))});
}

PatchOptions Expecting(uint64_t generation) {
  PatchOptions options;
  options.expected_generation = generation;
  return options;
}

TEST(ControllerTest, StartsUnpatchedAtGenerationOne) {
  RoutingController controller(DefaultOptions());
  const auto plan = controller.slot().Current();
  EXPECT_EQ(plan->generation(), 1u);
  EXPECT_EQ(plan->source(), PlanSource::kStartup);
  EXPECT_EQ(plan->arms()[0].policy->digest(), controller.native_policy()->digest());
}

TEST(ControllerTest, PatchPublishesTheNextGeneration) {
  RoutingController controller(DefaultOptions());
  const PlanPin pin = controller.slot().Pin();
  const auto result = controller.Patch(OneArm(TopKRule(4)), {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->changed);
  EXPECT_EQ(result->previous_generation, 1u);
  EXPECT_EQ(result->in_flight_on_previous, 1);
  EXPECT_EQ(result->current, controller.slot().Current());
  EXPECT_EQ(result->current->generation(), 2u);
  EXPECT_EQ(result->current->source(), PlanSource::kPatch);
  EXPECT_EQ(result->current->activate_time(), absl::FromUnixSeconds(1000));
  EXPECT_THAT(result->warnings, IsEmpty());
}

TEST(ControllerTest, SamePlanAgainChangesNothing) {
  RoutingController controller(DefaultOptions());
  ASSERT_TRUE(controller.Patch(OneArm(TopKRule(4)), {}).ok());
  const auto again = controller.Patch(OneArm(TopKRule(4)), Expecting(2));
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->changed);
  EXPECT_EQ(again->current->generation(), 2u);
  EXPECT_EQ(again->previous_generation, 2u);
  const auto renamed = controller.Patch(OneArm(TopKRule(4), "other"), {});
  EXPECT_TRUE(renamed->changed);
  EXPECT_EQ(renamed->current->generation(), 3u);
}

TEST(ControllerTest, RefusedPatchChangesNothing) {
  RoutingController controller(DefaultOptions());
  const auto before = controller.slot().Current();
  EXPECT_THAT(ViolatedFields(controller.Patch(OneArm(TopKRule(65)), Expecting(7)).status()),
              ElementsAre("plan.arms[0].policy.apply.top_k.k"));
  EXPECT_EQ(controller.Patch(OneArm(ToRule(Bh(0.1))), {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(controller.slot().Current(), before);
}

TEST(ControllerTest, StaleGenerationIsAborted) {
  RoutingController controller(DefaultOptions());
  ASSERT_TRUE(controller.Patch(OneArm(TopKRule(4)), Expecting(1)).ok());
  for (const absl::Status& status : {controller.Patch(OneArm(TopKRule(5)), Expecting(1)).status(),
                                     controller.Unpatch(Expecting(1)).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
    const auto info = DetailOf<google::rpc::ErrorInfo>(status);
    EXPECT_EQ(info.reason(), "GENERATION_MISMATCH");
    EXPECT_EQ(info.metadata().at("current_generation"), "2");
    EXPECT_EQ(info.metadata().at("expected_generation"), "1");
  }
  EXPECT_EQ(controller.slot().Current()->generation(), 2u);
}

TEST(ControllerTest, ValidateOnlyChecksAndWarnsButDoesNotPublish) {
  RoutingController controller(DefaultOptions());
  PatchOptions options;
  options.validate_only = true;
  const auto result = controller.Patch(OneArm(TopKRule(8, WeightMode::kSumToOne)), options);
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->changed);
  EXPECT_EQ(result->current->generation(), 1u);
  EXPECT_THAT(result->warnings, ElementsAre(HasSubstr("plan.arms[0].policy.apply.weight_mode")));
  EXPECT_FALSE(controller.Patch(OneArm(TopKRule(0)), options).ok());
  EXPECT_FALSE(controller.Unpatch(options)->changed);
  options.expected_generation = 9;
  EXPECT_EQ(controller.Patch(OneArm(TopKRule(4)), options).status().code(),
            absl::StatusCode::kAborted);
}

TEST(ControllerTest, ExamineMayRefuseThePlanAfterTheComparison) {
  RoutingController controller(DefaultOptions());
  std::vector<uint64_t> checked;
  PatchOptions options = Expecting(7);
  options.examine = [&](const RoutingPlan& candidate) -> absl::StatusOr<PlanFindings> {
    checked.push_back(candidate.generation());
    EXPECT_EQ(controller.slot().Current()->generation(), 1u);
    return absl::UnavailableError("no");
  };
  EXPECT_TRUE(absl::IsAborted(controller.Patch(OneArm(TopKRule(4)), options).status()));
  EXPECT_THAT(checked, IsEmpty());
  options.expected_generation = 1;
  options.validate_only = true;
  EXPECT_TRUE(absl::IsUnavailable(controller.Patch(OneArm(TopKRule(4)), options).status()));
  options.validate_only = false;
  EXPECT_TRUE(absl::IsUnavailable(controller.Patch(OneArm(TopKRule(4)), options).status()));
  EXPECT_THAT(checked, ElementsAre(2, 2));
  EXPECT_EQ(controller.slot().Current()->generation(), 1u);
}

TEST(ControllerTest, WhatExamineFindsIsInTheAnswerAndKeptWithIt) {
  RoutingController controller(DefaultOptions());
  PatchOptions options;
  options.idempotency = {"key", "content"};
  options.examine = [](const RoutingPlan&) -> absl::StatusOr<PlanFindings> {
    return PlanFindings{.warnings = {"costs much"}, .probe_results = {{.arm_id = "default"}}};
  };
  for (const bool repeated : {false, true}) {
    const auto result = controller.Patch(OneArm(TopKRule(4)), options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->is_repeated, repeated);
    EXPECT_THAT(result->warnings, ElementsAre("costs much"));
    ASSERT_EQ(result->probe_results.size(), 1u);
    EXPECT_EQ(result->probe_results[0].arm_id, "default");
  }
}

TEST(ControllerTest, UnpatchIsTheModelsOwnRouting) {
  RoutingController controller(DefaultOptions());
  const auto idle = controller.Unpatch({});
  ASSERT_TRUE(idle.ok());
  EXPECT_FALSE(idle->changed);
  EXPECT_EQ(idle->current->generation(), 1u);
  EXPECT_THAT(idle->warnings, ElementsAre(HasSubstr("not patched")));

  ASSERT_TRUE(controller.Patch(OneArm(TopKRule(4)), {}).ok());
  const auto unpatched = controller.Unpatch({});
  EXPECT_TRUE(unpatched->changed);
  EXPECT_EQ(unpatched->current->generation(), 3u);
  EXPECT_EQ(unpatched->current->source(), PlanSource::kUnpatch);
  EXPECT_EQ(unpatched->current->arms()[0].policy->digest(), controller.native_policy()->digest());
  EXPECT_THAT(unpatched->warnings, IsEmpty());
}

TEST(ControllerTest, CalibrationsAreLookedUpAtEachPatch) {
  CalibrationSet calibrations;
  RoutingController::Options options = DefaultOptions();
  options.calibrations = &calibrations;
  RoutingController controller(options);
  EXPECT_FALSE(controller.Patch(OneArm(ToRule(Bh(0.1))), {}).ok());
  ASSERT_TRUE(calibrations.Add(CalibrationOf("cal", 16)).ok());
  EXPECT_TRUE(controller.Patch(OneArm(ToRule(Bh(0.1))), {}).ok());
}

TEST(ControllerTest, DrainThatRunsOutIsAWarning) {
  RoutingController controller(DefaultOptions());
  PlanPin pin = controller.slot().Pin();
  PatchOptions options;
  options.wait_for_drain = absl::ZeroDuration();
  const auto result = controller.Patch(OneArm(TopKRule(4)), options);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->changed);
  EXPECT_THAT(result->warnings,
              ElementsAre(HasSubstr("1 requests still use plans older than generation 2")));
}

// The drain of one patch holds up neither the next patch nor admission.
TEST(ControllerTest, PatchesGoOnWhileOneWaitsForItsDrain) {
  RoutingController controller(DefaultOptions());
  PlanPin pin = controller.slot().Pin();
  std::thread waiting([&controller] {
    PatchOptions options;
    options.wait_for_drain = absl::InfiniteDuration();
    const auto result = controller.Patch(OneArm(TopKRule(4)), options);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->current->generation(), 2u);
    EXPECT_THAT(result->warnings, IsEmpty());
  });
  // Succeeds only after generation 2 is current, while `waiting` cannot have returned.
  while (!controller.Patch(OneArm(TopKRule(5)), Expecting(2)).ok()) std::this_thread::yield();
  EXPECT_EQ(controller.slot().Pin()->generation(), 3u);
  pin.Release();
  waiting.join();
}

// 8 writers, 2,000 successful compare-and-swaps each: one winner per generation.
TEST(ControllerConcurrencyTest, CompareAndSwapHasOneWinnerPerGeneration) {
  constexpr int kWriters = 8, kSwaps = 2000;
  RoutingController::Options options = DefaultOptions();
  options.shape = {1, 8, 2, false};
  RoutingController controller(options);
  std::vector<std::vector<uint64_t>> won(kWriters);
  std::atomic<int> unexpected = 0;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      while (won[writer].size() < kSwaps) {
        const uint64_t seen = controller.slot().Current()->generation();
        const auto result = controller.Patch(
            OneArm(TopKRule(1 + seen % 8), absl::StrCat("w", writer, "-", seen)), Expecting(seen));
        if (result.ok() && result->changed && result->previous_generation == seen &&
            result->current->generation() == seen + 1) {
          won[writer].push_back(seen + 1);
        } else if (result.status().code() != absl::StatusCode::kAborted) {
          ++unexpected;
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(unexpected, 0);

  std::vector<uint64_t> generations;
  for (const auto& part : won) generations.insert(generations.end(), part.begin(), part.end());
  std::sort(generations.begin(), generations.end());
  ASSERT_EQ(generations.size(), static_cast<size_t>(kWriters * kSwaps));
  for (size_t i = 0; i < generations.size(); ++i) ASSERT_EQ(generations[i], i + 2);
  EXPECT_EQ(controller.slot().Current()->generation(), 1u + kWriters * kSwaps);
}

// Requests are admitted and finish while patches and unpatches run: each sees one
// whole plan, and generations never go back.
TEST(ControllerConcurrencyTest, RequestsNeverSeeAMixtureOfPlans) {
  constexpr int kPatches = 1000;
  RoutingController controller(DefaultOptions());
  std::atomic<bool> done = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&] {
      uint64_t newest = 0;
      RowRouting routing;
      const std::vector<float> logits(64, 0.5f);
      while (!done.load()) {
        const PlanPin pin = controller.slot().Pin();
        const Assignment assignment = pin->Assign("unit", "request");
        // Even generations have k = 1 + generation % 64, odd ones are unpatched.
        const int expected =
            pin->generation() % 2 == 0 ? static_cast<int>(1 + pin->generation() % 64) : 8;
        if (assignment.policy->Route({.layer = 15}, logits, &routing) != RouteError::kNone ||
            routing.applied.k != expected || pin->generation() < newest) {
          ++wrong;
        }
        newest = pin->generation();
      }
    });
  }
  for (int i = 0; i < kPatches; ++i) {
    const uint64_t next = controller.slot().Current()->generation() + 1;
    const auto result = next % 2 == 0 ? controller.Patch(OneArm(TopKRule(1 + next % 64)), {})
                                      : controller.Unpatch({});
    ASSERT_TRUE(result.ok());
    ASSERT_TRUE(result->changed);
    ASSERT_EQ(result->current->generation(), next);
  }
  done = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(controller.slot().Draining().empty());
}

}  // namespace
}  // namespace olmoe::routing
