#ifndef OLMOE_SERVER_ROUTING_PLAN_H_
#define OLMOE_SERVER_ROUTING_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/routing/policy.h"
#include "server/routing/replay.h"

namespace olmoe::routing {

// An experiment as an operator writes it.
struct ArmSpec {
  std::string arm_id;           // [a-z0-9][a-z0-9-]{0,31}, unique in the plan
  PolicySpec policy;
  uint32_t weight = 0;          // share = weight / sum of weights; 0 = by name only
  bool allow_explicit = false;  // clients may name it
  bool operator==(const ArmSpec&) const = default;
};

struct PlanSpec {
  std::vector<ArmSpec> arms;  // 1..max_arms
  std::string salt;           // <= 256 bytes; changing it re-draws every unit
  std::string note;           // <= 256 bytes
  bool operator==(const PlanSpec&) const = default;
};

// Where a plan came from: "startup", "patch", "unpatch", "rollback", "expired" (a time
// to live ended), "file" (--routing, read again).
enum class PlanSource { kStartup, kPatch, kUnpatch, kRollback, kExpired, kFile };
std::string_view PlanSourceName(PlanSource source);
// nullopt for a name that is none.
std::optional<PlanSource> PlanSourceOf(std::string_view name);

// The arm of a plan that is one policy for all traffic.
inline constexpr std::string_view kDefaultArmId = "default";
// The arm ids of requests that bring their own policy, and of the probes of patches, so that these
// are counted apart from all traffic; no plan may use them.
inline constexpr std::string_view kInlineArm = "inline";
inline constexpr std::string_view kProbeArm = "probe";

struct Arm {
  std::string arm_id;
  std::shared_ptr<const RoutingPolicy> policy;  // never null
  uint32_t weight = 0;
  bool allow_explicit = false;
};

// Which arm a request got, and why.
enum class AssignmentReason { kDefault, kSplit, kRandomUnit, kExplicitArm, kInlinePolicy };

struct Assignment {
  std::string arm_id;
  std::shared_ptr<const RoutingPolicy> policy;
  AssignmentReason reason = AssignmentReason::kDefault;
  // Runs what it covers; the policy routes the rest. Null: the policy routes all.
  std::shared_ptr<const RecordedRouting> replay = {};

  // Of the policy; kReplayPolicyId with a replay.
  std::string policy_id() const;
};

// A plan that can run: arms with compiled policies, under a generation number.
// Immutable: thread-safe.
class RoutingPlan {
 public:
  // Errors: INVALID_ARGUMENT with one violation per field (all arms, all fields,
  // at once), named below `prefix`; FAILED_PRECONDITION for a missing calibration or router.
  static absl::StatusOr<std::shared_ptr<const RoutingPlan>> Create(
      PlanSpec spec, const RouterShape& shape, const NamedSets& named, int max_arms,
      uint64_t generation, PlanSource source, absl::Time activate_time, std::string_view prefix);

  // Unpatched: one arm "default" with the model's own routing.
  static std::shared_ptr<const RoutingPlan> Native(const RouterShape& shape, uint64_t generation,
                                                   PlanSource source, absl::Time activate_time);

  // A unit's bucket, 0..sum of weights - 1, and the index of its arm.
  struct Draw {
    uint32_t bucket = 0;
    size_t arm = 0;
  };
  Draw DrawUnit(std::string_view unit_id) const;

  // Assigns by the sticky split of salt + `unit_id`; an empty unit id is replaced by the
  // request id, and the reason is kRandomUnit. One arm: always that one, kDefault.
  Assignment Assign(std::string_view unit_id, std::string_view request_id) const;

  // Assigns the arm that a client names. PERMISSION_DENIED (ErrorInfo ARM_NOT_ALLOWED)
  // where it does not exist or does not allow it.
  absl::StatusOr<Assignment> AssignExplicit(std::string_view arm_id) const;

  const PlanSpec& spec() const { return spec_; }
  const std::vector<Arm>& arms() const { return arms_; }
  uint64_t generation() const { return generation_; }
  PlanSource source() const { return source_; }
  absl::Time activate_time() const { return activate_time_; }
  // Same behaviour (equal digests) under the same names, notes and descriptions.
  bool SameAs(const RoutingPlan& other) const;
  // SHA-256 over salt, arm ids, weights, allow_explicit and policy digests.
  const std::string& digest() const { return digest_; }

 private:
  RoutingPlan() = default;

  PlanSpec spec_;
  std::vector<Arm> arms_;
  std::vector<uint32_t> weights_;  // of the arms
  uint32_t total_weight_ = 0;      // >= 1
  uint64_t generation_ = 0;
  PlanSource source_ = PlanSource::kStartup;
  absl::Time activate_time_;
  std::string digest_;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_PLAN_H_
