#ifndef OLMOE_SERVER_MODEL_STEP_TRACE_H_
#define OLMOE_SERVER_MODEL_STEP_TRACE_H_

#include <vector>

namespace olmoe::model {

// What a step computes on its way, copied to the host: for tests, and for looking for
// the layer in which two implementations part. float32.
struct StepTrace {
  // The residual stream: the embedding, then after each layer.
  std::vector<std::vector<float>> hidden_states;  // [layers + 1] of [rows * H]
  // Of the rows that are sampled or scored, in batch order.
  std::vector<float> final_norm;  // [logit rows * H]
  std::vector<float> logits;      // [logit rows * V]
};

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_STEP_TRACE_H_
