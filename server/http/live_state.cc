#include "server/http/live_state.h"

#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "nlohmann/json.hpp"
#include "server/routing/rule_words.h"
#include "server/stats/arm_info.h"

namespace olmoe::http {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;

double Seconds(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

// Text that is no UTF-8 is repaired instead of thrown at.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json WordsOrNull(const std::optional<routing::Rule>& rule) {
  return rule ? Json(routing::DescribeRule(*rule)) : Json();
}

Json ModelJson(const model::ModelInfo& model) {
  return {{"id", model.model_id},         {"layers", model.num_layers},
          {"experts", model.num_experts}, {"top_k", model.default_top_k},
          {"dtype", model.dtype},         {"device", model.device}};
}

Json EngineJson(const engine::EngineLoad& load) {
  int running = 0;
  for (const auto& [arm_id, arm] : load.arms) running += arm.running;
  return {{"running", running},
          {"queued", load.queued_requests},
          {"kv_used_bytes", load.kv_used_bytes},
          {"kv_capacity_bytes", load.kv_capacity_bytes},
          {"prefix_cache_bytes", load.prefix_cache_bytes}};
}

Json PolicyJson(const routing::RoutingPolicy& policy) {
  const routing::PolicySpec& spec = policy.spec();
  Json overrides = Json::array();
  for (const routing::LayerOverride& some : spec.layer_overrides) {
    overrides.push_back({{"layers", routing::DescribeIds(some.layers)},
                         {"apply", WordsOrNull(some.apply)},
                         {"analyze", WordsOrNull(some.analyze)},
                         {"decode", WordsOrNull(some.decode)}});
  }
  return {{"id", spec.policy_id},
          {"digest", policy.digest()},
          {"kind", std::string(stats::PolicyKind(spec))},
          {"apply", spec.apply ? routing::DescribeRule(*spec.apply)
                               : routing::DescribeNative(policy.shape().default_k)},
          {"analyze", WordsOrNull(spec.analyze)},
          {"decode", WordsOrNull(spec.decode)},
          {"router", spec.router},
          {"layer_overrides", std::move(overrides)},
          {"description", spec.description}};
}

Json ArmsJson(const routing::RoutingPlan& plan, engine::EngineLoad load) {
  const double total_weight =
      std::accumulate(plan.arms().begin(), plan.arms().end(), 0.0,
                      [](double sum, const routing::Arm& arm) { return sum + arm.weight; });
  Json arms = Json::array();
  for (const routing::Arm& arm : plan.arms()) {
    arms.push_back({{"arm", arm.arm_id},
                    {"weight", arm.weight},
                    {"share", total_weight > 0 ? arm.weight / total_weight : 0},
                    {"running", load.arms[arm.arm_id].running},
                    {"queued", load.arms[arm.arm_id].queued},
                    {"policy", PolicyJson(*arm.policy)}});
  }
  return arms;
}

// `record` may already be that of the next plan; then the end is in the next answer.
Json PlanJson(const routing::RoutingPlan& plan, const routing::PlanRecord& record,
              int64_t requests_on_older_plans, const engine::EngineLoad& load) {
  const bool expires = record.generation == plan.generation() && record.has_ttl();
  return {{"generation", plan.generation()},
          {"digest", plan.digest()},
          {"source", std::string(routing::PlanSourceName(plan.source()))},
          {"note", plan.spec().note},
          {"activate_time", Seconds(plan.activate_time())},
          {"expire_time", expires ? Json(Seconds(record.expire_time)) : Json()},
          {"requests_on_older_plans", requests_on_older_plans},
          {"arms", ArmsJson(plan, load)}};
}

Json BucketsJson() {
  return {{"time_to_first_token_seconds", stats::kFirstTokenBounds},
          {"time_per_output_token_seconds", stats::kPerTokenBounds},
          {"inter_token_latency_seconds", stats::kPerTokenBounds}};
}

Json RequestsJson(const stats::ArmRequests& arm) {
  uint64_t ok = 0, failed = 0;
  for (const auto& [method_and_code, count] : arm.requests) {
    (method_and_code.second == "OK" ? ok : failed) += count;
  }
  return {{"ok", ok}, {"failed", failed}};
}

Json TokensJson(const stats::ArmSteps& arm) {
  const auto tokens = [&](engine::Phase phase) { return arm.tokens[static_cast<size_t>(phase)]; };
  return {{"prefill", tokens(engine::Phase::kPrefill)},
          {"decode", tokens(engine::Phase::kDecode)},
          {"score", tokens(engine::Phase::kScore)}};
}

// Requests and tokens are counted in different places: joined by arm.
Json CountersJson(const stats::ServerMetrics& metrics) {
  struct Arm {
    std::shared_ptr<const stats::ArmRequests> requests =
        std::make_shared<const stats::ArmRequests>();
    std::shared_ptr<const stats::ArmSteps> steps = std::make_shared<const stats::ArmSteps>();
  };
  std::map<std::string, Arm> arms;
  for (const auto& [arm_id, requests] : metrics.requests().Snapshot().arms) {
    arms[arm_id].requests = requests;
  }
  for (const auto& [arm_id, steps] : metrics.steps().Snapshot().arms) arms[arm_id].steps = steps;
  Json counters = Json::array();
  for (const auto& [arm_id, arm] : arms) {
    counters.push_back(
        {{"arm", arm_id},
         {"requests", RequestsJson(*arm.requests)},
         {"tokens", TokensJson(*arm.steps)},
         {"cached_tokens", arm.requests->cached_tokens},
         {"time_to_first_token_seconds", arm.requests->time_to_first_token.counts()},
         {"time_per_output_token_seconds", arm.requests->time_per_output_token.counts()},
         {"inter_token_latency_seconds", arm.steps->token_intervals.counts()}});
  }
  return counters;
}

Json SwapsJson(const std::vector<routing::PlanRecord>& plans) {
  Json swaps = Json::array();
  for (const routing::PlanRecord& plan : plans) {
    swaps.push_back({{"generation", plan.generation},
                     {"time", Seconds(plan.activate_time)},
                     {"source", std::string(routing::PlanSourceName(plan.source))},
                     {"note", plan.spec.note}});
  }
  return swaps;
}

// One decision of one arm, summed over phases.
struct ArmExperts {
  const stats::ExpertCounts* names = nullptr;
  std::vector<stats::LayerCounts> layers;
};

Json IdsJson(const routing::ExpertSet& experts) {
  Json ids = Json::array();
  for (size_t id = 0; id < experts.size(); ++id) {
    if (experts.test(id)) ids.push_back(id);
  }
  return ids;
}

Json ExpertsOfArm(const ArmExperts& arm, const routing::RoutingPolicy& policy) {
  const bool applied = arm.names->kind == stats::DecisionKind::kApplied;
  Json expert_tokens = Json::array(), experts_per_token = Json::array();
  Json banned = Json::array(), forced = Json::array();
  for (size_t i = 0; i < arm.layers.size(); ++i) {
    expert_tokens.push_back(arm.layers[i].expert_tokens);
    experts_per_token.push_back(arm.layers[i].experts_per_token);
    const int layer = static_cast<int>(i);
    const routing::FixedExperts fixed =
        applied ? policy.FixedApplied(layer) : policy.FixedAnalyzed(layer);
    banned.push_back(IdsJson(fixed.banned));
    forced.push_back(IdsJson(fixed.forced));
  }
  return {{"arm", arm.names->arm_id},
          {"policy_id", arm.names->policy_id},
          {"policy_digest", arm.names->policy_digest},
          {"decision", applied ? "applied" : "analyzed"},
          {"tokens", arm.layers[0].tokens},
          {"expert_tokens", std::move(expert_tokens)},
          {"experts_per_token", std::move(experts_per_token)},
          {"banned", std::move(banned)},
          {"forced", std::move(forced)}};
}

// `counts` are of the plan's arms.
Json ExpertArmsJson(const routing::RoutingPlan& plan,
                    const std::vector<stats::ExpertCounts>& counts) {
  std::map<std::pair<std::string, stats::DecisionKind>, ArmExperts> arms;
  for (const stats::ExpertCounts& part : counts) {
    ArmExperts& arm = arms[{part.arm_id, part.kind}];
    arm.names = &part;
    arm.layers.resize(part.layers.size());
    for (size_t layer = 0; layer < part.layers.size(); ++layer) {
      arm.layers[layer] += part.layers[layer];
    }
  }
  Json json = Json::array();
  for (const routing::Arm& arm : plan.arms()) {
    for (const auto kind : {stats::DecisionKind::kApplied, stats::DecisionKind::kAnalyzed}) {
      const auto found = arms.find({arm.arm_id, kind});
      if (found != arms.end()) json.push_back(ExpertsOfArm(found->second, *arm.policy));
    }
  }
  return json;
}

}  // namespace

LiveState::LiveState(Options options) : options_(std::move(options)) {}

std::vector<routing::PlanRecord> LiveState::NewestPlans(uint64_t generation) const {
  absl::MutexLock lock(&mu_);
  if (plans_generation_ != generation) {
    // A history that can not be read now is read for the next answer.
    if (auto plans = options_.controller->history().List(UINT64_MAX, kMaxSwaps); plans.ok()) {
      plans_ = *std::move(plans);
      plans_generation_ = plans_.empty() ? 0 : plans_.front().generation;
    }
  }
  return plans_;
}

std::string LiveState::StateJson() const {
  const std::shared_ptr<const routing::RoutingPlan> plan = options_.controller->slot().Current();
  const std::shared_ptr<const routing::PlanRecord> record = options_.controller->CurrentRecord();
  const engine::EngineLoad load = options_.engine->Load();
  int64_t on_older_plans = 0;
  for (const auto& old : options_.controller->slot().Draining()) on_older_plans += old.in_flight;
  return Dump({{"version", kVersion},
               {"time", Seconds(options_.now())},
               {"server",
                {{"version", options_.server_version},
                 {"start_time", Seconds(options_.start_time)},
                 {"ready", options_.ready()}}},
               {"model", ModelJson(options_.model)},
               {"engine", EngineJson(load)},
               {"plan", PlanJson(*plan, *record, on_older_plans, load)},
               {"buckets", BucketsJson()},
               {"counters", CountersJson(*options_.metrics)},
               {"swaps", SwapsJson(NewestPlans(plan->generation()))}});
}

std::string LiveState::ExpertsJson() const {
  const std::shared_ptr<const routing::RoutingPlan> plan = options_.controller->slot().Current();
  std::vector<stats::ExpertStats::PolicyName> policies;
  for (const routing::Arm& arm : plan->arms()) {
    policies.push_back({arm.arm_id, arm.policy->spec().policy_id, arm.policy->digest()});
  }
  return Dump({{"version", kVersion},
               {"time", Seconds(options_.now())},
               {"generation", plan->generation()},
               {"layers", options_.model.num_layers},
               {"experts", options_.model.num_experts},
               {"arms", ExpertArmsJson(*plan, options_.metrics->experts().SnapshotOf(policies))}});
}

}  // namespace olmoe::http
