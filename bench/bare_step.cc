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

at::Tensor Norm(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kFloat);
  return (wide * wide.square().mean(-1, /*keepdim=*/true).add(1e-5).rsqrt()).to(x.scalar_type());
}

// Causal or not makes no difference to what plain calls compute.
void Attend(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
  const at::Tensor logits = at::matmul(queries, keys.transpose(1, 2));
  at::matmul(logits.to(at::kFloat).softmax(-1).to(values.scalar_type()), values);
}

// Rows gathered by expert, SwiGLU, and the results of a row summed.
void RunExperts(const at::Tensor& hidden, const ops::AtenOps::Experts& experts,
                const std::vector<int64_t>& expert_rows) {
  at::Tensor sum = at::zeros(hidden.sizes(), hidden.options().dtype(at::kFloat));
  for (size_t expert = 0; expert < expert_rows.size(); ++expert) {
    if (expert_rows[expert] == 0) continue;
    const int64_t index = static_cast<int64_t>(expert);
    const at::Tensor rows = at::arange(expert_rows[expert], at::kLong);
    const std::vector<at::Tensor> gate_up =
        at::linear(hidden.index_select(0, rows), experts.gate_up.select(0, index)).chunk(2, -1);
    const at::Tensor result =
        at::linear(at::silu(gate_up[0]) * gate_up[1], experts.down.select(0, index));
    sum.index_add_(0, rows, result.to(at::kFloat));
  }
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
    const at::Tensor qkv = at::linear(Norm(hidden), w.qkv.weight);
    for (const int64_t half : {0, 1}) Norm(qkv.narrow(1, half * mixed.size(1), mixed.size(1)));
    for (const auto& [queries, keys, values] : heads) Attend(queries, keys, values);
    at::linear(mixed, w.output.weight);
    const at::Tensor normed = Norm(hidden);
    at::linear(wide, w.router.weight).softmax(-1);
    RunExperts(normed, w.experts, step.expert_rows[layer]);
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
