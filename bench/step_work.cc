#include "bench/step_work.h"

namespace olmoe::bench {
namespace {

// Of a layer, and of all its rows together.
struct ExpertUse {
  int64_t distinct = 0;
  int64_t selections = 0;  // (row, expert)
};

ExpertUse UseOf(const routing::RoutingRecord& routing, int layer, int num_experts) {
  ExpertUse use;
  std::vector<bool> used(static_cast<size_t>(num_experts));
  for (int row = 0; row < routing.num_rows(); ++row) {
    for (size_t rank = 0; rank < routing.applied(layer, row).k; ++rank) {
      used[routing.experts(layer, row)[rank]] = true;
      ++use.selections;
    }
  }
  for (const bool one : used) use.distinct += one ? 1 : 0;
  return use;
}

}  // namespace

StepWork& StepWork::operator+=(const StepWork& other) {
  bytes += other.bytes;
  flops += other.flops;
  return *this;
}

StepWork WorkOf(const model::StepBatch& batch, const routing::RoutingRecord& routing,
                const model::OlmoeConfig& config, int64_t element_bytes) {
  const int64_t hidden = config.hidden_size;
  const int64_t query = int64_t{config.num_heads} * config.head_size;
  const int64_t key_value = int64_t{config.num_kv_heads} * config.head_size;
  const int64_t attention = (2 * query + 2 * key_value) * hidden;
  const int64_t router = config.num_experts * hidden;
  const int64_t expert = int64_t{3} * hidden * config.intermediate_size;
  const int64_t head = int64_t{config.vocab_size} * hidden;
  int64_t elements = 0, products = 0;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const ExpertUse use = UseOf(routing, layer, config.num_experts);
    elements += attention + use.distinct * expert;
    products += routing.num_rows() * (attention + router) + use.selections * expert;
  }
  bool any_logits = false;
  for (const model::Chunk& chunk : batch.chunks) {
    const int64_t rows = static_cast<int64_t>(chunk.tokens.size());
    const int64_t context = chunk.first_position + rows;
    elements += 2 * config.num_layers * key_value * context;
    // Row i of the chunk sees first_position + i + 1 positions.
    const int64_t pairs = rows * chunk.first_position + rows * (rows + 1) / 2;
    products += 2 * config.num_layers * query * pairs;
    products += chunk.sample.has_value() ? head : 0;
    any_logits = any_logits || chunk.sample.has_value();
  }
  elements += any_logits ? head : 0;
  const int64_t router_bytes = int64_t{4} * config.num_layers * router;
  return {.bytes = static_cast<double>(elements * element_bytes + router_bytes),
          .flops = 2 * static_cast<double>(products)};
}

}  // namespace olmoe::bench
