#ifndef OLMOE_SERVER_MODEL_OLMOE_MODEL_H_
#define OLMOE_SERVER_MODEL_OLMOE_MODEL_H_

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "server/model/config.h"
#include "server/model/load_model.h"
#include "server/model/model.h"
#include "server/model/step_rows.h"
#include "server/model/weights.h"
#include "server/ops/ops.h"

namespace olmoe::model {

// OLMoE (Muennighoff et al. 2024) on one implementation of the operations: a decoder
// with RMSNorm, rotary attention with normed queries and keys, and in every layer a
// router that picks experts for each token. Which experts is the business of the
// RoutingPolicy of each chunk; the model looks nothing up.
// Engine thread only, but for const functions.
template <ops::Operations Ops>
class OlmoeModel : public Model {
 public:
  struct Parts {
    ModelInfo info;
    OlmoeConfig config;
    KvCacheShape kv_cache;
    int max_batch_tokens = 0;
    std::unique_ptr<Ops> ops;
    Weights<Ops> weights;
    std::vector<typename Ops::KvPages> kv_pages;  // [layers]
    StepTrace* trace = nullptr;                   // may be null
  };
  explicit OlmoeModel(Parts parts);

  const ModelInfo& info() const override { return info_; }
  const KvCacheShape& kv_cache() const override { return kv_cache_; }
  absl::StatusOr<std::shared_ptr<const routing::PreparedRouter>> PrepareRouter(
      const std::map<int, routing::RouterWeights>& layers) const override;
  absl::StatusOr<routing::RouterWeights> OwnRouter(int layer) const override;
  absl::Status Step(const StepBatch& step, StepOutput* output) override;

 private:
  using Tensor = typename Ops::Tensor;
  using Batch = typename Ops::Batch;
  using HostRows = typename Ops::HostRows;
  using Matrix = typename Ops::Matrix;

  // What PrepareRouter gives.
  struct Router : public routing::PreparedRouter {
    std::map<int, Matrix> layers;  // [E, H]
  };
  // Router logits of one layer, by row of the step.
  struct RouterLogits {
    std::vector<HostRows> parts;                // the memory of `rows`
    std::vector<std::span<const float>> rows;   // [rows] of [experts]
  };

  // The residual stream after the last layer: float32 [rows, H].
  Tensor Forward(const ops::RowBatch& rows, const StepBatch& step, StepOutput* output);
  void CopyPages(std::span<const StepBatch::PageCopy> copies);
  // `x`: normed, float32 [rows, H]; the result is what the layer adds.
  Tensor Attention(size_t layer, const Tensor& x, const Batch& batch);
  // The weights that rows of `policy` are routed by in `layer`.
  const Matrix& RouterOf(int layer, const routing::RoutingPolicy& policy) const;
  // Every row by its policy's router: one product for all rows of a router. `x`: normed, [rows, H].
  RouterLogits ComputeRouterLogits(int layer, const Tensor& x, const StepBatch& step);
  // Decides every row of `layer` by its policy.
  void Route(int layer, const RouterLogits& logits, const StepBatch& step, StepOutput* output);
  // The decisions alone, into routed_: many rows on all threads.
  void DecideRows(int layer, const RouterLogits& logits, const StepBatch& step);
  // Samples and scores, a block of rows at a time: never [rows, V] at once.
  void Head(const Tensor& x, const StepBatch& step, StepOutput* output);
  void HeadBlock(const Tensor& x, std::span<const LogitRow> rows, const StepBatch& step,
                 StepOutput* output);

  void TraceHidden(const Tensor& x);

  // Constant after construction.
  const ModelInfo info_;
  const OlmoeConfig config_;
  const KvCacheShape kv_cache_;
  const StepLimits limits_;
  const std::unique_ptr<Ops> ops_;
  const Weights<Ops> weights_;
  StepTrace* const trace_;

  // Engine thread only.
  std::vector<typename Ops::KvPages> kv_pages_;  // [layers]
  ops::ExpertSelection selection_;               // of the layer that is computed
  struct RoutedRow {
    routing::RowRouting routing;
    routing::RouteError error;
  };
  std::vector<RoutedRow> routed_;                // of the layer that is computed, by row
};

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_OLMOE_MODEL_H_
