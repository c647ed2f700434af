#include "bench/bare_step.h"

#include <ATen/ATen.h>

#include <chrono>

namespace olmoe::bench {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

at::Tensor Input(int64_t rows, const at::Tensor& weight) {
  return at::ones({rows, weight.size(-1)}, weight.options());
}

}  // namespace

int64_t BareStep::num_rows() const {
  int64_t rows = 0;
  for (const BareSequence& sequence : sequences) rows += sequence.rows;
  return rows;
}

BareStep ShapesOf(const std::vector<BareSequence>& sequences, int64_t logit_rows,
                  const routing::RoutingRecord& record, int num_experts) {
  BareStep step{sequences, logit_rows, {}};
  for (int layer = 0; layer < record.num_layers(); ++layer) {
    std::vector<int64_t>& rows = step.expert_rows.emplace_back(static_cast<size_t>(num_experts));
    for (int row = 0; row < record.num_rows(); ++row) {
      for (size_t rank = 0; rank < record.weights(layer, row).size(); ++rank) {
        ++rows[record.order(layer, row)[rank]];
      }
    }
  }
  return step;
}

double BareSeconds(const BareStep& step, const model::OlmoeConfig& config,
                   const model::Weights<ops::AtenOps>& weights) {
  const int64_t rows = step.num_rows();
  const at::Tensor hidden = Input(rows, weights.head.weight);
  const at::Tensor mixed = Input(rows, weights.layers[0].output.weight);
  const at::Tensor activated = Input(rows, weights.layers[0].experts.down);
  const at::Tensor wide = Input(rows, weights.layers[0].router.weight);
  std::vector<std::array<at::Tensor, 3>> heads;  // queries, keys, values of a sequence
  for (const BareSequence& sequence : step.sequences) {
    const auto of = [&](int64_t length) {
      return at::ones({config.num_heads, length, config.head_size}, hidden.options());
    };
    heads.push_back({of(sequence.rows), of(sequence.context), of(sequence.context)});
  }
  const double start = Now();
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const model::LayerWeights<ops::AtenOps>& w = weights.layers[layer];
    at::linear(hidden, w.qkv.weight);
    for (const auto& [queries, keys, values] : heads) {
      at::matmul(at::matmul(queries, keys.transpose(1, 2)), values);
    }
    at::linear(mixed, w.output.weight);
    at::linear(wide, w.router.weight);
    for (size_t expert = 0; expert < step.expert_rows[layer].size(); ++expert) {
      const int64_t number = step.expert_rows[layer][expert];
      if (number == 0) continue;
      const int64_t index = static_cast<int64_t>(expert);
      at::linear(hidden.narrow(0, 0, number), w.experts.gate_up.select(0, index));
      at::linear(activated.narrow(0, 0, number), w.experts.down.select(0, index));
    }
  }
  at::linear(hidden.narrow(0, 0, step.logit_rows), weights.head.weight);
  return Now() - start;
}

int64_t BytesRead(const BareStep& step, const model::OlmoeConfig& config, int64_t element_bytes) {
  const int64_t hidden = config.hidden_size;
  const int64_t query = int64_t{config.num_heads} * config.head_size;
  const int64_t key_value = int64_t{config.num_kv_heads} * config.head_size;
  int64_t elements = config.num_layers * (2 * query + 2 * key_value) * hidden;
  for (const std::vector<int64_t>& of_layer : step.expert_rows) {
    for (const int64_t rows : of_layer) {
      if (rows > 0) elements += 3 * hidden * config.intermediate_size;
    }
  }
  for (const BareSequence& sequence : step.sequences) {
    elements += 2 * config.num_layers * key_value * sequence.context;
  }
  if (step.logit_rows > 0) elements += int64_t{config.vocab_size} * hidden;
  const int64_t routers = int64_t{4} * config.num_layers * config.num_experts * hidden;
  return elements * element_bytes + routers;
}

}  // namespace olmoe::bench
