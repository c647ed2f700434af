// A text of three tokens as a server of two layers and four experts would score it.
#ifndef OLMOE_TESTS_CLIENT_SCORED_TEXT_H_
#define OLMOE_TESTS_CLIENT_SCORED_TEXT_H_

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "olmoe/v1/inference.pb.h"

namespace olmoe::client {

inline v1::GetModelInfoResponse ScoredModel() {
  v1::GetModelInfoResponse model;
  model.set_num_layers(2);
  model.set_num_experts(4);
  model.set_default_top_k(2);
  return model;
}

// One layer ran these experts, with weights 1/2, 1/4, ... or, where it is one, 3/8.
inline void AddSlot(const std::vector<int>& experts, const std::vector<float>& logits,
                    v1::RoutingTrace* trace) {
  const auto append = [](float value, std::string* bytes) {
    bytes->append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  trace->mutable_counts()->push_back(static_cast<char>(experts.size()));
  float weight = experts.size() == 1 ? 0.375f : 0.5f;
  for (const int expert : experts) {
    trace->mutable_experts()->push_back(static_cast<char>(expert));
    append(weight, trace->mutable_weights());
    weight /= 2;
  }
  for (const float logit : logits) append(logit, trace->mutable_logits());
}

// Tokens 10, 11 and 12 with probabilities 0.71, 1/4 and 1/1024.
inline v1::ScoreResponse ScoredText() {
  v1::ScoreResponse response;
  v1::ScoreResult* result = response.add_results();
  double sum = 0;
  for (const auto& [id, halvings] : {std::pair(10, 0.5), std::pair(11, 2.0), std::pair(12, 10.0)}) {
    v1::ScoredToken* token = result->add_tokens();
    token->set_token_id(static_cast<uint32_t>(id));
    token->set_logprob(static_cast<float>(-halvings * std::log(2.0)));
    token->set_rank(1 + static_cast<uint32_t>(halvings));
    sum += double{token->logprob()};
  }
  result->set_logprob_sum(sum);
  v1::RoutingTrace* trace = result->mutable_trace();
  trace->set_num_positions(3);
  trace->set_num_layers(2);
  const std::vector<float> equal(4, 1.0f);
  const std::vector<float> one_is_half = {0, 0, 0, std::log(3.0f)};
  AddSlot({0, 1}, equal, trace);  // the prefix token
  AddSlot({0, 1}, equal, trace);
  AddSlot({2}, equal, trace);
  AddSlot({3, 0, 1}, one_is_half, trace);
  AddSlot({0}, one_is_half, trace);
  AddSlot({1, 2}, one_is_half, trace);
  response.mutable_routing()->set_generation(5);
  response.mutable_routing()->set_arm_id("default");
  response.mutable_routing()->set_policy_id("p");
  return response;
}

}  // namespace olmoe::client

#endif  // OLMOE_TESTS_CLIENT_SCORED_TEXT_H_
