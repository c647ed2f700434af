#include "client/compare/steering.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"

namespace olmoe::client::compare {
namespace {

// The `count` largest of `sign` times the change, those above 0.
std::vector<ExpertDifference> Largest(std::vector<ExpertDifference> differences, double sign,
                                      size_t count) {
  std::erase_if(differences, [sign](const auto& one) { return sign * one.Change() <= 0; });
  std::stable_sort(differences.begin(), differences.end(), [sign](const auto& a, const auto& b) {
    return sign * a.Change() > sign * b.Change();
  });
  if (differences.size() > count) differences.resize(count);
  return differences;
}

}  // namespace

SteerSets ChooseSteering(const std::vector<ExpertDifference>& differences, size_t count) {
  return {.toward = Largest(differences, 1, count), .away = Largest(differences, -1, count)};
}

v1::RoutingPolicy SteerPolicy(const SteerSets& sets, uint32_t k) {
  std::map<uint32_t, v1::Steer> by_layer;
  for (const ExpertDifference& one : sets.toward) by_layer[one.layer].add_toward(one.expert);
  for (const ExpertDifference& one : sets.away) by_layer[one.layer].add_away(one.expert);
  v1::RoutingPolicy policy;
  policy.set_policy_id(absl::StrCat("steer-", sets.toward.size() + sets.away.size()));
  for (auto& [layer, steer] : by_layer) {
    std::sort(steer.mutable_toward()->begin(), steer.mutable_toward()->end());
    std::sort(steer.mutable_away()->begin(), steer.mutable_away()->end());
    v1::LayerOverride* some = policy.add_layer_overrides();
    some->add_layers(layer);
    some->mutable_apply()->mutable_top_k()->set_k(k);
    *some->mutable_apply()->mutable_adjust()->mutable_steer() = std::move(steer);
  }
  return policy;
}

}  // namespace olmoe::client::compare
