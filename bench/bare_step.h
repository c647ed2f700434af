#ifndef OLMOE_BENCH_BARE_STEP_H_
#define OLMOE_BENCH_BARE_STEP_H_

#include <vector>

#include "server/model/config.h"
#include "server/model/weights.h"
#include "server/ops/aten/aten_ops.h"
#include "server/routing/record.h"

namespace olmoe::bench {

// One sequence of a step: rows that attend over `context` positions, their own included.
struct BareSequence {
  int64_t rows = 0;
  int64_t context = 0;
};

// The shapes of one step.
struct BareStep {
  std::vector<BareSequence> sequences;
  int64_t logit_rows = 0;
  // Rows of every expert of every layer, as the step routed them.
  std::vector<std::vector<int64_t>> expert_rows;  // [layers][experts]

  int64_t num_rows() const;
};

// The shapes of a step that has run.
BareStep ShapesOf(const std::vector<BareSequence>& sequences, int64_t logit_rows,
                  const routing::RoutingRecord& record, int num_experts);

// Seconds of the plain ATen calls that a step of these shapes cannot do without, on the
// model's own weights: at::linear and at::matmul, norms, softmax, SwiGLU, rows gathered by
// expert and summed. No rope, no residuals, no rule, no cache, no sampling: keys and values
// lie ready. What a forward pass of plain ATen operations could reach at best.
double BareSeconds(const BareStep& step, const model::OlmoeConfig& config,
                   const model::Weights<ops::AtenOps>& weights);

// Bytes of weights and of keys and values that the step reads, each once.
int64_t BytesRead(const BareStep& step, const model::OlmoeConfig& config, int64_t element_bytes);

}  // namespace olmoe::bench

#endif  // OLMOE_BENCH_BARE_STEP_H_
