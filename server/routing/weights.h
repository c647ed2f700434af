// From the probabilities of the selected experts to their weights.
#ifndef OLMOE_SERVER_ROUTING_WEIGHTS_H_
#define OLMOE_SERVER_ROUTING_WEIGHTS_H_

#include <cstdint>
#include <span>

#include "server/routing/adjusted_row.h"
#include "server/routing/logit_row.h"
#include "server/routing/route.h"

namespace olmoe::routing {

// `weights`: probabilities whose sum is `sum`. `raw`: the row of logits. REQUIRES: `mode` is not
// kModelDefault.
void ScaleWeights(WeightMode mode, const RouterShape& shape, double sum, LogitRow* raw,
                  std::span<float> weights);

// Those of any experts of an adjusted row, into weights: [selected].
void Weigh(WeightMode mode, double temperature, const RouterShape& shape,
           std::span<const uint8_t> selected, AdjustedRow* row, LogitRow* raw,
           std::span<float> weights);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_WEIGHTS_H_
