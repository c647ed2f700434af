#include "server/api/expert_stats.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/api/time_proto.h"
#include "server/routing/controller.h"
#include "server/stats/arm_table.h"
#include "server/stats/derived.h"

namespace olmoe::api {
namespace {

// A filter longer than what there can be is one violation and not thousands.
bool IsTooLong(int size, size_t at_most, const std::string& field, RequestErrors* errors) {
  if (static_cast<size_t>(size) <= at_most) return false;
  errors->Add(field, absl::StrCat("must have at most ", at_most, " values, has ", size));
  return true;
}

void ParseArms(const v1::GetExpertStatsRequest& request, const std::string& prefix,
               const experiment::Serving& serving, const std::vector<std::string>& counted,
               StatsFilter* filter, RequestErrors* errors) {
  const std::string field = prefix + "arm_ids";
  if (IsTooLong(request.arm_ids_size(), stats::kMaxArmsKept, field, errors)) return;
  std::set<std::string> known;
  for (const routing::Arm& arm : serving.controller->slot().Current()->arms()) {
    known.insert(arm.arm_id);
  }
  const std::string there_are =
      absl::StrCat("; it has: ", absl::StrJoin(known, ", "));  // the current plan
  if (!request.current_plan()) known.insert(counted.begin(), counted.end());
  for (int i = 0; i < request.arm_ids_size(); ++i) {
    if (known.contains(request.arm_ids(i))) continue;
    errors->Add(
        absl::StrCat(field, "[", i, "]"),
        absl::StrCat("\"", request.arm_ids(i), "\" is no arm of the current plan",
                     request.current_plan() ? "" : ", and nothing was counted of it", there_are));
  }
  filter->arm_ids.insert(request.arm_ids().begin(), request.arm_ids().end());
}

void ParseLayers(const v1::GetExpertStatsRequest& request, const std::string& prefix,
                 const experiment::Serving& serving, StatsFilter* filter, RequestErrors* errors) {
  const std::string field = prefix + "layers";
  const uint32_t num_layers = static_cast<uint32_t>(serving.model.num_layers);
  if (IsTooLong(request.layers_size(), num_layers, field, errors)) return;
  for (int i = 0; i < request.layers_size(); ++i) {
    if (request.layers(i) >= num_layers) {
      errors->Add(absl::StrCat(field, "[", i, "]"),
                  absl::StrCat("must be 0..", num_layers - 1, ", is ", request.layers(i)));
    }
  }
  filter->layers.insert(request.layers().begin(), request.layers().end());
}

void ParseKinds(const v1::GetExpertStatsRequest& request, const std::string& prefix,
                StatsFilter* filter, RequestErrors* errors) {
  const std::string field = prefix + "kinds";
  if (IsTooLong(request.kinds_size(), 2, field, errors)) return;
  for (int i = 0; i < request.kinds_size(); ++i) {
    switch (request.kinds(i)) {
      case v1::DECISION_KIND_APPLIED: filter->kinds.insert(stats::DecisionKind::kApplied); break;
      case v1::DECISION_KIND_ANALYZED: filter->kinds.insert(stats::DecisionKind::kAnalyzed); break;
      default:
        errors->Add(absl::StrCat(field, "[", i, "]"),
                    absl::StrCat("must be DECISION_KIND_APPLIED or DECISION_KIND_ANALYZED, is ",
                                 static_cast<int>(request.kinds(i))));
    }
  }
}

bool IsOf(const routing::RoutingPlan& plan, const stats::ExpertCounts& counts) {
  return std::any_of(plan.arms().begin(), plan.arms().end(), [&counts](const routing::Arm& arm) {
    return arm.arm_id == counts.arm_id && arm.policy->spec().policy_id == counts.policy_id &&
           arm.policy->digest() == counts.policy_digest;
  });
}

template <class T>
bool Has(const std::set<T>& wanted, const T& value) {
  return wanted.empty() || wanted.contains(value);
}

v1::Phase ToProto(engine::Phase phase) {
  switch (phase) {
    case engine::Phase::kPrefill: return v1::PHASE_PREFILL;
    case engine::Phase::kDecode: return v1::PHASE_DECODE;
    case engine::Phase::kScore: return v1::PHASE_SCORE;
  }
  return v1::PHASE_UNSPECIFIED;
}

v1::DecisionKind ToProto(stats::DecisionKind kind) {
  return kind == stats::DecisionKind::kApplied ? v1::DECISION_KIND_APPLIED
                                               : v1::DECISION_KIND_ANALYZED;
}

v1::LayerExpertStats ToProto(uint32_t layer, const stats::LayerCounts& counts) {
  v1::LayerExpertStats out;
  out.set_layer(layer);
  out.mutable_expert_tokens()->Add(counts.expert_tokens.begin(), counts.expert_tokens.end());
  out.set_tokens(counts.tokens);
  out.mutable_experts_per_token()->Add(counts.experts_per_token.begin(),
                                       counts.experts_per_token.end());
  out.set_min_k_hits(counts.min_k_hits);
  out.set_max_k_hits(counts.max_k_hits);
  out.set_force_hits(counts.force_hits);
  out.set_selected_mass(counts.selected_mass);
  out.set_router_entropy(counts.router_entropy);
  out.set_common_experts(counts.common_experts);
  out.set_union_experts(counts.union_experts);
  const stats::DerivedStats derived = stats::Derive(counts);
  out.set_mean_experts_per_token(derived.mean_experts_per_token);
  out.set_stddev_experts_per_token(derived.stddev_experts_per_token);
  out.set_load_max_over_mean(derived.load_max_over_mean);
  out.set_load_jain(derived.load_jain);
  out.set_load_entropy_ratio(derived.load_entropy_ratio);
  out.set_idle_experts(derived.idle_experts);
  return out;
}

}  // namespace

StatsFilter ParseStatsFilter(const v1::GetExpertStatsRequest& request, const std::string& prefix,
                             const experiment::Serving& serving,
                             const std::vector<std::string>& counted, RequestErrors* errors) {
  StatsFilter filter;
  filter.current_plan = request.current_plan();
  ParseArms(request, prefix, serving, counted, &filter, errors);
  ParseLayers(request, prefix, serving, &filter, errors);
  ParseKinds(request, prefix, &filter, errors);
  return filter;
}

v1::GetExpertStatsResponse ToProto(const stats::StatsReading& reading, const StatsFilter& filter,
                                   const routing::RoutingPlan& plan) {
  v1::GetExpertStatsResponse out;
  for (const stats::ExpertCounts& counts : reading.counts) {
    if (!Has(filter.arm_ids, counts.arm_id) || !Has(filter.kinds, counts.kind)) continue;
    if (filter.current_plan && !IsOf(plan, counts)) continue;
    v1::ArmExpertStats* arm = out.add_arms();
    arm->set_arm_id(counts.arm_id);
    arm->set_policy_id(counts.policy_id);
    arm->set_policy_digest(counts.policy_digest);
    arm->set_kind(ToProto(counts.kind));
    arm->set_phase(ToProto(counts.phase));
    for (uint32_t layer = 0; layer < counts.layers.size(); ++layer) {
      if (Has(filter.layers, layer)) *arm->add_layers() = ToProto(layer, counts.layers[layer]);
    }
  }
  *out.mutable_start_time() = ToProto(reading.start);
  *out.mutable_end_time() = ToProto(reading.end);
  out.set_cursor(reading.cursor);
  return out;
}

}  // namespace olmoe::api
