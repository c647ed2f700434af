#include "client/eval/budget.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace olmoe::client::eval {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();

// Whether `layers` layers can have exactly b together, for b in 0..layers * the largest k.
std::vector<bool> Reachable(size_t layers, const std::vector<uint32_t>& ks) {
  std::vector<bool> reachable(layers * ks.back() + 1);
  reachable[0] = true;
  for (size_t layer = 0; layer < layers; ++layer) {
    std::vector<bool> next(reachable.size());
    for (size_t b = 0; b < reachable.size(); ++b) {
      for (const uint32_t k : ks) {
        if (reachable[b] && b + k < next.size()) next[b + k] = true;
      }
    }
    reachable = std::move(next);
  }
  return reachable;
}

// "; the nearest are 60 and 66"
std::string Nearest(const std::vector<bool>& reachable, size_t budget) {
  std::vector<std::string> near;
  for (size_t b = budget; b-- > 0;) {
    if (!reachable[b]) continue;
    near.push_back(absl::StrCat(b));
    break;
  }
  for (size_t b = budget + 1; b < reachable.size(); ++b) {
    if (!reachable[b]) continue;
    near.push_back(absl::StrCat(b));
    break;
  }
  return absl::StrCat("; the nearest ", near.size() == 1 ? "is " : "are ",
                      absl::StrJoin(near, " and "));
}

}  // namespace

absl::Status CheckBudget(size_t layers, const std::vector<uint32_t>& ks, uint64_t budget) {
  const uint64_t least = layers * uint64_t{ks.front()}, most = layers * uint64_t{ks.back()};
  if (budget < least || budget > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("a budget of ", budget, " cannot be had: ", layers, " layers with ",
                     ks.front(), " to ", ks.back(), " experts have ", least, " to ", most));
  }
  const std::vector<bool> reachable = Reachable(layers, ks);
  if (reachable[budget]) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a budget of ", budget, " is no sum of ", layers,
                                                 " of ", absl::StrJoin(ks, ", "),
                                                 Nearest(reachable, budget)));
}

BudgetPlan BestPlan(const LayerChoices& choices, uint64_t budget) {
  const size_t layers = choices.increase.size(), width = budget + 1;
  // best[b]: of the layers behind this one; chosen[layer * width + b]: index into ks.
  std::vector<double> best(width, kImpossible);
  best[0] = 0;
  std::vector<uint8_t> chosen(layers * width);
  for (size_t layer = layers; layer-- > 0;) {
    std::vector<double> with_layer(width, kImpossible);
    for (size_t b = 0; b < width; ++b) {
      for (size_t choice = 0; choice < choices.ks.size() && choices.ks[choice] <= b; ++choice) {
        const double increase = choices.increase[layer][choice] + best[b - choices.ks[choice]];
        if (!(increase < with_layer[b])) continue;  // of equals the first
        with_layer[b] = increase;
        chosen[layer * width + b] = static_cast<uint8_t>(choice);
      }
    }
    best = std::move(with_layer);
  }
  BudgetPlan plan{.ks = {}, .increase = best[budget]};
  size_t left = budget;
  for (size_t layer = 0; layer < layers; ++layer) {
    plan.ks.push_back(choices.ks[chosen[layer * width + left]]);
    left -= plan.ks.back();
  }
  return plan;
}

}  // namespace olmoe::client::eval
