// The operations of the forward pass, behind one small interface: the same
// OlmoeModel::Forward runs on every implementation of it. An implementation is a
// class that satisfies `Operations`; it is chosen at compile time as the template
// argument of OlmoeModel. aten/aten_ops.h is the reference, cpu/cpu_ops.h the fast one.
//
// Rules that hold for every implementation:
//  * The residual stream, norms, rope, attention logits and softmax, and whatever
//    a float32 Matrix gives are float32. Only the operands of products with a
//    bfloat16 weight, and keys and values, are bfloat16; the results of such products
//    may be.
//  * No row of a result depends on the values of another sequence's rows, not even
//    on NaN or Inf there.
//  * The experts of a row are summed in rank order, so the sum does not depend on
//    what other rows selected.
//  * Called by one thread, the engine's, but for const functions; the implementation makes it many.
#ifndef OLMOE_SERVER_OPS_OPS_H_
#define OLMOE_SERVER_OPS_OPS_H_

#include <concepts>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/ops/expert_selection.h"
#include "server/ops/row_batch.h"

namespace olmoe::ops {

enum class Precision { kFloat32, kBFloat16 };

inline int64_t BytesPerElement(Precision precision) {
  return precision == Precision::kFloat32 ? 4 : 2;
}

// What the operations have to know about the model, and what they run on.
struct OpsOptions {
  std::string device = "cpu";
  std::string cpu_isa = "auto";  // of CpuOps: IsaName of one, or "auto" for the best
  int threads = 1;
  Precision compute = Precision::kFloat32;  // of weights and of keys and values
  int num_heads = 0;
  int num_kv_heads = 0;  // query head h uses kv head h / (num_heads / num_kv_heads)
  int head_size = 0;  // D, even
  int max_positions = 0;
  double rope_theta = 0;
  double rms_norm_eps = 0;
  int page_tokens = 0;  // positions of one page of the KV cache
  int num_pages = 0;
};

// Tensor:  activations, [rows of the step, n].
// Vector:  float32 [n].
// Matrix:  weight [out, in] and perhaps a bias [out].
// Experts: the SwiGLU experts of one layer: gate and up [I, H], down [H, I] each.
// KvPages: keys and values of one layer, addressed by page.
// Batch:   a RowBatch on the device.
// Block:   the part of a weight that one tensor of a checkpoint fills.
// HostRows: float32 rows that the host can read: row(i) is a span<const float>.
template <typename T>
concept Operations = requires(T ops, const T& constant, int64_t n, Precision precision,
                              const RowBatch& rows, std::span<const int32_t> picked,
                              std::span<const float> values, const ExpertSelection& selection,
                              std::function<void(int)> task, std::function<absl::Status()> body,
                              typename T::Tensor tensor, const typename T::Tensor& x,
                              const typename T::Vector& vector, const typename T::Matrix& matrix,
                              const typename T::Experts& experts, typename T::KvPages pages,
                              const typename T::Batch& batch, const typename T::Block& block) {
  // Weights, not initialized. `bias`: whether the matrix has one.
  { ops.NewVector(n) } -> std::same_as<typename T::Vector>;
  { ops.NewMatrix(n, n, precision, /*bias=*/true) } -> std::same_as<typename T::Matrix>;
  { ops.NewExperts(n, n, n) } -> std::same_as<typename T::Experts>;  // E, I, H
  { ops.NewKvPages() } -> std::same_as<typename T::KvPages>;
  // Filling them: Stage gives memory for the whole block, row-major, in
  // PrecisionOf(block); after Commit, and after Run where it was called in there, the
  // block holds what was written. One block is staged at a time.
  { ops.All(vector) } -> std::same_as<typename T::Block>;
  { ops.Rows(matrix, n, n) } -> std::same_as<typename T::Block>;  // first, number
  { ops.Bias(matrix, n, n) } -> std::same_as<typename T::Block>;  // first, number
  { ops.Gate(experts, n) } -> std::same_as<typename T::Block>;  // of this expert
  { ops.Up(experts, n) } -> std::same_as<typename T::Block>;
  { ops.Down(experts, n) } -> std::same_as<typename T::Block>;
  { ops.PrecisionOf(block) } -> std::same_as<Precision>;
  { ops.Stage(block) } -> std::same_as<void*>;
  { ops.Commit(block) };
  // A float32 matrix [out, in] without bias, of row-major values, and back; on any thread, while
  // others compute. RESOURCE_EXHAUSTED for memory.
  { constant.MakeMatrix(n, n, values) } -> std::same_as<absl::StatusOr<typename T::Matrix>>;
  { constant.ValuesOf(matrix) } -> std::same_as<absl::StatusOr<std::vector<float>>>;

  // What computes, for people: "aten", "amx".
  { ops.Name() } -> std::same_as<std::string>;

  // Runs a step or a load; what the libraries below throw becomes its status:
  // RESOURCE_EXHAUSTED for memory, INTERNAL for the rest.
  { ops.Run(body) } -> std::same_as<absl::Status>;
  // task(i) for 0 <= i < n, on the host, in any order.
  { ops.ParallelFor(1, task) };

  { ops.Prepare(rows) } -> std::same_as<typename T::Batch>;
  { ops.Embed(matrix, batch) } -> std::same_as<typename T::Tensor>;  // float32 [rows, H]
  { ops.RmsNorm(x, vector) } -> std::same_as<typename T::Tensor>;  // float32
  { ops.Linear(x, matrix) } -> std::same_as<typename T::Tensor>;  // x W^T + b
  { ops.Columns(x, n, n) } -> std::same_as<typename T::Tensor>;  // first, number
  { ops.Clamp(1.0, &tensor) };  // to [-limit, limit]
  { ops.Rope(batch, &tensor) };  // rotates the two halves of every head
  { ops.CopyPage(1, 2, &pages) };  // from, to: all keys and values of a page
  { ops.StoreKv(x, x, batch, &pages) };  // keys and values of the rows of the step
  // Causal attention of every row over its sequence: queries [rows, heads * D].
  { ops.Attend(x, batch, pages) } -> std::same_as<typename T::Tensor>;
  { ops.Add(x, &tensor) };  // tensor += x
  // tensor[row] += sum over ranks of weight * expert(x[row]).
  { ops.AddExperts(x, experts, selection, &tensor) };
  { ops.SelectRows(x, picked) } -> std::same_as<typename T::Tensor>;
  { ops.ToHost(x) } -> std::same_as<typename T::HostRows>;
};

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_OPS_H_
