#include "server/model/olmoe_model.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/model/log_softmax.h"
#include "server/model/sampler.h"
#include "server/ops/aten/aten_ops.h"
#include "server/ops/cpu/cpu_ops.h"

namespace olmoe::model {
namespace {

// Rows whose logits are in memory at once.
constexpr size_t kHeadBlockRows = 64;

// Rows that one task routes. That of so few is done before other threads wake up.
constexpr int kRouteBlockRows = 32;

absl::Status FinishRow(std::span<const float> logits, const LogitRow& row, const Chunk& chunk,
                       ChunkOutput* output) {
  if (row.keep) {
    if (!AllFinite(logits)) return absl::InternalError("head: logits are not finite");
    output->last_logits.assign(logits.begin(), logits.end());
  }
  absl::Status status;
  if (row.sample) status = SampleRow(logits, *chunk.sample, &output->sampled.emplace());
  if (row.scored < 0 || !status.ok()) return status;
  ScoredRow& scored = output->scored[static_cast<size_t>(row.scored)];
  const TokenId target = chunk.score->targets[static_cast<size_t>(scored.row)];
  return ScoreRow(logits, target, chunk.score->top, &scored);
}

// A chunk that failed has no results.
void FailChunk(absl::Status status, ChunkOutput* output) {
  if (!output->status.ok()) return;
  output->status = std::move(status);
  output->sampled.reset();
  output->scored.clear();
  output->last_logits.clear();
}

}  // namespace

template <ops::Operations Ops>
OlmoeModel<Ops>::OlmoeModel(Parts parts)
    : info_(std::move(parts.info)),
      config_(std::move(parts.config)),
      kv_cache_(parts.kv_cache),
      limits_{.max_rows = parts.max_batch_tokens,
              .max_context = info_.max_context,
              .vocab_size = config_.vocab_size,
              .page_tokens = kv_cache_.page_tokens,
              .num_pages = kv_cache_.num_pages,
              .router = config_.router_shape()},
      ops_(std::move(parts.ops)),
      weights_(std::move(parts.weights)),
      trace_(parts.trace),
      kv_pages_(std::move(parts.kv_pages)) {}

template <ops::Operations Ops>
absl::Status OlmoeModel<Ops>::Step(const StepBatch& step, StepOutput* output) {
  const ops::RowBatch rows = BuildRows(step, limits_);
  PrepareOutput(step, config_.num_layers, output);
  if (trace_ != nullptr) *trace_ = StepTrace{};
  if (rows.num_rows() == 0) return absl::OkStatus();
  return ops_->Run([&] {
    CopyPages(step.page_copies);
    Head(Forward(rows, step, output), step, output);
    return absl::OkStatus();
  });
}

template <ops::Operations Ops>
typename Ops::Tensor OlmoeModel<Ops>::Forward(const ops::RowBatch& rows, const StepBatch& step,
                                              StepOutput* output) {
  const Batch batch = ops_->Prepare(rows);
  Tensor x = ops_->Embed(weights_.embedding, batch);
  TraceHidden(x);
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    const size_t index = static_cast<size_t>(layer);
    const LayerWeights<Ops>& weights = weights_.layers[index];
    ops_->Add(Attention(index, ops_->RmsNorm(x, weights.attention_norm), batch), &x);

    const Tensor normed = ops_->RmsNorm(x, weights.expert_norm);
    Route(layer, ComputeRouterLogits(layer, normed, step), step, output);
    selection_.Build(output->routing, layer, config_.num_experts);
    ops_->AddExperts(normed, weights.experts, selection_, &x);
    TraceHidden(x);
  }
  return x;
}

template <ops::Operations Ops>
void OlmoeModel<Ops>::CopyPages(std::span<const StepBatch::PageCopy> copies) {
  if (copies.empty()) return;
  ops_->ParallelFor(config_.num_layers, [&](int layer) {
    for (const StepBatch::PageCopy& copy : copies) {
      ops_->CopyPage(copy.from, copy.to, &kv_pages_[static_cast<size_t>(layer)]);
    }
  });
}

template <ops::Operations Ops>
typename Ops::Tensor OlmoeModel<Ops>::Attention(size_t layer, const Tensor& x, const Batch& batch) {
  const LayerWeights<Ops>& weights = weights_.layers[layer];
  const int64_t query = int64_t{config_.num_heads} * config_.head_size;
  const int64_t key_value = int64_t{config_.num_kv_heads} * config_.head_size;
  const Tensor qkv = ops_->Linear(x, weights.qkv);
  Tensor q = ops_->RmsNorm(ops_->Columns(qkv, 0, query), weights.query_norm);
  Tensor k = ops_->RmsNorm(ops_->Columns(qkv, query, key_value), weights.key_norm);
  Tensor v = ops_->Columns(qkv, query + key_value, key_value);
  if (config_.clip_qkv.has_value()) {
    for (Tensor* projection : {&q, &k, &v}) ops_->Clamp(*config_.clip_qkv, projection);
  }
  ops_->Rope(batch, &q);
  ops_->Rope(batch, &k);
  ops_->StoreKv(k, v, batch, &kv_pages_[layer]);
  return ops_->Linear(ops_->Attend(q, batch, kv_pages_[layer]), weights.output);
}

template <ops::Operations Ops>
absl::StatusOr<std::shared_ptr<const routing::PreparedRouter>> OlmoeModel<Ops>::PrepareRouter(
    const std::map<int, routing::RouterWeights>& layers) const {
  auto router = std::make_shared<Router>();
  for (const auto& [layer, weights] : layers) {
    CHECK(layer >= 0 && layer < config_.num_layers);
    absl::StatusOr<Matrix> matrix =
        std::as_const(*ops_).MakeMatrix(config_.num_experts, config_.hidden_size, weights.Values());
    if (!matrix.ok()) return matrix.status();
    router->layers.emplace(layer, *std::move(matrix));
  }
  return router;
}

template <ops::Operations Ops>
absl::StatusOr<routing::RouterWeights> OlmoeModel<Ops>::OwnRouter(int layer) const {
  const absl::StatusOr<std::vector<float>> values =
      std::as_const(*ops_).ValuesOf(weights_.layers[static_cast<size_t>(layer)].router);
  if (!values.ok()) return values.status();
  return routing::RouterWeights(*values);
}

template <ops::Operations Ops>
const typename Ops::Matrix& OlmoeModel<Ops>::RouterOf(int layer,
                                                      const routing::RoutingPolicy& policy) const {
  if (policy.router() != nullptr && policy.router()->has_layer(layer)) {
    const auto* own = dynamic_cast<const Router*>(policy.router()->prepared());
    CHECK(own != nullptr) << "this model has not prepared router " << policy.router()->name();
    return own->layers.at(layer);
  }
  return weights_.layers[static_cast<size_t>(layer)].router;
}

template <ops::Operations Ops>
typename OlmoeModel<Ops>::RouterLogits OlmoeModel<Ops>::ComputeRouterLogits(int layer,
                                                                            const Tensor& x,
                                                                            const StepBatch& step) {
  struct Group {
    const Matrix* router;
    std::vector<int32_t> rows;  // ascending
  };
  std::vector<Group> groups;
  int32_t end = 0;
  for (const Chunk& chunk : step.chunks) {
    const Matrix* router = &RouterOf(layer, *chunk.policy);
    auto group = std::find_if(groups.begin(), groups.end(),
                              [router](const Group& each) { return each.router == router; });
    if (group == groups.end()) group = groups.insert(group, {router, {}});
    for (size_t i = 0; i < chunk.tokens.size(); ++i) group->rows.push_back(end++);
  }
  RouterLogits logits;
  logits.rows.resize(static_cast<size_t>(end));
  for (const Group& group : groups) {
    const Tensor part = groups.size() == 1 ? x : ops_->SelectRows(x, group.rows);
    const HostRows& host =
        logits.parts.emplace_back(ops_->ToHost(ops_->Linear(part, *group.router)));
    for (size_t i = 0; i < group.rows.size(); ++i) {
      logits.rows[static_cast<size_t>(group.rows[i])] = host.row(static_cast<int>(i));
    }
  }
  return logits;
}

template <ops::Operations Ops>
void OlmoeModel<Ops>::DecideRows(int layer, const RouterLogits& logits, const StepBatch& step) {
  struct Block {
    const Chunk* chunk;
    int first_row;  // of the step
    int begin, end;  // rows of the chunk
  };
  std::vector<Block> blocks;
  int first_row = 0;
  for (const Chunk& chunk : step.chunks) {
    const int rows = static_cast<int>(chunk.tokens.size());
    for (int begin = 0; begin < rows; begin += kRouteBlockRows) {
      blocks.push_back({&chunk, first_row, begin, std::min(begin + kRouteBlockRows, rows)});
    }
    first_row += rows;
  }
  routed_.resize(static_cast<size_t>(first_row));
  const auto decide = [&](int i) {
    const Block& block = blocks[static_cast<size_t>(i)];
    for (int row = block.begin; row < block.end; ++row) {
      RoutedRow& routed = routed_[static_cast<size_t>(block.first_row + row)];
      routed.error = block.chunk->Route(
          row, layer, logits.rows[static_cast<size_t>(block.first_row + row)], &routed.routing);
    }
  };
  const int num_blocks = static_cast<int>(blocks.size());
  if (first_row > kRouteBlockRows) {
    ops_->ParallelFor(num_blocks, decide);
  } else {
    for (int i = 0; i < num_blocks; ++i) decide(i);
  }
}

template <ops::Operations Ops>
void OlmoeModel<Ops>::Route(int layer, const RouterLogits& logits, const StepBatch& step,
                            StepOutput* output) {
  DecideRows(layer, logits, step);
  int row = 0;
  for (size_t i = 0; i < step.chunks.size(); ++i) {
    const Chunk& chunk = step.chunks[i];
    ChunkOutput& result = output->chunks[i];
    for (const int end = row + static_cast<int>(chunk.tokens.size()); row < end; ++row) {
      const std::span<const float> of_row = logits.rows[static_cast<size_t>(row)];
      if (chunk.router_logits) {
        result.router_logits.insert(result.router_logits.end(), of_row.begin(), of_row.end());
      }
      // A row that cannot be routed goes on without experts: its results are void, and
      // the rows of other chunks do not see it.
      const RoutedRow& routed = routed_[static_cast<size_t>(row)];
      if (routed.error == routing::RouteError::kNone) {
        output->routing.Add(routed.routing);
      } else {
        output->routing.AddFailed();
        FailChunk(
            absl::InternalError(absl::StrCat("layer ", layer, ": router logits are not finite")),
            &result);
      }
    }
  }
}

template <ops::Operations Ops>
void OlmoeModel<Ops>::Head(const Tensor& x, const StepBatch& step, StepOutput* output) {
  const std::vector<LogitRow> rows = CollectLogitRows(step, *output);
  for (size_t first = 0; first < rows.size(); first += kHeadBlockRows) {
    const size_t number = std::min(kHeadBlockRows, rows.size() - first);
    HeadBlock(x, std::span<const LogitRow>(rows).subspan(first, number), step, output);
  }
}

template <ops::Operations Ops>
void OlmoeModel<Ops>::HeadBlock(const Tensor& x, std::span<const LogitRow> rows,
                                const StepBatch& step, StepOutput* output) {
  std::vector<int32_t> picked;
  for (const LogitRow& row : rows) picked.push_back(row.row);
  const Tensor normed = ops_->RmsNorm(ops_->SelectRows(x, picked), weights_.final_norm);
  const HostRows logits = ops_->ToHost(ops_->Linear(normed, weights_.head));
  std::vector<absl::Status> statuses(rows.size());
  ops_->ParallelFor(static_cast<int>(rows.size()), [&](int i) {
    const LogitRow& row = rows[static_cast<size_t>(i)];
    statuses[static_cast<size_t>(i)] =
        FinishRow(logits.row(i), row, step.chunks[row.chunk], &output->chunks[row.chunk]);
  });
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!statuses[i].ok()) FailChunk(statuses[i], &output->chunks[rows[i].chunk]);
  }
  if (trace_ == nullptr) return;
  const HostRows final_norm = ops_->ToHost(normed);
  for (int i = 0; i < static_cast<int>(rows.size()); ++i) {
    const auto append = [](std::span<const float> from, std::vector<float>* to) {
      to->insert(to->end(), from.begin(), from.end());
    };
    append(final_norm.row(i), &trace_->final_norm);
    append(logits.row(i), &trace_->logits);
  }
}

template <ops::Operations Ops>
void OlmoeModel<Ops>::TraceHidden(const Tensor& x) {
  if (trace_ == nullptr) return;
  const HostRows rows = ops_->ToHost(x);
  std::vector<float>& hidden = trace_->hidden_states.emplace_back();
  for (int row = 0; row < rows.num_rows(); ++row) {
    hidden.insert(hidden.end(), rows.row(row).begin(), rows.row(row).end());
  }
}

template class OlmoeModel<ops::AtenOps>;
template class OlmoeModel<ops::CpuOps>;

}  // namespace olmoe::model
