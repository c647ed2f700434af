#ifndef OLMOE_SERVER_MODEL_OLMOE_MODEL_H_
#define OLMOE_SERVER_MODEL_OLMOE_MODEL_H_

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
// Engine thread only, but for info() and kv_cache(), which are constant.
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
  absl::Status Step(const StepBatch& step, StepOutput* output) override;

 private:
  using Tensor = typename Ops::Tensor;
  using Batch = typename Ops::Batch;
  using HostRows = typename Ops::HostRows;

  // The residual stream after the last layer: float32 [rows, H].
  Tensor Forward(const ops::RowBatch& rows, const StepBatch& step, StepOutput* output);
  // `x`: normed, float32 [rows, H]; the result is what the layer adds.
  Tensor Attention(size_t layer, const Tensor& x, const Batch& batch);
  // Decides every row of `layer` by its policy; `logits`: [rows][experts].
  void Route(int layer, const HostRows& logits, const StepBatch& step, StepOutput* output);
  // The decisions alone, into routed_: many rows on all threads.
  void DecideRows(int layer, const HostRows& logits, const StepBatch& step);
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
