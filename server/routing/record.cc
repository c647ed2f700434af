#include "server/routing/record.h"

#include <algorithm>

#include "glog/logging.h"

namespace olmoe::routing {

void RoutingRecord::Reset(int num_layers, int num_rows) {
  CHECK(num_layers >= 0 && num_rows >= 0);
  num_layers_ = num_layers;
  num_rows_ = num_rows;
  applied_.clear();
  analyzed_.clear();
  entropy_.clear();
  offset_.assign(1, 0);
  order_.clear();
  weights_.clear();
}

void RoutingRecord::Add(const RowRouting& row) {
  CHECK_LT(applied_.size(), Index(num_layers_, 0)) << "more rows than Reset was told";
  applied_.push_back(row.applied);
  analyzed_.push_back(row.analyzed.value_or(Decision{}));
  entropy_.push_back(row.router_entropy);
  const size_t slots = std::max(applied_.back().k, analyzed_.back().k);
  order_.insert(order_.end(), row.order.begin(), row.order.begin() + slots);
  weights_.insert(weights_.end(), row.weights.begin(), row.weights.begin() + row.applied.k);
  weights_.resize(order_.size(), 0);
  offset_.push_back(static_cast<uint32_t>(order_.size()));
}

void RoutingRecord::AddFailed() {
  RowRouting failed;
  failed.order = {};
  failed.weights = {};
  Add(failed);
}

std::span<const uint8_t> RoutingRecord::order(int layer, int row) const {
  const size_t index = Index(layer, row);
  return {order_.data() + offset_[index], offset_[index + 1] - offset_[index]};
}

std::span<const float> RoutingRecord::weights(int layer, int row) const {
  const size_t index = Index(layer, row);
  return {weights_.data() + offset_[index], applied_[index].k};
}

}  // namespace olmoe::routing
