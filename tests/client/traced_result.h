#ifndef OLMOE_TESTS_CLIENT_TRACED_RESULT_H_
#define OLMOE_TESTS_CLIENT_TRACED_RESULT_H_

#include <cstdint>

#include "olmoe/v1/inference.pb.h"

namespace olmoe::client {

// Gives `result` a trace of `rows` rows, as `asked`, in which experts 0 to k - 1 ran in every
// layer; the logits of expert e are -e.
inline void AddTrace(uint32_t rows, uint32_t k, const v1::GetModelInfoResponse& model,
                     const v1::TraceOptions& asked, v1::ScoreResult* result) {
  v1::RoutingTrace& trace = *result->mutable_trace();
  trace.set_num_positions(rows);
  trace.set_num_layers(model.num_layers());
  for (uint32_t slot = 0; slot < rows * model.num_layers(); ++slot) {
    trace.mutable_counts()->push_back(static_cast<char>(k));
    for (uint32_t e = 0; e < model.num_experts(); ++e) {
      if (e < k) trace.mutable_experts()->push_back(static_cast<char>(e));
      const float logit = -static_cast<float>(e);
      if (!asked.logits()) continue;
      trace.mutable_logits()->append(reinterpret_cast<const char*>(&logit), sizeof(logit));
    }
  }
}

}  // namespace olmoe::client

#endif  // OLMOE_TESTS_CLIENT_TRACED_RESULT_H_
