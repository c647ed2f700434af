#ifndef OLMOE_SERVER_STATS_SERVER_METRICS_H_
#define OLMOE_SERVER_STATS_SERVER_METRICS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/engine/engine.h"
#include "server/engine/step_observer.h"
#include "server/model/model.h"
#include "server/routing/plan_slot.h"
#include "server/stats/expert_metrics.h"
#include "server/stats/expert_stats.h"
#include "server/stats/request_stats.h"
#include "server/stats/shown_arms.h"
#include "server/stats/step_stats.h"

namespace olmoe::stats {

// Everything that the server counts, in one place, and as Prometheus families when
// asked: nothing is computed for a scrape that does not come. Thread-safe.
class ServerMetrics : public prometheus::Collectable {
 public:
  struct Options {
    model::ModelInfo model;
    std::string server_version;
    ExpertMetrics expert_metrics = ExpertMetrics::kExpert;
    std::function<absl::Time()> now = absl::Now;
  };
  explicit ServerMetrics(Options options);

  // What gauges are read from; call once, before the first Collect. Not owned.
  void SetSources(const engine::Engine* engine, const routing::PlanSlot* plans);

  // engine::StepObserver.
  void OnStep(const std::vector<engine::StepRows>& rows, const routing::RoutingRecord& record,
              absl::Duration step_time);
  void OnRequestDone(const engine::RequestOutcome& outcome) { requests_.Add(outcome); }
  void OnSwap(std::string_view outcome, absl::Duration swap_duration) {
    requests_.AddSwap(outcome, swap_duration);
  }

  // Series about the routers of the plan's arms.
  int64_t CountExpertSeries(const routing::RoutingPlan& plan) const;

  const ExpertStats& experts() const { return experts_; }
  const StepStats& steps() const { return steps_; }
  const RequestStats& requests() const { return requests_; }

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  // What is counted at one moment, and what of it is shown.
  struct Counts {
    std::vector<ExpertCounts> experts;
    StepCounts steps;
    RequestCounts requests;
    ShownArms shown;
  };
  Counts Read(const engine::EngineLoad& load, const routing::RoutingPlan* plan) const;
  // Leaves out retired arms, and adds zeros for arms of the plan.
  std::vector<ExpertCounts> ShownExperts(const Counts& counts) const;
  void AppendEngine(const engine::EngineLoad& load, const ShownArms& shown,
                    std::vector<prometheus::MetricFamily>* families) const;
  void AppendPlan(const routing::RoutingPlan& plan,
                  std::vector<prometheus::MetricFamily>* families) const;
  void AppendInfo(std::vector<prometheus::MetricFamily>* families) const;

  const Options options_;
  const ExpertSeries expert_series_;  // of an arm
  const engine::Engine* engine_ = nullptr;
  const routing::PlanSlot* plans_ = nullptr;
  ExpertStats experts_;
  StepStats steps_;
  RequestStats requests_;
  mutable ArmRetirement retirement_;
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_SERVER_METRICS_H_
