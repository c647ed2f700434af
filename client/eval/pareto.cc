#include "client/eval/pareto.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <tuple>

namespace olmoe::client::eval {

std::vector<bool> OnFront(std::span<const Tradeoff> points) {
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&points](size_t a, size_t b) {
    return std::tie(points[a].cost, points[a].loss) < std::tie(points[b].cost, points[b].loss);
  });
  std::vector<bool> on_front(points.size());
  double least = std::numeric_limits<double>::infinity();  // loss of what costs less
  for (size_t i = 0; i < order.size();) {
    const Tradeoff& best = points[order[i]];  // of those that cost the same
    for (; i < order.size() && points[order[i]].cost == best.cost; ++i) {
      const double loss = points[order[i]].loss;
      on_front[order[i]] = loss == best.loss && loss < least;
    }
    least = std::min(least, best.loss);
  }
  return on_front;
}

}  // namespace olmoe::client::eval
