// The products of CpuOps: Linear and the experts.
//
// An operation makes its operand once, rounded and padded, and then hands out panels of
// the weight: a task is some neighbouring panels with 128 KiB, for all rows. So weights
// stream from memory in order, by all threads together, and each is read once. With many
// rows a task is 1 MiB: rows then stay in the cache for several panels, and kernels fetch
// the next panel while they compute.
//
// Experts: the rows of an expert are gathered into neighbouring slots, and every expert
// that has any streams its panels once for all of them. gate and up share their panels,
// so silu(gate) * up is taken in registers and only its result, in the weights'
// precision, is written. The result of every slot is float32 and has a place of its own;
// a row then sums its slots in rank order. So the sum does not depend on other rows, and
// a row may have any number of experts.
#include <algorithm>
#include <cstring>

#include "server/ops/cpu/cpu_ops.h"
#include "server/ops/cpu/for_rows.h"
#include "server/ops/cpu/panel_task.h"

namespace olmoe::ops {
namespace {

constexpr int64_t kTaskBytes = 128 << 10;
constexpr int64_t kManyRows = 32;  // from here on a task is kLongTaskBytes
constexpr int64_t kLongTaskBytes = 1 << 20;
// Rows of a task, where there are too few panels to occupy all threads.
constexpr int64_t kRowsUnit = 32;
constexpr int64_t kTasksPerThread = 4;
// Between rows of an operand, so that neighbouring rows do not fall into the same sets
// of the caches where the depth is a power of two.
constexpr int64_t kGapBytes = 64;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t Divide(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

int64_t PanelsOfTask(int64_t panel_bytes, int64_t rows) {
  return std::max<int64_t>(1, (rows > kManyRows ? kLongTaskBytes : kTaskBytes) / panel_bytes);
}

const std::byte* RowOf(const void* rows, int64_t row, int64_t stride, Precision precision) {
  return static_cast<const std::byte*>(rows) + row * stride * BytesPerElement(precision);
}

}  // namespace

CpuOps::Operand CpuOps::MakeOperand(const Tensor& x, const PackedMatrix& weight,
                                    std::optional<std::span<const int32_t>> picked) {
  const bool wide = weight.precision() == Precision::kFloat32;
  const auto row_of = [&](int64_t i) {
    return x.row(picked.has_value() ? (*picked)[static_cast<size_t>(i)] : i);
  };
  Operand operand;
  if (wide && !picked.has_value()) {
    operand.data = x.row(0);
    operand.stride = x.stride();
    return operand;
  }
  const int64_t element_bytes = BytesPerElement(weight.precision());
  const int64_t rows = picked.has_value() ? std::ssize(*picked) : x.rows();
  operand.stride = RoundUp(weight.depth() * element_bytes + kGapBytes, 64) / element_bytes;
  operand.memory = memory_.Take(static_cast<size_t>(rows * operand.stride * element_bytes));
  operand.data = operand.memory.as<void>();
  ForRows(&pool_, rows, weight.in(), [&](int64_t i) {
    if (wide) {
      std::memcpy(operand.memory.as<float>() + i * operand.stride, row_of(i),
                  static_cast<size_t>(weight.in()) * sizeof(float));
      return;
    }
    uint16_t* to = operand.memory.as<uint16_t>() + i * operand.stride;
    row_kernels_.narrow(row_of(i), weight.in(), to);
    std::fill(to + weight.in(), to + weight.depth(), uint16_t{0});
  });
  return operand;
}

CpuOps::Tensor CpuOps::Linear(const Tensor& x, const Matrix& matrix) {
  const PackedMatrix& weight = *matrix.weight;
  const Precision precision = weight.precision();
  const Operand operand = MakeOperand(x, weight, std::nullopt);
  const Tensor result = NewTensor(x.rows(), weight.out());
  const int64_t panels = PanelsOfTask(weight.panel_bytes(), x.rows());
  const int64_t panel_tasks = Divide(weight.num_panels(), panels);
  const int64_t row_tasks =
      std::clamp<int64_t>(Divide(pool_.threads() * kTasksPerThread, panel_tasks), 1,
                          std::max<int64_t>(1, x.rows() / kRowsUnit));
  const auto product =
      precision == Precision::kFloat32 ? panel_kernels_.linear_f32 : panel_kernels_.linear_bf16;
  pool_.Run(static_cast<int>(panel_tasks * row_tasks), [&](int task) {
    const int64_t first_panel = task / row_tasks * panels;
    const int64_t first_column = first_panel * kPanelColumns;
    const int64_t part = task % row_tasks;
    const int64_t first_row = x.rows() * part / row_tasks;
    const int64_t num_panels = std::min(panels, weight.num_panels() - first_panel);
    product({.x = RowOf(operand.data, first_row, operand.stride, precision),
             .x_stride = operand.stride,
             .rows = x.rows() * (part + 1) / row_tasks - first_row,
             .panels = weight.panel(first_panel),
             .num_panels = num_panels,
             .depth = weight.depth(),
             .out = result.row(first_row) + first_column,
             .out_stride = result.stride(),
             .columns = std::min(num_panels * kPanelColumns, weight.out() - first_column),
             .bias = matrix.bias.size() > 0 ? matrix.bias.data() + first_column : nullptr});
  });
  return result;
}

void CpuOps::PlanExperts(const ExpertSelection& selection, int64_t panels, int64_t panel_bytes) {
  expert_tasks_.clear();
  for (int64_t expert = 0; expert < selection.num_experts(); ++expert) {
    const std::span<const int32_t> begin = selection.slot_begin();
    const int64_t rows =
        begin[static_cast<size_t>(expert) + 1] - begin[static_cast<size_t>(expert)];
    if (rows == 0) continue;
    const int64_t panels_of_task = PanelsOfTask(panel_bytes, rows);
    for (int64_t panel = 0; panel < panels; panel += panels_of_task) {
      expert_tasks_.push_back({expert, panel, std::min(panels_of_task, panels - panel)});
    }
  }
}

CpuOps::Operand CpuOps::GateAndUp(const Operand& x, const Experts& experts,
                                  const ExpertSelection& selection) {
  const PackedMatrix& weight = *experts.gate_up;
  const Precision precision = weight.precision();
  const int64_t element_bytes = BytesPerElement(precision);
  Operand result;
  result.stride = experts.padded_intermediate() + kGapBytes / element_bytes;
  result.memory =
      memory_.Take(static_cast<size_t>(selection.num_slots() * result.stride * element_bytes));
  result.data = result.memory.as<void>();
  PlanExperts(selection, experts.gate_up_panels(), weight.panel_bytes());
  const auto product =
      precision == Precision::kFloat32 ? panel_kernels_.swiglu_f32 : panel_kernels_.swiglu_bf16;
  pool_.Run(static_cast<int>(expert_tasks_.size()), [&](int i) {
    const ExpertTask& task = expert_tasks_[static_cast<size_t>(i)];
    const int64_t first = selection.slot_begin()[static_cast<size_t>(task.expert)];
    const int64_t column = task.first_panel * kGateColumns;
    product({.x = RowOf(x.data, first, x.stride, precision),
             .x_stride = x.stride,
             .rows = selection.slot_begin()[static_cast<size_t>(task.expert) + 1] - first,
             .panels = weight.panel(task.expert * experts.gate_up_panels() + task.first_panel),
             .num_panels = task.num_panels,
             .depth = weight.depth(),
             .out = result.memory.as<std::byte>() + (first * result.stride + column) * element_bytes,
             .out_stride = result.stride});
  });
  return result;
}

CpuOps::Tensor CpuOps::DownProject(const Operand& x, const Experts& experts,
                                   const ExpertSelection& selection) {
  const PackedMatrix& weight = *experts.down;
  const Precision precision = weight.precision();
  const int64_t hidden = experts.gate_up->in();
  const Tensor result = NewTensor(selection.num_slots(), hidden);
  PlanExperts(selection, experts.down_panels(), weight.panel_bytes());
  const auto product =
      precision == Precision::kFloat32 ? panel_kernels_.linear_f32 : panel_kernels_.linear_bf16;
  pool_.Run(static_cast<int>(expert_tasks_.size()), [&](int i) {
    const ExpertTask& task = expert_tasks_[static_cast<size_t>(i)];
    const int64_t first = selection.slot_begin()[static_cast<size_t>(task.expert)];
    const int64_t column = task.first_panel * kPanelColumns;
    product({.x = RowOf(x.data, first, x.stride, precision),
             .x_stride = x.stride,
             .rows = selection.slot_begin()[static_cast<size_t>(task.expert) + 1] - first,
             .panels = weight.panel(task.expert * experts.down_panels() + task.first_panel),
             .num_panels = task.num_panels,
             .depth = weight.depth(),
             .out = result.row(first) + column,
             .out_stride = result.stride(),
             .columns = std::min(task.num_panels * kPanelColumns, hidden - column)});
  });
  return result;
}

void CpuOps::AddExperts(const Tensor& x, const Experts& experts, const ExpertSelection& selection,
                        Tensor* sum) {
  if (selection.num_slots() == 0) return;
  const Operand inputs = MakeOperand(x, *experts.gate_up, selection.row_of_slot());
  const Tensor results =
      DownProject(GateAndUp(inputs, experts, selection), experts, selection);
  const size_t ranks = static_cast<size_t>(selection.max_ranks());
  result_of_rank_.resize(static_cast<size_t>(sum->rows()) * ranks);
  ForRows(&pool_, sum->rows(), results.columns() * selection.max_ranks(), [&](int64_t row) {
    const std::span<const int32_t> slots = selection.slots_of_row(static_cast<int>(row));
    const float** of_row = result_of_rank_.data() + static_cast<size_t>(row) * ranks;
    for (size_t rank = 0; rank < slots.size(); ++rank) of_row[rank] = results.row(slots[rank]);
    row_kernels_.add_weighted(of_row, selection.weights_of_row(static_cast<int>(row)).data(),
                              static_cast<int>(slots.size()), results.columns(), sum->row(row));
  });
}

}  // namespace olmoe::ops
