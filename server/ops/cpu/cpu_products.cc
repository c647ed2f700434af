// The products of CpuOps: Linear and the experts.
//
// An operation makes its operand once, rounded and padded, and then hands out panels of
// the weight: a task is some neighbouring panels, for all rows. So weights stream from
// memory in order, by all threads together, and each is read once. Where a task begins,
// memory is cold: tasks are long, and get short as the phase ends, so that no thread
// waits long for the last one.
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

// Of weights. With many rows a task also reads them from the cache, and reads its x.
constexpr int64_t kShortestTaskBytes = 128 << 10;
constexpr int64_t kLongestTaskBytes = 512 << 10;
constexpr int64_t kManyRows = 32;
constexpr int64_t kLongestOfManyRows = 1 << 20;
// Rows of a task, where there are too few panels to occupy all threads.
constexpr int64_t kRowsUnit = 32;
constexpr int64_t kTasksPerThread = 4;
// Between rows of an operand, so that neighbouring rows do not fall into the same sets
// of the caches where the depth is a power of two.
constexpr int64_t kGapBytes = 64;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t Divide(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

// Cuts the panels of a phase into tasks. One thread.
class TaskCutter {
 public:
  TaskCutter(int threads, int64_t panels, int64_t panel_bytes)
      : parts_(threads * kTasksPerThread), panels_(panels), panel_bytes_(panel_bytes) {}

  // How many panels the next task has, for `rows` rows: 1 .. `most`. Even or 1, for two
  // panels of gates make a cache line of results.
  int64_t Next(int64_t rows, int64_t most) {
    const int64_t longest = rows > kManyRows ? kLongestOfManyRows : kLongestTaskBytes;
    const int64_t bytes = std::clamp(panels_ * panel_bytes_ / parts_, kShortestTaskBytes, longest);
    int64_t number = std::clamp<int64_t>(bytes / panel_bytes_, 1, most);
    if (number > 1 && number < most) number -= number % 2;
    panels_ -= number;
    return number;
  }

 private:
  int64_t parts_;
  int64_t panels_;  // left
  int64_t panel_bytes_;
};

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
  const int64_t panels = weight.num_panels();
  TaskCutter cutter(pool_.threads(), panels, weight.panel_bytes());
  tasks_.clear();
  for (int64_t panel = 0; panel < panels; panel += tasks_.back().num_panels) {
    tasks_.push_back({0, panel, cutter.Next(x.rows(), panels - panel)});
  }
  const int64_t row_tasks =
      std::clamp<int64_t>(Divide(pool_.threads() * kTasksPerThread, std::ssize(tasks_)), 1,
                          std::max<int64_t>(1, x.rows() / kRowsUnit));
  const auto product =
      precision == Precision::kFloat32 ? panel_kernels_.linear_f32 : panel_kernels_.linear_bf16;
  pool_.Run(static_cast<int>(std::ssize(tasks_) * row_tasks), [&](int i) {
    const Task& task = tasks_[static_cast<size_t>(i / row_tasks)];
    const int64_t first_column = task.first_panel * kPanelColumns;
    const int64_t part = i % row_tasks;
    const int64_t first_row = x.rows() * part / row_tasks;
    product({.x = RowOf(operand.data, first_row, operand.stride, precision),
             .x_stride = operand.stride,
             .rows = x.rows() * (part + 1) / row_tasks - first_row,
             .panels = weight.panel(task.first_panel),
             .num_panels = task.num_panels,
             .depth = weight.depth(),
             .out = result.row(first_row) + first_column,
             .out_stride = result.stride(),
             .columns = std::min(task.num_panels * kPanelColumns, weight.out() - first_column),
             .bias = matrix.bias.size() > 0 ? matrix.bias.data() + first_column : nullptr});
  });
  return result;
}

void CpuOps::PlanExperts(const ExpertSelection& selection, int64_t panels, int64_t panel_bytes) {
  const std::span<const int32_t> begin = selection.slot_begin();
  const auto rows_of = [&](int64_t expert) {
    return begin[static_cast<size_t>(expert) + 1] - begin[static_cast<size_t>(expert)];
  };
  int64_t used = 0;
  for (int64_t expert = 0; expert < selection.num_experts(); ++expert) used += rows_of(expert) > 0;
  TaskCutter cutter(pool_.threads(), used * panels, panel_bytes);
  tasks_.clear();
  for (int64_t expert = 0; expert < selection.num_experts(); ++expert) {
    const int64_t rows = rows_of(expert);
    if (rows == 0) continue;
    for (int64_t panel = 0; panel < panels; panel += tasks_.back().num_panels) {
      tasks_.push_back({expert, panel, cutter.Next(rows, panels - panel)});
    }
  }
}

template <typename Place>
void CpuOps::MultiplyByExperts(const Operand& x, const PackedMatrix& weight, int64_t panels,
                               const ExpertSelection& selection, PanelKernels::Product product,
                               const Place& place) {
  PlanExperts(selection, panels, weight.panel_bytes());
  pool_.Run(static_cast<int>(tasks_.size()), [&](int i) {
    const Task& task = tasks_[static_cast<size_t>(i)];
    const int64_t first_slot = selection.slot_begin()[static_cast<size_t>(task.expert)];
    PanelTask panel_task = {
        .x = RowOf(x.data, first_slot, x.stride, weight.precision()),
        .x_stride = x.stride,
        .rows = selection.slot_begin()[static_cast<size_t>(task.expert) + 1] - first_slot,
        .panels = weight.panel(task.expert * panels + task.first_panel),
        .num_panels = task.num_panels,
        .depth = weight.depth()};
    place(first_slot, task.first_panel, &panel_task);
    product(panel_task);
  });
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
  MultiplyByExperts(
      x, weight, experts.gate_up_panels(), selection,
      precision == Precision::kFloat32 ? panel_kernels_.swiglu_f32 : panel_kernels_.swiglu_bf16,
      [&](int64_t first_slot, int64_t first_panel, PanelTask* task) {
        const int64_t column = first_panel * kGateColumns;
        task->out =
            result.memory.as<std::byte>() + (first_slot * result.stride + column) * element_bytes;
        task->out_stride = result.stride;
      });
  return result;
}

CpuOps::Tensor CpuOps::DownProject(const Operand& x, const Experts& experts,
                                   const ExpertSelection& selection) {
  const PackedMatrix& weight = *experts.down;
  const int64_t hidden = experts.gate_up->in();
  const Tensor result = NewTensor(selection.num_slots(), hidden);
  MultiplyByExperts(x, weight, experts.down_panels(), selection,
                    weight.precision() == Precision::kFloat32 ? panel_kernels_.linear_f32
                                                              : panel_kernels_.linear_bf16,
                    [&](int64_t first_slot, int64_t first_panel, PanelTask* task) {
                      const int64_t column = first_panel * kPanelColumns;
                      task->out = result.row(first_slot) + column;
                      task->out_stride = result.stride();
                      task->columns = std::min(task->num_panels * kPanelColumns, hidden - column);
                    });
  return result;
}

void CpuOps::AddExperts(const Tensor& x, const Experts& experts, const ExpertSelection& selection,
                        Tensor* sum) {
  if (selection.num_slots() == 0) return;
  const Operand inputs = MakeOperand(x, *experts.gate_up, selection.row_of_slot());
  const Tensor results = DownProject(GateAndUp(inputs, experts, selection), experts, selection);
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
