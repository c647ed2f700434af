#ifndef OLMOE_SERVER_STATS_EXPERT_STATS_H_
#define OLMOE_SERVER_STATS_EXPERT_STATS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/step_observer.h"
#include "server/routing/record.h"
#include "server/stats/arm_table.h"
#include "server/stats/copy_on_write.h"

namespace olmoe::stats {

enum class DecisionKind {
  kApplied,   // experts that ran
  kAnalyzed,  // experts that the analyzed rule would have run
};

// What the router of one layer decided, summed over tokens. Two equalities always hold:
// the sum of expert_tokens is the sum of k * experts_per_token[k], and the sum of
// experts_per_token is `tokens`.
struct LayerCounts {
  LayerCounts() = default;
  explicit LayerCounts(int num_experts);
  LayerCounts& operator+=(const LayerCounts& other);
  // `other` is an earlier state of the same counts.
  LayerCounts& operator-=(const LayerCounts& other);
  bool operator==(const LayerCounts&) const = default;

  std::vector<uint64_t> expert_tokens;      // [E] (token, expert) selections
  std::vector<uint64_t> experts_per_token;  // [E + 1] tokens by their k
  uint64_t tokens = 0;
  uint64_t min_k_hits = 0;    // tokens raised to min_k
  uint64_t max_k_hits = 0;    // tokens cut to max_k
  uint64_t force_hits = 0;    // tokens raised to the number of forced experts
  double selected_mass = 0;   // softmax mass of the selected experts
  double router_entropy = 0;  // nats
  uint64_t common_experts = 0;  // kAnalyzed: |applied and analyzed|
  uint64_t union_experts = 0;   // kAnalyzed: |applied or analyzed|
};

// All layers of one arm, policy, decision and phase.
struct ExpertCounts {
  std::string arm_id;
  // Both empty for policies that the arm had earlier, summed.
  std::string policy_id;
  std::string policy_digest;
  DecisionKind kind;
  engine::Phase phase;
  std::vector<LayerCounts> layers;  // [num_layers]
  // Names these counts as long as they are kept apart, and those that they are added to
  // when they are not: a digest may be forgotten and begin anew.
  uint64_t series = 0;
  uint64_t earlier_series = 0;
  bool operator==(const ExpertCounts&) const = default;
};

// Exact counts of every routing decision, from the records of the engine's steps: the
// one place where experts are counted. Per arm the last policies are kept apart; what
// is older is summed, so that an arm's totals never go back while the arm is kept. A
// row that could not be routed in some layer is not counted in any, so that all layers
// have the same number of tokens.
// Thread-safe: a step takes the mutex once; a reader takes it to copy one pointer per arm,
// policy, decision and phase (copy_on_write.h), which does not grow with the model.
class ExpertStats {
 public:
  ExpertStats(int num_layers, int num_experts);

  // Engine thread, after every step.
  void AddStep(const std::vector<engine::StepRows>& rows, const routing::RoutingRecord& record);

  // Of one moment. Decisions and phases without a token are left out.
  std::vector<ExpertCounts> Snapshot() const;

  // Those that are kept, in order.
  std::vector<std::string> ArmIds() const;

  struct PolicyName {
    std::string_view arm_id;
    std::string_view policy_id;
    std::string_view policy_digest;
  };
  // The same of these policies alone: who shows few copies little.
  std::vector<ExpertCounts> SnapshotOf(std::span<const PolicyName> policies) const;

 private:
  static constexpr size_t kMaxPoliciesPerArm = 8;

  using Layers = std::vector<LayerCounts>;  // [num_layers]; empty: no token yet
  struct Names {
    std::string arm_id, policy_id, policy_digest;
  };
  struct PolicyCounts {
    uint64_t series = 0;
    std::shared_ptr<const Names> names;
    std::array<std::array<CopyOnWrite<Layers>, 3>, 2> layers;  // [DecisionKind][Phase]
  };
  // One entry of a snapshot, not copied yet.
  struct Shared {
    std::shared_ptr<const Names> names;
    DecisionKind kind;
    engine::Phase phase;
    std::shared_ptr<const Layers> layers;
    uint64_t series, earlier_series;
  };
  struct Arm {
    std::vector<PolicyCounts> policies;  // the one used last is at the back
    PolicyCounts earlier;
  };

  PolicyCounts& Find(const routing::Assignment& assignment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddRows(const engine::StepRows& rows, const routing::RoutingRecord& record,
               PolicyCounts* counts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The policy of `arm` used longest ago becomes part of its earlier ones.
  void SumUpOldest(Arm* arm) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The layers of one decision and phase, made where there are none.
  Layers& At(DecisionKind kind, engine::Phase phase, PolicyCounts* counts) const;
  using Wanted = std::function<bool(const Names&)>;
  std::vector<Shared> Share(const Wanted& wanted) const;
  static std::vector<ExpertCounts> Copy(const std::vector<Shared>& entries);
  static void SharePolicy(const PolicyCounts& counts, uint64_t earlier_series,
                          std::vector<Shared>* out);

  const int num_layers_;
  const int num_experts_;
  mutable absl::Mutex mu_;
  ArmTable<Arm> arms_ ABSL_GUARDED_BY(mu_){kMaxArmsKept};
  uint64_t last_series_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace olmoe::stats

#endif  // OLMOE_SERVER_STATS_EXPERT_STATS_H_
