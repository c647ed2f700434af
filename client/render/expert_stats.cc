#include "client/render/expert_stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace olmoe::client::render {
namespace {

using Counts = google::protobuf::RepeatedField<uint64_t>;

void AddCounts(const Counts& from, Counts* to) {
  if (to->size() < from.size()) to->Resize(from.size(), 0);
  for (int i = 0; i < from.size(); ++i) (*to)[i] += from[i];
}

double Sum(const Counts& counts) { return std::accumulate(counts.begin(), counts.end(), 0.0); }

void AddLayer(const v1::LayerExpertStats& from, v1::LayerExpertStats* to) {
  to->set_layer(from.layer());
  AddCounts(from.expert_tokens(), to->mutable_expert_tokens());
  AddCounts(from.experts_per_token(), to->mutable_experts_per_token());
  to->set_tokens(to->tokens() + from.tokens());
  to->set_min_k_hits(to->min_k_hits() + from.min_k_hits());
  to->set_max_k_hits(to->max_k_hits() + from.max_k_hits());
  to->set_force_hits(to->force_hits() + from.force_hits());
  to->set_selected_mass(to->selected_mass() + from.selected_mass());
  to->set_router_entropy(to->router_entropy() + from.router_entropy());
  to->set_common_experts(to->common_experts() + from.common_experts());
  to->set_union_experts(to->union_experts() + from.union_experts());
}

void DeriveCounts(v1::LayerExpertStats* layer) {
  double tokens = 0, sum = 0, squares = 0;
  for (int k = 0; k < layer->experts_per_token_size(); ++k) {
    const auto count = static_cast<double>(layer->experts_per_token(k));
    tokens += count;
    sum += count * k;
    squares += count * k * k;
  }
  const double mean = tokens > 0 ? sum / tokens : 0;
  layer->set_mean_experts_per_token(mean);
  layer->set_stddev_experts_per_token(
      tokens > 0 ? std::sqrt(std::max(0.0, squares / tokens - mean * mean)) : 0);
}

void DeriveLoad(v1::LayerExpertStats* layer) {
  const double experts = layer->expert_tokens_size();
  const double sum = Sum(layer->expert_tokens());
  double largest = 0, squares = 0, entropy = 0;
  uint32_t idle = 0;
  for (const uint64_t tokens : layer->expert_tokens()) {
    const auto load = static_cast<double>(tokens);
    largest = std::max(largest, load);
    squares += load * load;
    if (tokens == 0) ++idle;
    if (tokens > 0) entropy -= load / sum * std::log(load / sum);
  }
  layer->set_idle_experts(idle);
  layer->set_load_max_over_mean(sum > 0 ? largest * experts / sum : 0);
  layer->set_load_jain(sum > 0 ? sum * sum / (experts * squares) : 0);
  layer->set_load_entropy_ratio(experts > 1 && sum > 0 ? entropy / std::log(experts) : 0);
}

bool SameDecision(const v1::ArmExpertStats& a, const v1::ArmExpertStats& b) {
  return a.arm_id() == b.arm_id() && a.policy_id() == b.policy_id() &&
         a.policy_digest() == b.policy_digest() && a.kind() == b.kind();
}

void AddArm(const v1::ArmExpertStats& from, v1::ArmExpertStats* to) {
  for (const v1::LayerExpertStats& layer : from.layers()) {
    auto& layers = *to->mutable_layers();
    const auto same = std::find_if(layers.begin(), layers.end(), [&](const auto& candidate) {
      return candidate.layer() == layer.layer();
    });
    AddLayer(layer, same == layers.end() ? layers.Add() : &*same);
  }
}

void Finish(v1::ArmExpertStats* arm) {
  auto& layers = *arm->mutable_layers();
  std::sort(layers.begin(), layers.end(),
            [](const auto& a, const auto& b) { return a.layer() < b.layer(); });
  for (v1::LayerExpertStats& layer : layers) {
    DeriveCounts(&layer);
    DeriveLoad(&layer);
  }
}

// p log2(p / m), 0 for p = 0.
double Divergence(double p, double m) { return p > 0 ? p * std::log2(p / m) : 0; }

LayerDifference CompareLayers(const v1::LayerExpertStats& a, const v1::LayerExpertStats& b) {
  LayerDifference difference{
      .layer = a.layer(), .load_a = RelativeLoad(a), .load_b = RelativeLoad(b)};
  const size_t experts = std::min(difference.load_a.size(), difference.load_b.size());
  for (size_t expert = 0; expert < experts; ++expert) {
    const double p = difference.load_a[expert] / static_cast<double>(experts);
    const double q = difference.load_b[expert] / static_cast<double>(experts);
    const double middle = (p + q) / 2;
    difference.total_variation += std::abs(p - q) / 2;
    difference.jensen_shannon_bits += (Divergence(p, middle) + Divergence(q, middle)) / 2;
  }
  return difference;
}

}  // namespace

std::vector<v1::ArmExpertStats> SumPhases(const v1::GetExpertStatsResponse& response) {
  std::vector<v1::ArmExpertStats> sums;
  for (const v1::ArmExpertStats& arm : response.arms()) {
    auto same = std::find_if(sums.begin(), sums.end(), [&arm](const v1::ArmExpertStats& sum) {
      return SameDecision(sum, arm);
    });
    if (same == sums.end()) {
      same = sums.insert(sums.end(), arm);
      same->clear_layers();
    } else if (same->phase() != arm.phase()) {
      same->set_phase(v1::PHASE_UNSPECIFIED);
    }
    AddArm(arm, &*same);
  }
  for (v1::ArmExpertStats& sum : sums) Finish(&sum);
  return sums;
}

uint64_t TokensRouted(const v1::ArmExpertStats& stats) {
  uint64_t most = 0;
  for (const auto& layer : stats.layers()) most = std::max(most, layer.tokens());
  return most;
}

double MeanExperts(const v1::ArmExpertStats& stats) {
  double selections = 0, tokens = 0;
  for (const auto& layer : stats.layers()) {
    selections += Sum(layer.expert_tokens());
    tokens += static_cast<double>(layer.tokens());
  }
  return tokens > 0 ? selections / tokens : 0;
}

std::vector<double> RelativeLoad(const v1::LayerExpertStats& layer) {
  const double sum = Sum(layer.expert_tokens());
  std::vector<double> load(layer.expert_tokens().begin(), layer.expert_tokens().end());
  for (double& value : load) value = sum > 0 ? value * static_cast<double>(load.size()) / sum : 0;
  return load;
}

std::vector<LayerDifference> Compare(const v1::ArmExpertStats& a, const v1::ArmExpertStats& b) {
  std::vector<LayerDifference> differences;
  for (const auto& layer : a.layers()) {
    for (const auto& other : b.layers()) {
      if (other.layer() == layer.layer()) differences.push_back(CompareLayers(layer, other));
    }
  }
  return differences;
}

absl::StatusOr<v1::ArmExpertStats> FindArm(const std::vector<v1::ArmExpertStats>& arms,
                                           const std::string& name) {
  std::vector<const v1::ArmExpertStats*> matches;
  std::vector<std::string> known, matching;
  for (const v1::ArmExpertStats& arm : arms) {
    const std::string full = absl::StrCat(arm.arm_id(), ":", arm.policy_id());
    known.push_back(full);
    if (name != arm.arm_id() && name != full) continue;
    matches.push_back(&arm);
    matching.push_back(full);
  }
  if (matches.size() == 1) return *matches.front();
  if (matches.empty()) {
    return absl::NotFoundError(absl::StrCat("no token was routed by ", name, "; counted are: ",
                                            known.empty() ? "none" : absl::StrJoin(known, ", ")));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(name, " has had several policies; name one: ", absl::StrJoin(matching, ", ")));
}

}  // namespace olmoe::client::render
