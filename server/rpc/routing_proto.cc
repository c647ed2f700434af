#include "server/rpc/routing_proto.h"

#include "absl/strings/str_cat.h"
#include "server/routing/plan_rebuild.h"
#include "server/rpc/time_proto.h"

namespace olmoe::rpc {
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

}  // namespace

routing::PlanSpec ToPlanSpec(const v1::RoutingPlan& plan, const std::string& prefix,
                             RequestErrors* errors) {
  routing::PlanSpec spec;
  spec.salt = plan.salt();
  spec.note = plan.note();
  for (int i = 0; i < plan.arms_size(); ++i) {
    const v1::Arm& from = plan.arms(i);
    const std::string name = absl::StrCat(prefix, ".arms[", i, "]");
    if (from.arm_id() == kInlineArm) {
      errors->Add(name + ".arm_id", "\"inline\" is kept for requests with an inline policy");
    }
    if (from.arm_id() == kProbeArm) {
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

v1::RoutingStamp ToProto(uint64_t generation, const routing::Assignment& assignment) {
  v1::RoutingStamp out;
  out.set_generation(generation);
  out.set_arm_id(assignment.arm_id);
  out.set_policy_id(assignment.policy->spec().policy_id);
  out.set_policy_digest(assignment.policy->digest());
  out.set_reason(ToProto(assignment.reason));
  return out;
}

}  // namespace olmoe::rpc
