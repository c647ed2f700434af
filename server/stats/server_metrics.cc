#include "server/stats/server_metrics.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

const char* KindOf(const routing::PolicySpec& spec) {
  if (!spec.apply) return spec.layer_overrides.empty() ? "native" : "overrides";
  constexpr const char* kNames[] = {"none", "top_k", "top_p", "min_p", "bh", "hc"};
  return kNames[spec.apply->kind.index()];
}

}  // namespace

ServerMetrics::ServerMetrics(Options options)
    : options_(std::move(options)),
      expert_series_(stats::CountExpertSeries(options_.model.num_layers,
                                              options_.model.num_experts,
                                              options_.expert_metrics)),
      experts_(options_.model.num_layers, options_.model.num_experts) {}

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

void ServerMetrics::AppendEngine(std::vector<prometheus::MetricFamily>* families) const {
  const engine::EngineStatus status = engine_->Status();
  AppendGauge(kRunning, status.running_requests, families);
  AppendGauge(kQueued, status.queued_requests, families);
  AppendGauge(kKvUsed, static_cast<double>(status.kv_used_bytes), families);
  AppendGauge(kKvCapacity, static_cast<double>(status.kv_capacity_bytes), families);
}

void ServerMetrics::AppendPlan(std::vector<prometheus::MetricFamily>* families) const {
  const std::shared_ptr<const routing::RoutingPlan> plan = plans_->Current();
  int64_t stale = 0;
  for (const routing::DrainingPlan& old : plans_->Draining()) stale += old.in_flight;
  AppendGauge(kGeneration, static_cast<double>(plan->generation()), families);
  AppendGauge(kLastSwap,
              absl::ToDoubleSeconds(plan->activate_time() - absl::UnixEpoch()), families);
  AppendGauge(kStaleRequests, static_cast<double>(stale), families);
  FamilyBuilder weights = FamilyBuilder::Gauge(kArmWeight);
  FamilyBuilder infos = FamilyBuilder::Gauge(kArmInfo);
  for (const routing::Arm& arm : plan->arms()) {
    weights.Add({{"arm", arm.arm_id}}, arm.weight);
    infos.Add({{"arm", arm.arm_id},
               {"policy", arm.policy->spec().policy_id},
               {"kind", KindOf(arm.policy->spec())},
               {"digest", arm.policy->digest()}},
              1);
  }
  weights.AppendTo(families);
  infos.AppendTo(families);
}

void ServerMetrics::AppendInfo(std::vector<prometheus::MetricFamily>* families) const {
  FamilyBuilder build = FamilyBuilder::Gauge(kBuildInfo);
  build.Add({{"version", options_.server_version}}, 1);
  build.AppendTo(families);
  const model::ModelInfo& model = options_.model;
  FamilyBuilder info = FamilyBuilder::Gauge(kModelInfo);
  info.Add({{"model", model.model_id},
            {"weights_digest", model.weights_digest},
            {"dtype", model.dtype},
            {"device", model.device},
            {"kernels", model.kernels},
            {"layers", absl::StrCat(model.num_layers)},
            {"experts", absl::StrCat(model.num_experts)}},
           1);
  info.AppendTo(families);
}

std::vector<prometheus::MetricFamily> ServerMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  AppendInfo(&families);
  if (engine_ != nullptr) {
    AppendEngine(&families);
    AppendPlan(&families);
  }
  requests_.AppendTo(&families);
  steps_.AppendTo(&families);
  AppendExpertMetrics(experts_.Snapshot(), options_.expert_metrics, &families);
  return families;
}

}  // namespace olmoe::stats
