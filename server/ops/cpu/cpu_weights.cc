// The weights of CpuOps: their memory, and how blocks of a checkpoint come into it.
#include <algorithm>
#include <future>
#include <new>
#include <utility>

#include "glog/logging.h"
#include "server/ops/cpu/cpu_ops.h"
#include "server/ops/cpu/panel_task.h"

namespace olmoe::ops {
namespace {

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

CpuOps::Vector::Vector(int64_t size)
    : memory_(std::make_shared<std::vector<float>>(static_cast<size_t>(size))) {}

int64_t CpuOps::Experts::padded_intermediate() const {
  return RoundUp(intermediate, 2 * kGateColumns);
}

CpuOps::Matrix CpuOps::NewMatrix(int64_t out, int64_t in, Precision precision, bool bias) {
  return {std::make_shared<PackedMatrix>(out, in, precision), bias ? Vector(out) : Vector()};
}

CpuOps::Experts CpuOps::NewExperts(int64_t num_experts, int64_t intermediate, int64_t hidden) {
  Experts experts;
  experts.number = num_experts;
  experts.intermediate = intermediate;
  experts.gate_up = std::make_shared<PackedMatrix>(num_experts * 2 * experts.padded_intermediate(),
                                                   hidden, options_.compute);
  experts.down = std::make_shared<PackedMatrix>(num_experts * RoundUp(hidden, kPanelColumns),
                                                intermediate, options_.compute);
  return experts;
}

CpuOps::KvPages CpuOps::NewKvPages() {
  return {std::make_shared<HugeBuffer>(attention_.page_bytes() *
                                       static_cast<size_t>(options_.num_pages))};
}

CpuOps::Block CpuOps::All(const Vector& vector) {
  return {.values = {vector.data(), static_cast<size_t>(vector.size())}};
}

CpuOps::Block CpuOps::Bias(const Matrix& matrix, int64_t first, int64_t number) {
  return {
      .values =
          All(matrix.bias).values.subspan(static_cast<size_t>(first), static_cast<size_t>(number))};
}

CpuOps::Block CpuOps::Rows(const Matrix& matrix, int64_t first, int64_t number) {
  return {.matrix = matrix.weight.get(),
          .place = {.first_row = first, .number = number, .group = kPanelColumns}};
}

CpuOps::Block CpuOps::Gate(const Experts& experts, int64_t expert) {
  return {.matrix = experts.gate_up.get(),
          .place = {.first_panel = expert * experts.gate_up_panels(),
                    .number = experts.intermediate,
                    .group = kGateColumns}};
}

CpuOps::Block CpuOps::Up(const Experts& experts, int64_t expert) {
  Block block = Gate(experts, expert);
  block.place.offset = kGateColumns;
  return block;
}

CpuOps::Block CpuOps::Down(const Experts& experts, int64_t expert) {
  return {.matrix = experts.down.get(),
          .place = {.first_panel = expert * experts.down_panels(),
                    .number = experts.gate_up->in(),
                    .group = kPanelColumns}};
}

Precision CpuOps::PrecisionOf(const Block& block) const {
  return block.matrix == nullptr ? Precision::kFloat32 : block.matrix->precision();
}

void* CpuOps::Stage(const Block& block) {
  if (block.matrix == nullptr) return block.values.data();
  const size_t bytes = static_cast<size_t>(block.place.number * block.matrix->in() *
                                           BytesPerElement(block.matrix->precision()));
  if (staging_.bytes() < bytes) {
    staging_ = HugeBuffer();  // before the next one is taken
    staging_ = HugeBuffer(bytes);
  }
  return staging_.data();
}

void CpuOps::Commit(const Block& block) {
  if (block.matrix == nullptr) return;
  if (!running_) return Pack(block, staging_);
  if (packing_.valid()) packing_.get();  // the block before
  std::swap(staging_, packed_from_);
  packing_ = std::async(std::launch::async, [this, block] { Pack(block, packed_from_); });
}

void CpuOps::Pack(const Block& block, const HugeBuffer& rows) {
  for (int64_t panel = block.place.begin(); panel < block.place.end(); ++panel) {
    block.matrix->PackPanel(rows.data(), block.place, panel);
  }
}

absl::StatusOr<CpuOps::Matrix> CpuOps::MakeMatrix(int64_t out, int64_t in,
                                                  std::span<const float> values) const {
  CHECK_EQ(std::ssize(values), out * in);
  try {
    Matrix matrix{std::make_shared<PackedMatrix>(out, in, Precision::kFloat32), Vector()};
    const PackedMatrix::Place place = {.number = out, .group = kPanelColumns};
    for (int64_t panel = place.begin(); panel < place.end(); ++panel) {
      matrix.weight->PackPanel(values.data(), place, panel);
    }
    return matrix;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  }
}

absl::StatusOr<std::vector<float>> CpuOps::ValuesOf(const Matrix& matrix) const {
  const PackedMatrix& weight = *matrix.weight;
  std::vector<float> values(static_cast<size_t>(weight.out() * weight.in()));
  for (int64_t row = 0; row < weight.out(); ++row) {
    weight.UnpackRow(row, values.data() + row * weight.in());
  }
  return values;
}

}  // namespace olmoe::ops
