// The rules once more, slow and obvious: sort everything, double precision, no
// early exits. Shares no code with server/routing but the parameter structs.
#ifndef OLMOE_TESTS_ROUTING_REFERENCE_H_
#define OLMOE_TESTS_ROUTING_REFERENCE_H_

#include <vector>

#include "server/routing/route.h"

namespace olmoe::routing::reference {

// A CDF as it comes from outside.
struct Cdf {
  double x0 = 0, dx = 1;
  std::vector<double> cdf;
};

struct Decision {
  int k_raw = 0, k = 0;
  bool min_hit = false, max_hit = false;
  double selected_mass = 0;
  // A comparison of fp32 probabilities is so close that rounding decides it: the
  // count is not determined by the definition.
  bool depends_on_rounding = false;
};

// All experts by (logit descending, id ascending).
std::vector<int> Order(const std::vector<float>& logits);

// softmax(z / temperature) by expert id.
std::vector<double> Softmax(const std::vector<float>& logits, double temperature);

Decision Decide(const std::vector<float>& logits, const Rule& rule, const Cdf& cdf);

// Of the first k experts of the order; kModelDefault is resolved.
std::vector<double> Weights(const std::vector<float>& logits, const Rule& rule,
                            const RouterShape& shape, int k);

}  // namespace olmoe::routing::reference

#endif  // OLMOE_TESTS_ROUTING_REFERENCE_H_
