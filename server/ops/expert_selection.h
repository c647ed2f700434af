#ifndef OLMOE_SERVER_OPS_EXPERT_SELECTION_H_
#define OLMOE_SERVER_OPS_EXPERT_SELECTION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "server/routing/record.h"

namespace olmoe::ops {

// The decisions of one layer turned round: from (row, rank) -> expert to expert ->
// rows, so that every expert reads its weights once. A slot is one (row, rank);
// slots are numbered by expert, then by row. Rows may have any number of experts,
// also none. Memory is reused from layer to layer. Thread-compatible.
class ExpertSelection {
 public:
  // From the applied decisions of `layer`, all of whose rows have been added.
  void Build(const routing::RoutingRecord& record, int layer, int num_experts);

  int num_rows() const { return static_cast<int>(rank_begin_.size()) - 1; }
  int num_experts() const { return static_cast<int>(slot_begin_.size()) - 1; }
  int num_slots() const { return static_cast<int>(row_of_slot_.size()); }
  int max_ranks() const { return max_ranks_; }  // experts of the row that has most

  // By expert: its slots are slot_begin()[expert] .. slot_begin()[expert + 1] - 1.
  std::span<const int32_t> slot_begin() const { return slot_begin_; }    // [experts + 1]
  std::span<const int32_t> row_of_slot() const { return row_of_slot_; }  // [slots]

  // By row, in rank order.
  std::span<const int32_t> slots_of_row(int row) const { return OfRow(slot_of_rank_, row); }
  std::span<const float> weights_of_row(int row) const { return OfRow(weight_of_rank_, row); }

 private:
  template <typename T>
  std::span<const T> OfRow(const std::vector<T>& values, int row) const {
    const size_t begin = static_cast<size_t>(rank_begin_[static_cast<size_t>(row)]);
    const size_t end = static_cast<size_t>(rank_begin_[static_cast<size_t>(row) + 1]);
    return std::span<const T>(values).subspan(begin, end - begin);
  }

  int max_ranks_ = 0;
  std::vector<int32_t> slot_begin_ = {0};
  std::vector<int32_t> row_of_slot_;
  std::vector<int32_t> rank_begin_ = {0};  // [rows + 1] into the two below
  std::vector<int32_t> slot_of_rank_;
  std::vector<float> weight_of_rank_;
  std::vector<int32_t> next_slot_;  // [experts] scratch of Build
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_EXPERT_SELECTION_H_
