#include "server/stats/expert_stats.h"

#include <algorithm>
#include <span>
#include <utility>

#include "glog/logging.h"

namespace olmoe::stats {
namespace {

void AddAll(const std::vector<uint64_t>& from, std::vector<uint64_t>* into) {
  if (into->size() < from.size()) into->resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) (*into)[i] += from[i];
}

void SubtractAll(const std::vector<uint64_t>& from, std::vector<uint64_t>* into) {
  for (size_t i = 0; i < from.size(); ++i) (*into)[i] -= from[i];
}

// One token of one layer.
void AddDecision(const routing::Decision& decision, std::span<const uint8_t> experts, float entropy,
                 LayerCounts* counts) {
  for (const uint8_t expert : experts) ++counts->expert_tokens[expert];
  ++counts->experts_per_token[decision.k];
  ++counts->tokens;
  counts->min_k_hits += decision.min_hit ? 1 : 0;
  counts->max_k_hits += decision.max_hit ? 1 : 0;
  counts->force_hits += decision.force_hit ? 1 : 0;
  counts->selected_mass += static_cast<double>(decision.selected_mass);
  counts->router_entropy += static_cast<double>(entropy);
}

bool WasRouted(const routing::RoutingRecord& record, int row) {
  for (int layer = 0; layer < record.num_layers(); ++layer) {
    if (record.applied(layer, row).k == 0) return false;
  }
  return true;
}

}  // namespace

LayerCounts::LayerCounts(int num_experts)
    : expert_tokens(static_cast<size_t>(num_experts)),
      experts_per_token(static_cast<size_t>(num_experts) + 1) {}

LayerCounts& LayerCounts::operator+=(const LayerCounts& other) {
  AddAll(other.expert_tokens, &expert_tokens);
  AddAll(other.experts_per_token, &experts_per_token);
  tokens += other.tokens;
  min_k_hits += other.min_k_hits;
  max_k_hits += other.max_k_hits;
  force_hits += other.force_hits;
  selected_mass += other.selected_mass;
  router_entropy += other.router_entropy;
  common_experts += other.common_experts;
  union_experts += other.union_experts;
  return *this;
}

LayerCounts& LayerCounts::operator-=(const LayerCounts& other) {
  SubtractAll(other.expert_tokens, &expert_tokens);
  SubtractAll(other.experts_per_token, &experts_per_token);
  tokens -= other.tokens;
  min_k_hits -= other.min_k_hits;
  max_k_hits -= other.max_k_hits;
  force_hits -= other.force_hits;
  selected_mass -= other.selected_mass;
  router_entropy -= other.router_entropy;
  common_experts -= other.common_experts;
  union_experts -= other.union_experts;
  return *this;
}

ExpertStats::ExpertStats(int num_layers, int num_experts)
    : num_layers_(num_layers), num_experts_(num_experts) {}

ExpertStats::Layers& ExpertStats::At(DecisionKind kind, engine::Phase phase,
                                     PolicyCounts* counts) const {
  Layers& layers = counts->layers[static_cast<size_t>(kind)][static_cast<size_t>(phase)].Mutable();
  if (layers.empty()) layers.assign(static_cast<size_t>(num_layers_), LayerCounts(num_experts_));
  return layers;
}

void ExpertStats::SumUpOldest(Arm* arm) const {
  for (const DecisionKind kind : {DecisionKind::kApplied, DecisionKind::kAnalyzed}) {
    for (const auto phase :
         {engine::Phase::kPrefill, engine::Phase::kDecode, engine::Phase::kScore}) {
      const Layers* from =
          arm->policies.front().layers[static_cast<size_t>(kind)][static_cast<size_t>(phase)].get();
      if (from == nullptr) continue;
      Layers& into = At(kind, phase, &arm->earlier);
      for (size_t i = 0; i < from->size(); ++i) into[i] += (*from)[i];
    }
  }
  arm->policies.erase(arm->policies.begin());
}

ExpertStats::PolicyCounts& ExpertStats::Find(const routing::Assignment& assignment) {
  Arm& arm = arms_.Get(assignment.arm_id);
  if (arm.earlier.series == 0) {
    arm.earlier.series = ++last_series_;
    arm.earlier.names = std::make_shared<const Names>(Names{assignment.arm_id, "", ""});
  }
  // Policies that requests bring along have no end: they are one sum, and their replays another.
  const bool replays = assignment.replay != nullptr;
  const bool is_inline = assignment.reason == routing::AssignmentReason::kInlinePolicy;
  if (is_inline && !replays) return arm.earlier;
  std::vector<PolicyCounts>& policies = arm.policies;
  const std::string policy_id = assignment.policy_id();
  const std::string digest = replays ? "" : assignment.policy->digest();
  const auto found =
      std::find_if(policies.begin(), policies.end(), [&](const PolicyCounts& counts) {
        return counts.names->policy_digest == digest && counts.names->policy_id == policy_id;
      });
  if (found != policies.end()) {
    std::rotate(found, found + 1, policies.end());
    return policies.back();
  }
  if (policies.size() >= kMaxPoliciesPerArm) SumUpOldest(&arm);
  return policies.emplace_back(
      PolicyCounts{++last_series_,
                   std::make_shared<const Names>(Names{assignment.arm_id, policy_id, digest}),
                   {}});
}

void ExpertStats::AddRows(const engine::StepRows& rows, const routing::RoutingRecord& record,
                          PolicyCounts* counts) {
  Layers& applied = At(DecisionKind::kApplied, rows.phase, counts);
  for (int row = rows.first_row; row < rows.first_row + rows.num_rows; ++row) {
    if (!WasRouted(record, row)) continue;
    for (int layer = 0; layer < num_layers_; ++layer) {
      const routing::Decision& ran = record.applied(layer, row);
      const routing::Decision& would_run = record.analyzed(layer, row);
      const std::span<const uint8_t> experts = record.experts(layer, row);
      const float entropy = record.router_entropy(layer, row);
      AddDecision(ran, experts, entropy, &applied[static_cast<size_t>(layer)]);
      if (would_run.k == 0) continue;
      LayerCounts& analyzed =
          At(DecisionKind::kAnalyzed, rows.phase, counts)[static_cast<size_t>(layer)];
      const std::span<const uint8_t> analyzed_experts = record.analyzed_experts(layer, row);
      AddDecision(would_run, analyzed_experts, entropy, &analyzed);
      const size_t common = (routing::SetOf(experts) & routing::SetOf(analyzed_experts)).count();
      analyzed.common_experts += common;
      analyzed.union_experts += ran.k + would_run.k - common;
    }
  }
}

void ExpertStats::AddStep(const std::vector<engine::StepRows>& rows,
                          const routing::RoutingRecord& record) {
  CHECK_EQ(record.num_layers(), num_layers_);
  absl::MutexLock lock(&mu_);
  for (const engine::StepRows& range : rows) AddRows(range, record, &Find(*range.assignment));
}

void ExpertStats::SharePolicy(const PolicyCounts& counts, uint64_t earlier_series,
                              std::vector<Shared>* out) {
  for (size_t kind = 0; kind < counts.layers.size(); ++kind) {
    for (size_t phase = 0; phase < counts.layers[kind].size(); ++phase) {
      if (counts.layers[kind][phase].get() == nullptr) continue;
      out->push_back({counts.names, static_cast<DecisionKind>(kind),
                      static_cast<engine::Phase>(phase), counts.layers[kind][phase].Share(),
                      counts.series, earlier_series});
    }
  }
}

std::vector<ExpertStats::Shared> ExpertStats::Share(const Wanted& wanted) const {
  std::vector<Shared> out;
  absl::MutexLock lock(&mu_);
  arms_.ForEach([&](const std::string&, const Arm& arm) {
    const auto share = [&](const PolicyCounts& counts) {
      if (wanted(*counts.names)) SharePolicy(counts, arm.earlier.series, &out);
    };
    share(arm.earlier);
    for (const PolicyCounts& counts : arm.policies) share(counts);
  });
  return out;
}

std::vector<ExpertCounts> ExpertStats::Copy(const std::vector<Shared>& entries) {
  std::vector<ExpertCounts> out;
  for (const Shared& shared : entries) {
    if (shared.layers->at(0).tokens == 0) continue;  // no row could be routed
    out.push_back({shared.names->arm_id, shared.names->policy_id, shared.names->policy_digest,
                   shared.kind, shared.phase, *shared.layers, shared.series,
                   shared.earlier_series});
  }
  return out;
}

std::vector<std::string> ExpertStats::ArmIds() const {
  std::vector<std::string> arm_ids;
  absl::MutexLock lock(&mu_);
  arms_.ForEach([&arm_ids](const std::string& arm_id, const Arm&) { arm_ids.push_back(arm_id); });
  return arm_ids;
}

std::vector<ExpertCounts> ExpertStats::Snapshot() const {
  return Copy(Share([](const Names&) { return true; }));
}

std::vector<ExpertCounts> ExpertStats::SnapshotOf(std::span<const PolicyName> policies) const {
  return Copy(Share([&](const Names& names) {
    return std::any_of(policies.begin(), policies.end(), [&](const PolicyName& name) {
      return name.arm_id == names.arm_id && name.policy_id == names.policy_id &&
             name.policy_digest == names.policy_digest;
    });
  }));
}

}  // namespace olmoe::stats
