// The sparse layer: AddExperts of AtenOps. Rows are gathered by expert, every expert
// runs once over its rows, and each result has a slot of its own, so that the sum of a
// row is taken in rank order afterwards.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstring>

#include "glog/logging.h"
#include "server/ops/aten/aten_ops.h"
#include "server/ops/aten/cpu_matmul.h"

namespace olmoe::ops {
namespace {

// Fewer rows than this are not worth a thread.
constexpr int64_t kRowsPerThread = 4;

float Widen(float value) { return value; }
float Widen(c10::BFloat16 value) {  // without a branch, so that it becomes vector code
  const uint32_t bits = static_cast<uint32_t>(value.x) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

// sum [rows, H] float32 += each row's results [slots, H], weighted, in rank order. On the
// CPU: reads every result where it lies, once.
template <typename T>
void AddWeighted(const at::Tensor& results, const ExpertSelection& selection, at::Tensor* sum) {
  const int64_t hidden = results.size(1);
  const T* from = results.data_ptr<T>();
  float* to = sum->data_ptr<float>();
  at::parallel_for(0, selection.num_rows(), kRowsPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const std::span<const int32_t> slots = selection.slots_of_row(static_cast<int>(row));
      const std::span<const float> weights = selection.weights_of_row(static_cast<int>(row));
      for (size_t rank = 0; rank < slots.size(); ++rank) {
        const T* result = from + slots[rank] * hidden;
        for (int64_t i = 0; i < hidden; ++i) {
          to[row * hidden + i] += weights[rank] * Widen(result[i]);
        }
      }
    }
  });
}

}  // namespace

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
  const at::Tensor activated = at::silu(gate_up.narrow(1, 0, intermediate))
                                   .mul_(gate_up.narrow(1, intermediate, intermediate));
  for_each_expert(experts.down, activated, results);
  return results;
}

void AtenOps::AddExperts(const Tensor& x, const Experts& experts, const ExpertSelection& selection,
                         Tensor* sum) {
  if (selection.num_slots() == 0) return;
  const at::Tensor results = RunExperts(x, experts, selection);
  if (device_.is_cpu()) {
    CHECK(sum->is_contiguous());
    if (results.scalar_type() == at::kFloat) {
      AddWeighted<float>(results, selection, sum);
    } else {
      AddWeighted<c10::BFloat16>(results, selection, sum);
    }
    return;
  }
  const size_t rows = static_cast<size_t>(selection.num_rows());
  const size_t ranks = static_cast<size_t>(selection.max_ranks());
  // [ranks][rows]; a row with fewer experts adds nothing of the row of zeros.
  std::vector<int64_t> slots(ranks * rows, selection.num_slots());
  std::vector<float> weights(ranks * rows, 0.0f);
  for (size_t row = 0; row < rows; ++row) {
    const std::span<const int32_t> slots_of_row = selection.slots_of_row(static_cast<int>(row));
    for (size_t rank = 0; rank < slots_of_row.size(); ++rank) {
      slots[rank * rows + row] = slots_of_row[rank];
      weights[rank * rows + row] = selection.weights_of_row(static_cast<int>(row))[rank];
    }
  }
  const at::Tensor by_rank = results.index_select(0, ToDevice(slots));
  const at::Tensor weight_column =
      at::tensor(c10::ArrayRef<float>(weights), at::kFloat).to(device_).unsqueeze(1);
  const int64_t num_rows = selection.num_rows();
  for (int64_t rank = 0; rank < selection.max_ranks(); ++rank) {
    sum->addcmul_(by_rank.narrow(0, rank * num_rows, num_rows),
                  weight_column.narrow(0, rank * num_rows, num_rows));
  }
}

}  // namespace olmoe::ops
