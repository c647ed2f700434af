#ifndef OLMOE_CLIENT_EVAL_PARETO_H_
#define OLMOE_CLIENT_EVAL_PARETO_H_

#include <span>
#include <vector>

namespace olmoe::client::eval {

// Two numbers that should both be small.
struct Tradeoff {
  double cost = 0;  // expert activations per token
  double loss = 0;  // nats
};

// Whether each point is on the Pareto front: no other is as good in both and better in one. Equal
// points are on it together. O(n log n).
std::vector<bool> OnFront(std::span<const Tradeoff> points);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_PARETO_H_
