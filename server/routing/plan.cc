#include "server/routing/plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/routing/field_checks.h"
#include "server/routing/split.h"
#include "server/util/sha256.h"
#include "server/util/status_details.h"

namespace olmoe::routing {
namespace {

std::string ArmPath(std::string_view prefix, size_t arm) { return FieldPath(prefix, "arms", arm); }

std::vector<uint32_t> WeightsOf(const std::vector<ArmSpec>& arms) {
  std::vector<uint32_t> weights;
  weights.reserve(arms.size());
  for (const ArmSpec& arm : arms) weights.push_back(arm.weight);
  return weights;
}

void ValidateArms(const std::vector<ArmSpec>& arms, const RouterShape& shape, int max_arms,
                  std::string_view prefix, std::vector<FieldViolation>* violations) {
  const size_t limit = static_cast<size_t>(max_arms);
  if (arms.empty() || arms.size() > limit) {
    violations->push_back({FieldPath(prefix, "arms"),
                           absl::StrCat("must have 1..", limit, " arms, has ", arms.size())});
  } else if (!TotalWeight(WeightsOf(arms))) {
    violations->push_back(
        {FieldPath(prefix, "arms"), "the sum of the weights must be 1..4294967295"});
  }
  std::map<std::string_view, size_t> seen;
  for (size_t i = 0; i < std::min(arms.size(), limit); ++i) {
    const std::string path = ArmPath(prefix, i);
    CheckName(arms[i].arm_id, FieldPath(path, "arm_id"), violations);
    const auto [first, is_new] = seen.try_emplace(arms[i].arm_id, i);
    if (!is_new) {
      violations->push_back({FieldPath(path, "arm_id"),
                             absl::StrCat("is the id of arms[", first->second, "] already")});
    }
    ValidatePolicy(arms[i].policy, shape, FieldPath(path, "policy"), violations);
  }
}

// The salt is arbitrary bytes: its length comes first, so that no other plan has
// the same text.
std::string DigestOf(std::string_view salt, const std::vector<Arm>& arms) {
  std::string text = absl::StrCat("salt ", salt.size(), " ", std::string(salt), "\n");
  for (const Arm& arm : arms) {
    absl::StrAppend(&text, "arm ", arm.arm_id, " weight=", arm.weight,
                    " allow_explicit=", arm.allow_explicit ? 1 : 0,
                    " policy=", arm.policy->digest(), "\n");
  }
  return Sha256Hex(text);
}

}  // namespace

std::string_view PlanSourceName(PlanSource source) {
  switch (source) {
    case PlanSource::kStartup: return "startup";
    case PlanSource::kPatch: return "patch";
    case PlanSource::kUnpatch: return "unpatch";
    case PlanSource::kRollback: return "rollback";
    case PlanSource::kExpired: return "expired";
    case PlanSource::kFile: return "file";
  }
  LOG(FATAL) << "no such plan source: " << static_cast<int>(source);
}

std::optional<PlanSource> PlanSourceOf(std::string_view name) {
  for (const PlanSource source : {PlanSource::kStartup, PlanSource::kPatch, PlanSource::kUnpatch,
                                  PlanSource::kRollback, PlanSource::kExpired, PlanSource::kFile}) {
    if (PlanSourceName(source) == name) return source;
  }
  return std::nullopt;
}

absl::StatusOr<std::shared_ptr<const RoutingPlan>> RoutingPlan::Create(
    PlanSpec spec, const RouterShape& shape, const NamedSets& named, int max_arms,
    uint64_t generation, PlanSource source, absl::Time activate_time, std::string_view prefix) {
  std::vector<FieldViolation> violations;
  ValidateArms(spec.arms, shape, max_arms, prefix, &violations);
  CheckText(spec.salt, FieldPath(prefix, "salt"), &violations);
  CheckText(spec.note, FieldPath(prefix, "note"), &violations);
  if (!violations.empty()) return InvalidFields(violations);

  std::shared_ptr<RoutingPlan> plan(new RoutingPlan);
  for (size_t i = 0; i < spec.arms.size(); ++i) {
    const ArmSpec& arm = spec.arms[i];
    absl::StatusOr<std::shared_ptr<const RoutingPolicy>> policy =
        RoutingPolicy::Create(arm.policy, shape, named, FieldPath(ArmPath(prefix, i), "policy"));
    if (!policy.ok()) return policy.status();
    plan->arms_.push_back({arm.arm_id, *std::move(policy), arm.weight, arm.allow_explicit});
  }
  plan->weights_ = WeightsOf(spec.arms);
  plan->total_weight_ = TotalWeight(plan->weights_).value();
  plan->digest_ = DigestOf(spec.salt, plan->arms_);
  plan->spec_ = std::move(spec);
  plan->generation_ = generation;
  plan->source_ = source;
  plan->activate_time_ = activate_time;
  return std::shared_ptr<const RoutingPlan>(std::move(plan));
}

std::shared_ptr<const RoutingPlan> RoutingPlan::Native(const RouterShape& shape,
                                                       uint64_t generation, PlanSource source,
                                                       absl::Time activate_time) {
  PlanSpec spec;
  spec.arms.push_back({.arm_id = std::string(kDefaultArmId),
                       .policy = RoutingPolicy::Native(shape)->spec(),
                       .weight = 1});
  absl::StatusOr<std::shared_ptr<const RoutingPlan>> plan =
      Create(std::move(spec), shape, {}, /*max_arms=*/1, generation, source, activate_time, "");
  CHECK(plan.ok()) << plan.status();
  return *std::move(plan);
}

RoutingPlan::Draw RoutingPlan::DrawUnit(std::string_view unit_id) const {
  const uint32_t bucket = BucketOf(UnitHash(spec_.salt, unit_id), total_weight_);
  return {bucket, ArmOfBucket(weights_, bucket)};
}

std::string Assignment::policy_id() const {
  return replay == nullptr ? policy->spec().policy_id : kReplayPolicyId;
}

Assignment RoutingPlan::Assign(std::string_view unit_id, std::string_view request_id) const {
  if (arms_.size() == 1) {
    return {arms_[0].arm_id, arms_[0].policy, AssignmentReason::kDefault};
  }
  const bool has_unit = !unit_id.empty();
  const Arm& arm = arms_[DrawUnit(has_unit ? unit_id : request_id).arm];
  return {arm.arm_id, arm.policy,
          has_unit ? AssignmentReason::kSplit : AssignmentReason::kRandomUnit};
}

absl::StatusOr<Assignment> RoutingPlan::AssignExplicit(std::string_view arm_id) const {
  const auto arm = std::find_if(arms_.begin(), arms_.end(),
                                [arm_id](const Arm& arm) { return arm.arm_id == arm_id; });
  if (arm == arms_.end() || !arm->allow_explicit) {
    // One answer for both cases: clients do not learn which arms exist.
    return WithErrorInfo(
        absl::PermissionDeniedError("the arm does not exist or may not be named by clients"),
        "ARM_NOT_ALLOWED", {{"generation", absl::StrCat(generation_)}});
  }
  return Assignment{arm->arm_id, arm->policy, AssignmentReason::kExplicitArm};
}

bool RoutingPlan::SameAs(const RoutingPlan& other) const {
  if (digest_ != other.digest_ || spec_.note != other.spec_.note) return false;
  // Equal digests: as many arms, with equal ids.
  return std::equal(spec_.arms.begin(), spec_.arms.end(), other.spec_.arms.begin(),
                    other.spec_.arms.end(), [](const ArmSpec& a, const ArmSpec& b) {
                      return a.policy.policy_id == b.policy.policy_id &&
                             a.policy.description == b.policy.description;
                    });
}

}  // namespace olmoe::routing
