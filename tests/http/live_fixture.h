// A live state over an engine on a fake model, wired as the server wires it.
#ifndef OLMOE_TESTS_HTTP_LIVE_FIXTURE_H_
#define OLMOE_TESTS_HTTP_LIVE_FIXTURE_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/http/live_state.h"
#include "server/routing/memory_plan_store.h"
#include "tests/engine/manual_clock.h"
#include "tests/engine/outcomes.h"
#include "tests/engine/recording_sink.h"
#include "tests/support/failing_plan_store.h"
#include "tests/support/fake_model.h"

namespace olmoe::http {

// A history that may be unreadable, and tells how often it is read.
class WatchedPlanStore : public testing::FailingPlanStore {
 public:
  using FailingPlanStore::FailingPlanStore;

  absl::StatusOr<std::vector<routing::PlanRecord>> List(uint64_t before,
                                                        size_t limit) const override {
    ++num_lists;
    if (unreadable) return absl::UnavailableError("the fake disk is gone");
    return FailingPlanStore::List(before, limit);
  }

  std::atomic<bool> unreadable = false;
  mutable std::atomic<int> num_lists = 0;
};

class LiveTest : public ::testing::Test {
 protected:
  LiveTest() : metrics_({.model = model_.info(), .server_version = "1.2.3"}) {
    routing::RoutingController::Options routing;
    routing.shape = model_.info().router_shape();
    routing.store = &store_;
    routing.now = clock_.function();
    controller_ = routing::RoutingController::Create(std::move(routing)).value();
    engine_ = engine::Engine::Create({}, &model_, nullptr,
                                     [this](const auto& rows, const auto& record, auto time) {
                                       metrics_.OnStep(rows, record, time);
                                     });
    metrics_.SetSources(engine_.get(), &controller_->slot());
    LiveState::Options options;
    options.engine = engine_.get();
    options.controller = controller_.get();
    options.metrics = &metrics_;
    options.model = model_.info();
    options.server_version = "1.2.3";
    options.start_time = absl::FromUnixSeconds(1000);
    options.ready = [this] { return ready_.load(); };
    options.now = clock_.function();
    live_ = std::make_unique<LiveState>(std::move(options));
  }

  nlohmann::json State() const { return nlohmann::json::parse(live_->StateJson()); }
  nlohmann::json Experts() const { return nlohmann::json::parse(live_->ExpertsJson()); }

  std::shared_ptr<engine::RecordingSink> Submit(int prompt_tokens, int new_tokens,
                                                const std::string& arm_id = "default") {
    engine::GenerateWork work;
    work.prompt.assign(static_cast<size_t>(prompt_tokens), 1);
    work.max_new_tokens = new_tokens;
    engine::Request request;
    request.request_id = "secret-request";
    request.work = std::move(work);
    request.pin = controller_->slot().Pin();
    request.assignment = arm_id == "default" ? request.pin->Assign("secret-unit", "r")
                                             : request.pin->AssignExplicit(arm_id).value();
    auto sink = std::make_shared<engine::RecordingSink>();
    EXPECT_TRUE(engine::SubmitTo(engine_.get(), std::move(request), sink).ok());
    return sink;
  }

  void Generate(int prompt_tokens, int new_tokens, const std::string& arm_id = "default") {
    const engine::Completion completion =
        Submit(prompt_tokens, new_tokens, arm_id)->AwaitDone().completion;
    metrics_.OnRequestDone(engine::OutcomeOf(arm_id, "Generate", &completion));
  }

  static routing::ArmSpec Arm(std::string arm_id, uint32_t weight) {
    routing::ArmSpec arm;
    arm.arm_id = std::move(arm_id);
    arm.weight = weight;
    arm.allow_explicit = true;
    arm.policy.policy_id = "p-" + arm.arm_id;
    return arm;
  }

  void Patch(std::vector<routing::ArmSpec> arms, const std::string& note = "",
             const routing::PatchOptions& options = {}) {
    routing::PlanSpec plan;
    plan.arms = std::move(arms);
    plan.note = note;
    plan.salt = "secret-salt";
    const auto result = controller_->Patch(std::move(plan), options);
    ASSERT_TRUE(result.ok()) << result.status();
  }

  engine::ManualClock clock_;
  testing::FakeModel model_;
  routing::MemoryPlanStore memory_;
  WatchedPlanStore store_{&memory_};
  std::unique_ptr<routing::RoutingController> controller_;
  stats::ServerMetrics metrics_;
  std::unique_ptr<engine::Engine> engine_;
  std::atomic<bool> ready_ = true;
  std::unique_ptr<LiveState> live_;
};

}  // namespace olmoe::http

#endif  // OLMOE_TESTS_HTTP_LIVE_FIXTURE_H_
