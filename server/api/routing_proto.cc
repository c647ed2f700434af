#include "server/api/routing_proto.h"

#include "absl/strings/str_cat.h"
#include "server/api/time_proto.h"
#include "server/routing/controller.h"
#include "server/routing/plan_rebuild.h"

namespace olmoe::api {
namespace {

v1::AssignmentReason ToProto(routing::AssignmentReason reason) {
  switch (reason) {
    case routing::AssignmentReason::kDefault: return v1::ASSIGNMENT_REASON_DEFAULT;
    case routing::AssignmentReason::kSplit: return v1::ASSIGNMENT_REASON_SPLIT;
    case routing::AssignmentReason::kRandomUnit: return v1::ASSIGNMENT_REASON_RANDOM_UNIT;
    case routing::AssignmentReason::kExplicitArm: return v1::ASSIGNMENT_REASON_EXPLICIT_ARM;
    case routing::AssignmentReason::kInlinePolicy: return v1::ASSIGNMENT_REASON_INLINE_POLICY;
  }
  return v1::ASSIGNMENT_REASON_UNSPECIFIED;
}

v1::ProbeResult ToProto(const routing::ProbeResult& result) {
  v1::ProbeResult out;
  out.set_arm_id(result.arm_id);
  out.set_max_abs_logit_difference(result.max_abs_logit_difference);
  out.set_kl_divergence_nats(result.kl_divergence_nats);
  out.set_top1_changed(result.top1_changed);
  out.set_mean_experts_per_token(result.mean_experts_per_token);
  out.set_layers_covered(result.layers_covered);
  return out;
}

routing::ProbeResult FromProto(const v1::ProbeResult& result) {
  return {result.arm_id(),       result.max_abs_logit_difference(), result.kl_divergence_nats(),
          result.top1_changed(), result.mean_experts_per_token(),   result.layers_covered()};
}

// nullopt where it holds what the domain types cannot.
std::optional<routing::PlanRecord> FromProto(const v1::PlanRecord& record) {
  RequestErrors errors;
  routing::PlanRecord out;
  out.spec = ToPlanSpec(record.plan(), "plan", &errors);
  const std::optional<routing::PlanSource> source = routing::PlanSourceOf(record.source());
  if (!errors.empty() || !source) return std::nullopt;
  out.generation = record.generation();
  out.digest = record.digest();
  out.source = *source;
  out.actor = record.actor();
  out.activate_time = api::FromProto(record.activate_time());
  if (record.has_expire_time()) out.expire_time = api::FromProto(record.expire_time());
  return out;
}

}  // namespace

routing::PlanSpec ToPlanSpec(const v1::RoutingPlan& plan, const std::string& prefix,
                             RequestErrors* errors) {
  routing::PlanSpec spec;
  spec.salt = plan.salt();
  spec.note = plan.note();
  for (int i = 0; i < plan.arms_size(); ++i) {
    const v1::Arm& from = plan.arms(i);
    const std::string name = absl::StrCat(prefix, ".arms[", i, "]");
    if (from.arm_id() == routing::kInlineArm) {
      errors->Add(name + ".arm_id", "\"inline\" is kept for requests with an inline policy");
    }
    if (from.arm_id() == routing::kProbeArm) {
      errors->Add(name + ".arm_id", "\"probe\" is kept for the probes of patches");
    }
    routing::ArmSpec& to = spec.arms.emplace_back();
    to.arm_id = from.arm_id();
    to.policy = ToPolicySpec(from.policy(), name + ".policy", errors);
    to.weight = from.weight();
    to.allow_explicit = from.allow_explicit();
  }
  return spec;
}

v1::RoutingPlan ToProto(const routing::PlanSpec& spec) {
  v1::RoutingPlan out;
  out.set_salt(spec.salt);
  out.set_note(spec.note);
  for (const routing::ArmSpec& from : spec.arms) {
    v1::Arm* to = out.add_arms();
    to->set_arm_id(from.arm_id);
    *to->mutable_policy() = ToProto(from.policy);
    to->set_weight(from.weight);
    to->set_allow_explicit(from.allow_explicit);
  }
  return out;
}

v1::PlanRecord ToProto(const routing::PlanRecord& record, int64_t in_flight_requests) {
  v1::PlanRecord out;
  out.set_generation(record.generation);
  out.set_digest(record.digest);
  *out.mutable_plan() = ToProto(record.spec);
  *out.mutable_activate_time() = ToProto(record.activate_time);
  if (record.has_ttl()) *out.mutable_expire_time() = ToProto(record.expire_time);
  out.set_actor(record.actor);
  out.set_source(std::string(routing::PlanSourceName(record.source)));
  out.set_in_flight_requests(static_cast<uint64_t>(in_flight_requests));
  return out;
}

v1::PlanRecord ToProto(const routing::RoutingPlan& plan, int64_t in_flight_requests) {
  return ToProto(routing::RecordOf(plan, /*actor=*/""), in_flight_requests);
}

v1::PatchRoutersResponse ToProto(const routing::PatchAnswer& answer) {
  v1::PatchRoutersResponse out;
  *out.mutable_current() = ToProto(answer.record, answer.in_flight);
  out.set_previous_generation(answer.previous_generation);
  out.set_in_flight_on_previous(static_cast<uint64_t>(answer.in_flight_on_previous));
  *out.mutable_swap_duration() = ToProto(answer.swap_duration);
  out.set_changed(answer.changed);
  out.mutable_warnings()->Add(answer.warnings.begin(), answer.warnings.end());
  for (const routing::ProbeResult& result : answer.probe_results) {
    *out.add_probe_results() = ToProto(result);
  }
  return out;
}

v1::PatchRoutersResponse ToProto(const routing::PatchResult& result) {
  v1::PatchRoutersResponse out = ToProto(static_cast<const routing::PatchAnswer&>(result));
  if (result.checked == nullptr) return out;
  *out.mutable_checked() = ToProto(*result.checked, 0);
  out.mutable_checked()->clear_generation();
  out.mutable_checked()->clear_activate_time();
  return out;
}

std::optional<routing::PatchAnswer> FromProto(const v1::PatchRoutersResponse& answer) {
  std::optional<routing::PlanRecord> record = FromProto(answer.current());
  if (!record) return std::nullopt;
  routing::PatchAnswer out;
  out.record = *std::move(record);
  out.in_flight = static_cast<int64_t>(answer.current().in_flight_requests());
  out.previous_generation = answer.previous_generation();
  out.in_flight_on_previous = static_cast<int64_t>(answer.in_flight_on_previous());
  out.swap_duration = FromProto(answer.swap_duration()).value_or(absl::ZeroDuration());
  out.changed = answer.changed();
  out.warnings.assign(answer.warnings().begin(), answer.warnings().end());
  for (const v1::ProbeResult& result : answer.probe_results()) {
    out.probe_results.push_back(FromProto(result));
  }
  return out;
}

v1::RoutingStamp ToProto(uint64_t generation, const routing::Assignment& assignment) {
  v1::RoutingStamp out;
  out.set_generation(generation);
  out.set_arm_id(assignment.arm_id);
  out.set_policy_id(assignment.policy_id());
  out.set_policy_digest(assignment.policy->digest());
  out.set_reason(ToProto(assignment.reason));
  if (assignment.replay != nullptr) out.set_trace_digest(assignment.replay->digest());
  return out;
}

}  // namespace olmoe::api
