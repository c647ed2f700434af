#ifndef OLMOE_TESTS_CLIENT_TRACE_SMALL_RECORDING_H_
#define OLMOE_TESTS_CLIENT_TRACE_SMALL_RECORDING_H_

#include <string>
#include <vector>

#include "client/trace/recording.h"
#include "gtest/gtest.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::trace {

// Two positions, two layers, three experts.
inline Recording SmallRecording() {
  v1::GetModelInfoResponse model;
  model.set_model_id("small");
  model.set_num_layers(2);
  model.set_num_experts(3);
  model.set_default_top_k(1);
  v1::RoutingStamp stamp;
  stamp.set_policy_digest("d1");
  Recording recording;
  recording.Describe(model, stamp);
  const std::vector<float> logits = {3, 2, 1, 1, 2, 3, 5, 5, 0, 0, 0, 9};
  const std::vector<float> weights = {0.6f, 0.6f, 0.2f, 0.4f, 0.9f};
  v1::RoutingTrace trace;
  trace.set_first_position(4);
  trace.set_num_positions(2);
  trace.set_num_layers(2);
  trace.set_counts(std::string("\1\2\1\1", 4));
  trace.set_experts(std::string("\0\2\1\0\2", 5));
  trace.set_weights(weights.data(), weights.size() * sizeof(float));
  trace.set_logits(logits.data(), logits.size() * sizeof(float));
  const std::vector<int32_t> tokens = {70, 71};
  EXPECT_TRUE(recording.Append(trace, 6, tokens).ok());
  return recording;
}

}  // namespace olmoe::client::trace

#endif  // OLMOE_TESTS_CLIENT_TRACE_SMALL_RECORDING_H_
