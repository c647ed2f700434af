#ifndef OLMOE_SERVER_OPS_ATEN_ATEN_OPS_H_
#define OLMOE_SERVER_OPS_ATEN_ATEN_OPS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/ops/expert_selection.h"
#include "server/ops/ops.h"
#include "server/ops/row_batch.h"

namespace olmoe::ops {

// The reference operations, by ATen: float32 or bfloat16, on any device that ATen
// has. The host decides the routing, so logits come to it and indices go back once
// a layer. What is done for the CPU only is in cpu_matmul.h and weight_memory.h.
// Engine thread only, but for const functions.
class AtenOps {
 public:
  using Tensor = at::Tensor;  // float32 or compute dtype, [rows, n]
  using Vector = at::Tensor;  // float32 [n]
  struct Matrix {
    at::Tensor weight;  // [out, in], compute dtype or float32
    at::Tensor bias;    // [out], the same dtype; undefined: none
  };
  struct Experts {           // compute dtype
    at::Tensor gate_up;      // [E, 2 I, H]: the gate's rows, then those of up
    at::Tensor down;         // [E, H, I]
  };
  struct KvPages {           // compute dtype
    at::Tensor keys;         // [num_pages, kv_heads, page_tokens, D]
    at::Tensor values;       // [num_pages, kv_heads, page_tokens, D]
  };
  using Block = at::Tensor;  // contiguous part of a weight
  struct Batch {
    struct Sequence {
      SequenceRows rows;
      at::Tensor pages;      // int64 [pages that hold a position]
    };
    at::Tensor tokens;       // int64 [rows]
    at::Tensor cos, sin;     // float32 [rows, 1, D / 2], of the positions of the rows
    at::Tensor page;         // int64 [rows], where the keys and values of a row go
    at::Tensor offset;       // int64 [rows], inside that page
    std::vector<Sequence> sequences;
  };
  // Keeps the memory that the spans show.
  class HostRows {
   public:
    explicit HostRows(at::Tensor rows);  // float32 [rows, n], on the host, contiguous
    int num_rows() const { return static_cast<int>(rows_.size(0)); }
    std::span<const float> row(int i) const;

   private:
    at::Tensor rows_;
  };

  // Errors: INVALID_ARGUMENT for a device that this LibTorch does not have. Sets
  // ATen's and OpenBLAS' thread counts of the whole process.
  static absl::StatusOr<std::unique_ptr<AtenOps>> Create(const OpsOptions& options);

  const OpsOptions& options() const { return options_; }
  std::string Name() const { return "aten"; }

  Vector NewVector(int64_t size);
  Matrix NewMatrix(int64_t out, int64_t in, Precision precision, bool bias);
  Experts NewExperts(int64_t num_experts, int64_t intermediate, int64_t hidden);
  KvPages NewKvPages();

  Block All(const Vector& vector) { return vector; }
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
  HostRows ToHost(const Tensor& x);

 private:
  AtenOps(const OpsOptions& options, at::Device device);

  at::ScalarType compute_type() const;
  at::TensorOptions Options(at::ScalarType type) const;
  at::Tensor ToDevice(std::span<const int64_t> values) const;
  void BuildRopeTable();

  // One sequence of Attend. `keys`, `values`: float32 [kv_heads, context, D];
  // `queries` and `result`: float32 [rows of the sequence, heads * D].
  void AttendSequence(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                      int first_position, at::Tensor result) const;
  at::Tensor GatherContext(const at::Tensor& pages_of_layer, const at::Tensor& pages,
                           int64_t context) const;
  // One row per slot, and a last row of zeros; compute dtype [slots + 1, H].
  at::Tensor RunExperts(const Tensor& x, const Experts& experts, const ExpertSelection& selection);

  // Constant after construction.
  const OpsOptions options_;
  const at::Device device_;
  at::Tensor rope_cos_, rope_sin_;  // float32 [max_positions, D / 2]
  at::Tensor future_;               // bool [kQueryBlock, kQueryBlock], true above the diagonal

  at::Tensor staging_;  // on the host; what Stage gave, where the weights are elsewhere
};

static_assert(Operations<AtenOps>);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ATEN_ATEN_OPS_H_
