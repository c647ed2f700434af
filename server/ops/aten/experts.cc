// The sparse layer: AddExperts of AtenOps. Rows are gathered by expert, every expert
// runs once over its rows, and each result has a slot of its own, so that the sum of a
// row is taken in rank order afterwards.
#include <ATen/ATen.h>

#include "server/ops/aten/aten_ops.h"
#include "server/ops/aten/cpu_matmul.h"

namespace olmoe::ops {

at::Tensor AtenOps::RunExperts(const Tensor& x, const Experts& experts,
                               const ExpertSelection& selection) {
  const int64_t slots = selection.num_slots();
  const int64_t hidden = experts.gate_up.size(2);
  const int64_t intermediate = experts.gate_up.size(1) / 2;
  const std::span<const int32_t> rows = selection.row_of_slot();
  const at::Tensor inputs =
      x.to(compute_type())
          .index_select(0, ToDevice(std::vector<int64_t>(rows.begin(), rows.end())));
  const at::Tensor gate_up = at::empty({slots, 2 * intermediate}, inputs.options());
  at::Tensor results = at::empty({slots + 1, hidden}, inputs.options());
  results.select(0, slots).zero_();

  const auto for_each_expert = [&](const at::Tensor& weights, const at::Tensor& from,
                                   const at::Tensor& to) {
    for (int64_t expert = 0; expert < selection.num_experts(); ++expert) {
      const int64_t begin = selection.slot_begin()[static_cast<size_t>(expert)];
      const int64_t number = selection.slot_begin()[static_cast<size_t>(expert) + 1] - begin;
      if (number == 0) continue;
      MatmulTransposed(from.narrow(0, begin, number), weights.select(0, expert),
                       to.narrow(0, begin, number));
    }
  };
  for_each_expert(experts.gate_up, inputs, gate_up);
  const at::Tensor activated =
      at::silu(gate_up.narrow(1, 0, intermediate)).mul_(gate_up.narrow(1, intermediate, intermediate));
  for_each_expert(experts.down, activated, results);
  return results;
}

void AtenOps::AddExperts(const Tensor& x, const Experts& experts,
                         const ExpertSelection& selection, Tensor* sum) {
  if (selection.num_slots() == 0) return;
  const at::Tensor results = RunExperts(x, experts, selection);
  const size_t num_rows = static_cast<size_t>(selection.num_rows());
  std::vector<int64_t> slots(num_rows);
  std::vector<float> weights(num_rows);
  for (size_t rank = 0; rank < static_cast<size_t>(selection.max_ranks()); ++rank) {
    for (size_t row = 0; row < num_rows; ++row) {
      const std::span<const int32_t> slots_of_row = selection.slots_of_row(static_cast<int>(row));
      const bool has_rank = rank < slots_of_row.size();
      // A row with fewer experts adds nothing of the row of zeros.
      slots[row] = has_rank ? slots_of_row[rank] : selection.num_slots();
      weights[row] = has_rank ? selection.weights_of_row(static_cast<int>(row))[rank] : 0.0f;
    }
    const at::Tensor weight_column =
        at::tensor(c10::ArrayRef<float>(weights), at::kFloat).to(device_).unsqueeze(1);
    sum->addcmul_(results.index_select(0, ToDevice(slots)), weight_column);
  }
}

}  // namespace olmoe::ops
