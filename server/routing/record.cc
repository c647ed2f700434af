#include "server/routing/record.h"

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
  weights_offset_.clear();
  experts_.clear();
  weights_.clear();
}

void RoutingRecord::Add(const RowRouting& row) {
  CHECK_LT(applied_.size(), Index(num_layers_, 0)) << "more rows than Reset was told";
  applied_.push_back(row.applied);
  analyzed_.push_back(row.analyzed.value_or(Decision{}));
  entropy_.push_back(row.router_entropy);
  const auto append = [](const auto& from, size_t size, auto* to) {
    to->insert(to->end(), from.begin(), from.begin() + size);
  };
  append(row.experts, row.applied.k, &experts_);
  append(row.analyzed_experts, analyzed_.back().k, &experts_);
  offset_.push_back(static_cast<uint32_t>(experts_.size()));
  weights_offset_.push_back(static_cast<uint32_t>(weights_.size()));
  append(row.weights, row.applied.k, &weights_);
}

void RoutingRecord::AddFailed() {
  RowRouting failed;
  failed.experts = {};
  failed.weights = {};
  failed.analyzed_experts = {};
  Add(failed);
}

std::span<const uint8_t> RoutingRecord::experts(int layer, int row) const {
  const size_t index = Index(layer, row);
  return {experts_.data() + offset_[index], applied_[index].k};
}

std::span<const uint8_t> RoutingRecord::analyzed_experts(int layer, int row) const {
  const size_t index = Index(layer, row);
  return {experts_.data() + offset_[index] + applied_[index].k, analyzed_[index].k};
}

std::span<const float> RoutingRecord::weights(int layer, int row) const {
  const size_t index = Index(layer, row);
  return {weights_.data() + weights_offset_[index], applied_[index].k};
}

}  // namespace olmoe::routing
