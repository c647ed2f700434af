#include "server/engine/trace.h"

#include <vector>

#include "glog/logging.h"

namespace olmoe::engine {
namespace {

void AppendDecision(const TraceOptions& options, const routing::RoutingRecord& record, int layer,
                    int row, RoutingTrace* trace) {
  const uint8_t k = record.applied(layer, row).k;
  trace->counts.push_back(k);
  if (options.experts) {
    const std::span<const uint8_t> experts = record.experts(layer, row);
    trace->experts.insert(trace->experts.end(), experts.begin(), experts.end());
  }
  if (options.weights) {
    const std::span<const float> weights = record.weights(layer, row);
    trace->weights.insert(trace->weights.end(), weights.begin(), weights.end());
  }
}

// [layers][rows][experts] -> [rows][layers][experts]
std::vector<float> PositionMajor(std::span<const float> logits, int num_layers, int num_rows) {
  const size_t row_layers = static_cast<size_t>(num_layers) * static_cast<size_t>(num_rows);
  CHECK(!logits.empty() && logits.size() % row_layers == 0);
  const size_t num_experts = logits.size() / row_layers;
  std::vector<float> transposed;
  transposed.reserve(logits.size());
  for (int row = 0; row < num_rows; ++row) {
    for (int layer = 0; layer < num_layers; ++layer) {
      const size_t at = (static_cast<size_t>(layer) * num_rows + row) * num_experts;
      const std::span<const float> experts = logits.subspan(at, num_experts);
      transposed.insert(transposed.end(), experts.begin(), experts.end());
    }
  }
  return transposed;
}

}  // namespace

RoutingTrace TraceRows(const TraceOptions& options, const TracedRows& rows,
                       const routing::RoutingRecord& record, std::span<const float> router_logits) {
  RoutingTrace trace;
  if (!options.any()) return trace;
  trace.first_position = rows.first_position;
  trace.num_positions = rows.num_rows;
  trace.num_layers = record.num_layers();
  if (options.experts || options.weights) {
    for (int row = rows.first_row; row < rows.first_row + rows.num_rows; ++row) {
      for (int layer = 0; layer < record.num_layers(); ++layer) {
        AppendDecision(options, record, layer, row, &trace);
      }
    }
  }
  if (options.logits) {
    trace.logits = PositionMajor(router_logits, record.num_layers(), rows.num_rows);
  }
  return trace;
}

uint64_t ExpertActivations(const TracedRows& rows, const routing::RoutingRecord& record) {
  uint64_t sum = 0;
  for (int layer = 0; layer < record.num_layers(); ++layer) {
    for (int row = rows.first_row; row < rows.first_row + rows.num_rows; ++row) {
      sum += record.applied(layer, row).k;
    }
  }
  return sum;
}

}  // namespace olmoe::engine
