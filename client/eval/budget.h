#ifndef OLMOE_CLIENT_EVAL_BUDGET_H_
#define OLMOE_CLIENT_EVAL_BUDGET_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace olmoe::client::eval {

// Which k each layer gets, when all of them together may be `budget`.
//
// The loss of a layer's k is measured with that layer alone changed, and the increases are taken to
// add up. Then the best plan of the layers from l on that has b experts left is, over the k of layer
// l, the smallest of increase(l, k) + best(l + 1, b - k): dynamic programming, exact, in
// O(layers * budget * choices) time. For example, of two layers with increases (k = 1, 2, 3) of
// 3, 1, 0 and 5, 4, 0 and a budget of 4, the plan is 1, 3 and its increase 3, not 2, 2 and 5.
// Of plans with the same increase the one with fewer experts in the first layers is taken.
struct LayerChoices {
  std::vector<uint32_t> ks;                   // ascending, each once; > 0
  std::vector<std::vector<double>> increase;  // [layer][choice], nats; finite
};

struct BudgetPlan {
  std::vector<uint32_t> ks;  // [layers]
  double increase = 0;       // predicted: the sum
};

// INVALID_ARGUMENT, telling what can be had, where no plan of `layers` layers has exactly `budget`.
absl::Status CheckBudget(size_t layers, const std::vector<uint32_t>& ks, uint64_t budget);

// REQUIRES: one layer, and CheckBudget.
BudgetPlan BestPlan(const LayerChoices& choices, uint64_t budget);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_BUDGET_H_
