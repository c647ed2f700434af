#include "server/rpc/logit_collector.h"

#include <algorithm>

#include "glog/logging.h"

namespace olmoe::rpc {

LogitCollector::LogitCollector(const routing::RouterShape& shape, int trim_top,
                               uint64_t max_tokens)
    : shape_(shape),
      max_tokens_(max_tokens),
      builder_(*routing::CalibrationBuilder::Create(shape, trim_top)) {}

void LogitCollector::Add(int layer, std::span<const float> logits) {
  // Rows with NaN or infinity are not routed, and the engine gives only routed ones.
  const absl::Status status = builder_.AddRow(layer, logits);
  CHECK(status.ok()) << status;
}

bool LogitCollector::AddRows(std::span<const float> router_logits, int num_rows) {
  const size_t experts = static_cast<size_t>(shape_.num_experts);
  const size_t rows = static_cast<size_t>(num_rows);
  CHECK_EQ(router_logits.size(), static_cast<size_t>(shape_.num_layers) * rows * experts);
  const size_t wanted = std::min<uint64_t>(rows, max_tokens_ - num_tokens_);
  for (int layer = 0; layer < shape_.num_layers; ++layer) {
    for (size_t row = 0; row < wanted; ++row) {
      const size_t at = (static_cast<size_t>(layer) * rows + row) * experts;
      Add(layer, router_logits.subspan(at, experts));
    }
  }
  num_tokens_ += wanted;
  return num_tokens_ < max_tokens_;
}

void LogitCollector::AddTrace(const engine::RoutingTrace& trace) {
  const size_t experts = static_cast<size_t>(shape_.num_experts);
  const size_t layers = static_cast<size_t>(shape_.num_layers);
  CHECK_EQ(trace.logits.size(), static_cast<size_t>(trace.num_positions) * layers * experts);
  for (size_t i = 0; i * experts < trace.logits.size(); ++i) {
    Add(static_cast<int>(i % layers), std::span(trace.logits).subspan(i * experts, experts));
  }
}

}  // namespace olmoe::rpc
