#include "server/stats/server_metrics.h"

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/stats/arm_info.h"
#include "server/stats/metric_family.h"
#include "server/stats/process_metrics.h"

namespace olmoe::stats {

ServerMetrics::ServerMetrics(Options options)
    : options_(std::move(options)),
      expert_series_(stats::CountExpertSeries(options_.model.num_layers, options_.model.num_experts,
                                              options_.expert_metrics)),
      experts_(options_.model.num_layers, options_.model.num_experts),
      retirement_(options_.now) {}

void ServerMetrics::SetSources(const engine::Engine* engine, const routing::PlanSlot* plans) {
  CHECK(engine_ == nullptr && plans_ == nullptr);
  engine_ = engine;
  plans_ = plans;
}

int64_t ServerMetrics::CountExpertSeries(const routing::RoutingPlan& plan) const {
  int64_t series = 0;
  for (const routing::Arm& arm : plan.arms()) {
    series += expert_series_.applied;
    if (arm.policy->analyzes()) series += expert_series_.analyzed;
  }
  return series;
}

void ServerMetrics::OnStep(const std::vector<engine::StepRows>& rows,
                           const routing::RoutingRecord& record, absl::Duration step_time) {
  experts_.AddStep(rows, record);
  steps_.AddStep(rows, step_time);
}

ServerMetrics::Counts ServerMetrics::Read(const engine::EngineLoad& load,
                                          const routing::RoutingPlan* plan) const {
  Counts counts{experts_.Snapshot(), steps_.Snapshot(), requests_.Snapshot(), {}};
  if (plan != nullptr) {
    for (const routing::Arm& arm : plan->arms()) {
      counts.shown[arm.arm_id] = {.in_plan = true, .analyzes = arm.policy->analyzes()};
    }
  }
  for (const auto& [arm_id, arm] : load.arms) counts.shown[arm_id].running = arm.running;
  std::map<std::string, uint64_t> counted;
  for (const auto& [arm_id, arm] : counts.requests.arms) {
    if (!arm_id.empty()) counted[arm_id] += arm->num_requests;
  }
  for (const auto& [arm_id, arm] : counts.steps.arms) {
    for (const uint64_t tokens : arm->tokens) counted[arm_id] += tokens;
  }
  retirement_.AddOthers(counted, &counts.shown);
  return counts;
}

std::vector<ExpertCounts> ServerMetrics::ShownExperts(const Counts& counts) const {
  std::vector<ExpertCounts> out;
  for (const ExpertCounts& some : counts.experts) {
    if (counts.shown.contains(some.arm_id)) out.push_back(some);
  }
  const std::vector<LayerCounts> zeros(static_cast<size_t>(options_.model.num_layers),
                                       LayerCounts(options_.model.num_experts));
  const auto add_zeros = [&](const std::string& arm_id, DecisionKind kind) {
    out.push_back({arm_id, "", "", kind, engine::Phase::kPrefill, zeros});
  };
  for (const auto& [arm_id, arm] : counts.shown) {
    if (arm.in_plan) add_zeros(arm_id, DecisionKind::kApplied);
    if (arm.analyzes) add_zeros(arm_id, DecisionKind::kAnalyzed);
  }
  return out;
}

void ServerMetrics::AppendEngine(const engine::EngineLoad& load, const ShownArms& shown,
                                 std::vector<prometheus::MetricFamily>* families) const {
  FamilySet out = {&kRunning, &kQueued, &kKvUsed, &kKvCapacity, &kPrefixCache};
  for (const auto& [arm_id, arm] : shown) out.Add(kRunning, {{"arm", arm_id}}, arm.running);
  out.Add(kQueued, {}, load.queued_requests);
  out.Add(kKvUsed, {}, static_cast<double>(load.kv_used_bytes));
  out.Add(kKvCapacity, {}, static_cast<double>(load.kv_capacity_bytes));
  out.Add(kPrefixCache, {}, static_cast<double>(load.prefix_cache_bytes));
  out.AppendTo(families);
}

void ServerMetrics::AppendPlan(const routing::RoutingPlan& plan,
                               std::vector<prometheus::MetricFamily>* families) const {
  int64_t stale = 0;
  for (const routing::DrainingPlan& old : plans_->Draining()) stale += old.in_flight;
  FamilySet out = {&kGeneration, &kLastSwap, &kStaleRequests, &kArmWeight, &kArmInfo};
  out.Add(kGeneration, {}, static_cast<double>(plan.generation()));
  out.Add(kLastSwap, {}, absl::ToDoubleSeconds(plan.activate_time() - absl::UnixEpoch()));
  out.Add(kStaleRequests, {}, static_cast<double>(stale));
  for (const routing::Arm& arm : plan.arms()) {
    out.Add(kArmWeight, {{"arm", arm.arm_id}}, arm.weight);
    out.Add(kArmInfo, ArmInfo(arm), 1);
  }
  out.AppendTo(families);
}

void ServerMetrics::AppendInfo(std::vector<prometheus::MetricFamily>* families) const {
  FamilySet out = {&kBuildInfo, &kModelInfo};
  const model::ModelInfo& model = options_.model;
  out.Add(kBuildInfo, {{"version", options_.server_version}, {"kernels", model.kernels}}, 1);
  out.Add(kModelInfo,
          {{"model", model.model_id},
           {"weights_digest", model.weights_digest},
           {"dtype", model.dtype},
           {"device", model.device},
           {"layers", absl::StrCat(model.num_layers)},
           {"experts", absl::StrCat(model.num_experts)}},
          1);
  out.AppendTo(families);
}

std::vector<prometheus::MetricFamily> ServerMetrics::Collect() const {
  const engine::EngineLoad load = engine_ == nullptr ? engine::EngineLoad() : engine_->Load();
  const std::shared_ptr<const routing::RoutingPlan> plan =
      plans_ == nullptr ? nullptr : plans_->Current();
  const Counts counts = Read(load, plan.get());
  std::vector<prometheus::MetricFamily> families;
  AppendInfo(&families);
  AppendProcessMetrics(&families);
  if (engine_ != nullptr) AppendEngine(load, counts.shown, &families);
  if (plan != nullptr) AppendPlan(*plan, &families);
  AppendRequestMetrics(counts.requests, counts.shown, &families);
  AppendStepMetrics(counts.steps, counts.shown, &families);
  AppendExpertMetrics(ShownExperts(counts), options_.expert_metrics, &families);
  return families;
}

}  // namespace olmoe::stats
