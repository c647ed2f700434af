#ifndef OLMOE_SERVER_ROUTING_SOFTMAX_H_
#define OLMOE_SERVER_ROUTING_SOFTMAX_H_

#include <span>

namespace olmoe::routing {

// softmax(logits / temperature) in fp32:
//   prob_i = exp((z_i - max z) / T) / sum_j exp((z_j - max z) / T).
// The maximum is subtracted before the division by T, which would overflow for
// large finite logits. `logits`: [1..kMaxExperts], finite; `probabilities`: same
// size; T > 0 and finite. Returns the entropy of the distribution in nats.
//
// The bits depend on the row alone: exp is a fixed sequence of IEEE operations
// (about 1 ulp from the true value, denormal results included) and the sums have a
// fixed order, so that another CPU or another C library gives the same reply.
float Softmax(std::span<const float> logits, double temperature, std::span<float> probabilities);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_SOFTMAX_H_
