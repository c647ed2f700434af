#ifndef OLMOE_BENCH_STEP_WORK_H_
#define OLMOE_BENCH_STEP_WORK_H_

#include <cstdint>
#include <vector>

#include "server/model/config.h"
#include "server/model/model.h"
#include "server/routing/record.h"

namespace olmoe::bench {

// What a step cannot do without: whatever computes it, on one machine.
struct StepWork {
  double bytes = 0;  // of weights, each once, and of keys and values; embedding rows not
  double flops = 0;  // of products and causal attention, two for a multiplication and addition

  StepWork& operator+=(const StepWork& other);
};

// Of a step that has run. `element_bytes`: of a weight and of a key; routers are float32. One
// row of every chunk that samples goes through the head.
StepWork WorkOf(const model::StepBatch& batch, const routing::RoutingRecord& routing,
                const model::OlmoeConfig& config, int64_t element_bytes);

}  // namespace olmoe::bench

#endif  // OLMOE_BENCH_STEP_WORK_H_
