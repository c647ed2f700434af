#ifndef OLMOE_SERVER_ROUTING_NOISE_H_
#define OLMOE_SERVER_ROUTING_NOISE_H_

#include <cstdint>
#include <span>

#include "server/routing/route.h"

namespace olmoe::routing {

// Gumbel(0, 1) of every expert of a row: a pure function of routing seed, position, layer and
// expert. From Philox4x32 with counters that no sampler uses: (position, layer, 1 + expert / 4).
// The logarithms are the C library's, so another one may give another last bit.
void GumbelRow(const RowPlace& place, std::span<double> gumbel);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_NOISE_H_
