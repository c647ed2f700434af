// Controllers on a store and a clock of the test's own.
#ifndef OLMOE_TESTS_ROUTING_CONTROLLERS_H_
#define OLMOE_TESTS_ROUTING_CONTROLLERS_H_

#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "server/routing/controller.h"
#include "server/routing/memory_plan_store.h"
#include "tests/engine/manual_clock.h"
#include "tests/routing/policies.h"
#include "tests/support/failing_plan_store.h"

namespace olmoe::routing {

inline PlanSpec OneArm(Rule rule, std::string policy_id = "p") {
  return PlanOf({ArmOf("default", PolicyOf(std::move(rule), std::nullopt, std::move(policy_id)))});
}

inline PatchOptions Expecting(uint64_t generation) {
  PatchOptions options;
  options.expected_generation = generation;
  return options;
}

inline PatchOptions Living(absl::Duration ttl) {
  PatchOptions options;
  options.ttl = ttl;
  return options;
}

// A server that can be restarted: what survives is the store.
class ControllerTest : public ::testing::Test {
 protected:
  ControllerTest() { Restart(); }

  RoutingController::Options DefaultOptions() {
    RoutingController::Options options;
    options.shape = kSmall;
    options.calibrations = &calibrations_;
    options.store = &store_;
    options.now = clock_.function();
    return options;
  }
  void Restart() { ASSERT_TRUE(RestartWith(DefaultOptions()).ok()); }
  absl::Status RestartWith(RoutingController::Options options) {
    controller_.reset();
    auto controller = RoutingController::Create(std::move(options));
    if (controller.ok()) controller_ = *std::move(controller);
    return controller.status();
  }

  // A patch that is done; its generation.
  uint64_t MustPatch(uint32_t k, const PatchOptions& options = {}) {
    const auto result = controller_->Patch(OneArm(TopKRule(k)), options);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result->changed);
    return result->record.generation;
  }
  std::shared_ptr<const RoutingPlan> Current() { return controller_->slot().Current(); }
  uint64_t Generation() { return Current()->generation(); }
  // The k of the current TOP_K plan; 0: the model's own routing.
  uint32_t CurrentK() {
    const auto& apply = Current()->arms()[0].policy->spec().apply;
    return apply ? std::get<TopK>(apply->kind).k : 0;
  }
  void Advance(absl::Duration duration) {
    clock_.Advance(duration);
    EXPECT_TRUE(controller_->ExpireDue().ok());
  }

  engine::ManualClock clock_;
  CalibrationSet calibrations_;
  MemoryPlanStore memory_;
  testing::FailingPlanStore store_{&memory_};
  std::unique_ptr<RoutingController> controller_;
};

}  // namespace olmoe::routing

#endif  // OLMOE_TESTS_ROUTING_CONTROLLERS_H_
