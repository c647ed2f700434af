#include "server/experiment/calibrations.h"

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/routing/controller.h"
#include "server/routing/memory_plan_store.h"
#include "tests/routing/policies.h"

namespace olmoe::experiment {
namespace {

// As a damaged state might have it: who looks for the plans that come back finds an end.
TEST(CalibrationUseTest, APlanThatFallsBackOnItselfHasNoFallback) {
  routing::RoutingController::Options options;
  options.shape = routing::kSmall;
  routing::MemoryPlanStore store;
  options.store = &store;
  routing::PlanChange damaged;
  damaged.plan = *routing::RoutingController::Create(options).value()->CurrentRecord();
  damaged.plan->generation = damaged.plan->fallback_generation = 2;
  damaged.plan->expire_time = absl::Now() + absl::Hours(1);
  ASSERT_TRUE(store.Append(damaged).ok());
  const auto controller = routing::RoutingController::Create(options).value();
  routing::CalibrationSet calibrations;
  ASSERT_TRUE(calibrations.Add(routing::CalibrationOf("cal", 2)).ok());
  Serving serving;
  serving.controller = controller.get();
  serving.calibrations = &calibrations;
  EXPECT_TRUE(CalibrationsInUse(serving).empty());
}

}  // namespace
}  // namespace olmoe::experiment
