#include "server/ops/expert_selection.h"

#include <algorithm>

namespace olmoe::ops {

void ExpertSelection::Build(const routing::RoutingRecord& record, int layer, int num_experts) {
  const int num_rows = record.num_rows();
  max_ranks_ = 0;
  slot_begin_.assign(static_cast<size_t>(num_experts) + 1, 0);
  rank_begin_.assign(1, 0);
  weight_of_rank_.clear();
  for (int row = 0; row < num_rows; ++row) {
    const std::span<const float> weights = record.weights(layer, row);
    const int ranks = static_cast<int>(weights.size());
    for (const uint8_t expert : record.experts(layer, row)) ++slot_begin_[size_t{expert} + 1];
    weight_of_rank_.insert(weight_of_rank_.end(), weights.begin(), weights.end());
    rank_begin_.push_back(rank_begin_.back() + ranks);
    max_ranks_ = std::max(max_ranks_, ranks);
  }
  for (size_t expert = 0; expert < static_cast<size_t>(num_experts); ++expert) {
    slot_begin_[expert + 1] += slot_begin_[expert];
  }
  next_slot_.assign(slot_begin_.begin(), slot_begin_.end() - 1);
  row_of_slot_.resize(static_cast<size_t>(slot_begin_.back()));
  slot_of_rank_.clear();
  for (int row = 0; row < num_rows; ++row) {
    for (const uint8_t expert : record.experts(layer, row)) {
      const int32_t slot = next_slot_[expert]++;
      row_of_slot_[static_cast<size_t>(slot)] = row;
      slot_of_rank_.push_back(slot);
    }
  }
}

}  // namespace olmoe::ops
