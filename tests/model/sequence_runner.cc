#include "tests/model/sequence_runner.h"

#include <algorithm>

#include "glog/logging.h"

namespace olmoe::model {
namespace {

template <typename T>
void Append(std::span<const T> from, std::vector<T>* to) {
  to->insert(to->end(), from.begin(), from.end());
}

// The token after each; after the last one comes token 0, which is scored as well so
// that its row has logits.
std::vector<TokenId> NextTokens(const std::vector<TokenId>& tokens) {
  std::vector<TokenId> next(tokens.begin() + 1, tokens.end());
  next.push_back(0);
  return next;
}

}  // namespace

SequenceRunner::SequenceRunner(LoadOptions options) {
  options.trace_for_testing = &trace_;
  auto model = LoadModel(options);
  CHECK(model.ok()) << model.status();
  model_ = *std::move(model);
  // Far from ascending: neighbours in a sequence are not neighbours in the cache.
  const int num_pages = model_->kv_cache().num_pages;
  for (int i = 0; i < num_pages; i += 2) free_.push_back(i);
  for (int i = num_pages - 1; i > 0; --i) {
    if (i % 2 == 1) free_.push_back(i);
  }
}

std::vector<PageId> SequenceRunner::TakePages(int tokens) {
  const int page_tokens = model_->kv_cache().page_tokens;
  const size_t number = static_cast<size_t>((tokens + page_tokens - 1) / page_tokens);
  CHECK_GE(free_.size(), number);
  const std::vector<PageId> pages(free_.end() - static_cast<ptrdiff_t>(number), free_.end());
  free_.resize(free_.size() - number);
  return pages;
}

void SequenceRunner::Release(const std::vector<PageId>& pages) {
  free_.insert(free_.begin(), pages.begin(), pages.end());
}

std::vector<SequenceResult> SequenceRunner::Run(const std::vector<std::vector<TokenId>>& sequences,
                                                const routing::RoutingPolicy& policy, int chunk,
                                                const RequestPart& part) {
  const size_t num_layers = static_cast<size_t>(info().num_layers);
  std::vector<SequenceResult> results(sequences.size());
  std::vector<std::vector<PageId>> pages;
  std::vector<std::vector<TokenId>> targets;
  size_t longest = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    pages.push_back(TakePages(static_cast<int>(sequences[i].size())));
    targets.push_back(NextTokens(sequences[i]));
    longest = std::max(longest, sequences[i].size());
    results[i].router_logits.resize(num_layers);
    results[i].expert_ids.resize(num_layers);
    results[i].expert_weights.resize(num_layers);
    results[i].hidden_states.resize(num_layers + 1);
  }
  StepOutput output;
  for (size_t first = 0; first < longest; first += static_cast<size_t>(chunk)) {
    StepBatch step;
    std::vector<size_t> sequence_of_chunk;
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (first >= sequences[i].size()) continue;
      const size_t rows = std::min(static_cast<size_t>(chunk), sequences[i].size() - first);
      Chunk& rows_of = step.chunks.emplace_back();
      rows_of.tokens = std::span(sequences[i]).subspan(first, rows);
      rows_of.first_position = static_cast<int>(first);
      rows_of.pages = pages[i];
      rows_of.policy = &policy;
      rows_of.prompt_tokens = part.prompt_tokens;
      rows_of.routing_seed = part.routing_seed;
      rows_of.replay = part.replay;
      rows_of.score = ScoreRequest{std::span(targets[i]).subspan(first, rows), 0};
      rows_of.router_logits = true;
      sequence_of_chunk.push_back(i);
    }
    const absl::Status status = model_->Step(step, &output);
    CHECK(status.ok()) << status;
    Collect(step, sequence_of_chunk, output, &results);
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    results[i].next_logprobs.pop_back();
    results[i].next_ranks.pop_back();
    Release(pages[i]);
  }
  return results;
}

void SequenceRunner::Collect(const StepBatch& step, const std::vector<size_t>& sequence_of_chunk,
                             const StepOutput& output, std::vector<SequenceResult>* results) {
  const size_t experts = static_cast<size_t>(info().num_experts);
  const size_t hidden = static_cast<size_t>(info().hidden_size);
  const size_t vocabulary = static_cast<size_t>(info().vocab_size);
  size_t first_row = 0;
  for (size_t i = 0; i < step.chunks.size(); ++i) {
    const size_t rows = step.chunks[i].tokens.size();
    const ChunkOutput& chunk = output.chunks[i];
    CHECK(chunk.status.ok()) << chunk.status;
    CHECK_EQ(chunk.scored.size(), rows);
    SequenceResult& result = (*results)[sequence_of_chunk[i]];
    for (const ScoredRow& row : chunk.scored) {
      result.next_logprobs.push_back(row.logprob);
      result.next_ranks.push_back(row.rank);
    }
    const auto of_rows = [&](const std::vector<float>& values, size_t width) {
      return std::span(values).subspan(first_row * width, rows * width);
    };
    Append(of_rows(trace_.logits, vocabulary), &result.logits);
    Append(of_rows(trace_.final_norm, hidden), &result.final_norm);
    for (size_t layer = 0; layer < result.hidden_states.size(); ++layer) {
      Append(of_rows(trace_.hidden_states[layer], hidden), &result.hidden_states[layer]);
    }
    for (size_t layer = 0; layer < result.router_logits.size(); ++layer) {
      Append(std::span<const float>(chunk.router_logits)
                 .subspan(layer * rows * experts, rows * experts),
             &result.router_logits[layer]);
      for (size_t row = first_row; row < first_row + rows; ++row) {
        const auto weights = output.routing.weights(static_cast<int>(layer), static_cast<int>(row));
        const auto order = output.routing.experts(static_cast<int>(layer), static_cast<int>(row));
        result.expert_ids[layer].emplace_back(
            order.begin(), order.begin() + static_cast<ptrdiff_t>(weights.size()));
        result.expert_weights[layer].emplace_back(weights.begin(), weights.end());
      }
    }
    first_row += rows;
  }
}

SequenceRunner::Generated SequenceRunner::Generate(const std::vector<TokenId>& prompt, int tokens,
                                                   const routing::RoutingPolicy& policy,
                                                   const SamplingParams& params,
                                                   uint64_t routing_seed) {
  const int total = static_cast<int>(prompt.size()) + tokens;
  const std::vector<PageId> pages = TakePages(total);
  std::vector<TokenId> history = prompt;
  size_t computed = 0;
  Generated generated;
  StepOutput output;
  while (static_cast<int>(history.size()) < total) {
    StepBatch step;
    Chunk& chunk = step.chunks.emplace_back();
    chunk.tokens = std::span(history).subspan(computed);
    chunk.first_position = static_cast<int>(computed);
    chunk.pages = pages;
    chunk.policy = &policy;
    chunk.prompt_tokens = static_cast<int>(prompt.size());
    chunk.routing_seed = routing_seed;
    chunk.sample =
        SampleRequest{params, history, static_cast<int>(history.size()), /*logprob=*/true, 0};
    computed = history.size();
    const absl::Status status = model_->Step(step, &output);
    CHECK(status.ok()) << status;
    CHECK(output.chunks[0].status.ok()) << output.chunks[0].status;
    generated.ids.push_back(output.chunks[0].sampled->token);
    generated.logprobs.push_back(output.chunks[0].sampled->logprob);
    int experts = 0;
    for (int layer = 0; layer < info().num_layers; ++layer) {
      experts += output.routing.applied(layer, output.routing.num_rows() - 1).k;
    }
    generated.experts_used.push_back(experts);
    history.push_back(generated.ids.back());
  }
  Release(pages);
  return generated;
}

}  // namespace olmoe::model
