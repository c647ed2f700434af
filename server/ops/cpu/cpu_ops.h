#ifndef OLMOE_SERVER_OPS_CPU_CPU_OPS_H_
#define OLMOE_SERVER_OPS_CPU_CPU_OPS_H_

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/ops/cpu/attention.h"
#include "server/ops/cpu/compute_pool.h"
#include "server/ops/cpu/huge_buffer.h"
#include "server/ops/cpu/isa.h"
#include "server/ops/cpu/packed_matrix.h"
#include "server/ops/cpu/panel_kernels.h"
#include "server/ops/cpu/row_kernels.h"
#include "server/ops/cpu/step_memory.h"
#include "server/ops/expert_selection.h"
#include "server/ops/ops.h"
#include "server/ops/row_batch.h"

namespace olmoe::ops {

// The fast operations for the CPU, on the kernels of one instruction set. Weights are
// packed when they are committed (packed_matrix.h), activations are float32 and rounded
// to bfloat16 where they meet a bfloat16 weight, and the work of an operation is cut into
// tasks of about 128 KiB of weights for one ComputePool. What is committed during Run is
// packed in the background and there when Run returns.
//
// A row's result has the same bits whatever else is in the step, in whatever pages its
// sequence lies and with any number of threads: tasks never share a sum, and the kernels
// keep one order of summation. Different instruction sets do differ.
//
// Engine thread only, but for const functions; the threads of the pool are its own.
class CpuOps {
 public:
  // float32 [rows, columns]. Copies are of the handle, as Columns is of a part.
  class Tensor {
   public:
    Tensor() = default;
    float* row(int64_t i) const { return data_ + i * stride_; }
    int64_t rows() const { return rows_; }
    int64_t columns() const { return columns_; }
    int64_t stride() const { return stride_; }  // from row to row, in floats

   private:
    friend class CpuOps;
    StepMemory::Block memory_;
    float* data_ = nullptr;
    int64_t rows_ = 0, columns_ = 0, stride_ = 0;
  };
  class Vector {  // float32 [size]
   public:
    Vector() = default;
    explicit Vector(int64_t size);
    float* data() const { return memory_ == nullptr ? nullptr : memory_->data(); }
    int64_t size() const { return memory_ == nullptr ? 0 : std::ssize(*memory_); }

   private:
    std::shared_ptr<std::vector<float>> memory_;
  };
  struct Matrix {
    std::shared_ptr<PackedMatrix> weight;  // [out, in]
    Vector bias;                           // [out]; no data: none
  };
  // Panels of all experts one after the other. The intermediate size is padded to whole
  // pairs of panels, so that the product of gate and up is an operand without gaps.
  struct Experts {
    int64_t number = 0, intermediate = 0;
    std::shared_ptr<PackedMatrix> gate_up;  // 16 columns of each in a panel; in = H
    std::shared_ptr<PackedMatrix> down;     // in = I

    int64_t padded_intermediate() const;
    int64_t gate_up_panels() const { return gate_up->num_panels() / number; }  // of one expert
    int64_t down_panels() const { return down->num_panels() / number; }
  };
  struct KvPages {
    std::shared_ptr<HugeBuffer> memory;  // CpuAttention's layout
  };
  struct Batch {
    const RowBatch* rows = nullptr;
  };
  struct Block {
    std::span<float> values = {};      // of a vector or bias; or
    PackedMatrix* matrix = nullptr;    // rows of this
    PackedMatrix::Place place = {};
  };
  class HostRows {
   public:
    explicit HostRows(Tensor rows) : rows_(std::move(rows)) {}
    int num_rows() const { return static_cast<int>(rows_.rows()); }
    std::span<const float> row(int i) const {
      return {rows_.row(i), static_cast<size_t>(rows_.columns())};
    }

   private:
    Tensor rows_;
  };

  // INVALID_ARGUMENT for a device other than "cpu" and for an options.cpu_isa that is
  // unknown or that this machine does not have. Call it before there are other threads:
  // see Supported().
  static absl::StatusOr<std::unique_ptr<CpuOps>> Create(const OpsOptions& options);

  const OpsOptions& options() const { return options_; }
  std::string Name() const { return std::string(IsaName(isa_)); }

  // Memory that an operation has not written is NaN to it.
  void PoisonForTesting();

  Vector NewVector(int64_t size) { return Vector(size); }
  Matrix NewMatrix(int64_t out, int64_t in, Precision precision, bool bias);
  Experts NewExperts(int64_t num_experts, int64_t intermediate, int64_t hidden);
  KvPages NewKvPages();

  Block All(const Vector& vector);
  Block Rows(const Matrix& matrix, int64_t first, int64_t number);
  Block Bias(const Matrix& matrix, int64_t first, int64_t number);
  Block Gate(const Experts& experts, int64_t expert);
  Block Up(const Experts& experts, int64_t expert);
  Block Down(const Experts& experts, int64_t expert);
  Precision PrecisionOf(const Block& block) const;
  void* Stage(const Block& block);
  void Commit(const Block& block);
  absl::StatusOr<Matrix> MakeMatrix(int64_t out, int64_t in, std::span<const float> values) const;
  absl::StatusOr<std::vector<float>> ValuesOf(const Matrix& matrix) const;

  absl::Status Run(const std::function<absl::Status()>& body);
  void ParallelFor(int n, const std::function<void(int)>& task);

  Batch Prepare(const RowBatch& rows);
  Tensor Embed(const Matrix& embedding, const Batch& batch);
  Tensor RmsNorm(const Tensor& x, const Vector& weight);
  Tensor Linear(const Tensor& x, const Matrix& matrix);
  Tensor Columns(const Tensor& x, int64_t first, int64_t number);
  void Clamp(double limit, Tensor* x);
  void Rope(const Batch& batch, Tensor* x);
  void CopyPage(int32_t from, int32_t to, KvPages* pages);
  void StoreKv(const Tensor& keys, const Tensor& values, const Batch& batch, KvPages* pages);
  Tensor Attend(const Tensor& queries, const Batch& batch, const KvPages& pages);
  void Add(const Tensor& x, Tensor* sum);
  void AddExperts(const Tensor& x, const Experts& experts, const ExpertSelection& selection,
                  Tensor* sum);
  Tensor SelectRows(const Tensor& x, std::span<const int32_t> rows);
  HostRows ToHost(const Tensor& x) { return HostRows(x); }

 private:
  // Rows as a product takes them: padded to the depth of the weight, in its precision.
  struct Operand {
    StepMemory::Block memory;
    const void* data = nullptr;
    int64_t stride = 0;  // elements
  };
  // Some panels of a weight, or of one expert's for all of its rows.
  struct Task {
    int64_t expert = 0, first_panel = 0, num_panels = 0;
  };

  CpuOps(const OpsOptions& options, CpuIsa isa);

  Tensor NewTensor(int64_t rows, int64_t columns);
  // Row i is x's row picked[i]; without `picked`, all of them in order.
  Operand MakeOperand(const Tensor& x, const PackedMatrix& weight,
                      std::optional<std::span<const int32_t>> picked);
  void Pack(const Block& block, const HugeBuffer& rows);
  // For every expert that has slots.
  void PlanExperts(const ExpertSelection& selection, int64_t panels, int64_t panel_bytes);
  // Runs `product` for every expert that has slots, whose weight is `panels` panels, one
  // expert's behind the other's. place(first slot, first panel, task) says where results go.
  template <typename Place>
  void MultiplyByExperts(const Operand& x, const PackedMatrix& weight, int64_t panels,
                         const ExpertSelection& selection, PanelKernels::Product product,
                         const Place& place);
  // silu(x G^T) * (x U^T) of every slot, [slots, padded intermediate].
  Operand GateAndUp(const Operand& x, const Experts& experts, const ExpertSelection& selection);
  Tensor DownProject(const Operand& x, const Experts& experts, const ExpertSelection& selection);

  // Constant after construction.
  const OpsOptions options_;
  const CpuIsa isa_;
  const PanelKernels& panel_kernels_;
  const RowKernels& row_kernels_;
  const CpuAttention attention_;
  std::vector<float> rope_cos_, rope_sin_;  // [max_positions, D / 2]

  ComputePool pool_;
  StepMemory memory_;
  HugeBuffer attention_memory_;  // scratch of every thread

  // Loading: one block is written while the one before it is packed.
  bool running_ = false;  // in Run
  HugeBuffer staging_;    // what Stage gave
  HugeBuffer packed_from_;
  std::future<void> packing_;
  std::vector<AttentionTask> attention_tasks_;  // of the batch that was prepared last
  std::vector<Task> tasks_;  // of the phase at hand
  std::vector<const float*> result_of_rank_;  // [rows][max ranks]
};

static_assert(Operations<CpuOps>);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_CPU_OPS_H_
