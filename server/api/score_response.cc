#include "server/api/score_response.h"

#include <cstddef>
#include <numeric>
#include <span>
#include <utility>

#include "glog/logging.h"
#include "server/api/conversions.h"

namespace olmoe::api {
namespace {

template <class T>
void EraseFront(size_t count, std::vector<T>* values) {
  values->erase(values->begin(), values->begin() + static_cast<ptrdiff_t>(count));
}

// The windows of one item as one trace: a position that a later window repeats as
// context is kept only where its successor was scored.
void AppendTrace(engine::RoutingTrace window, size_t num_scored, bool first,
                 engine::RoutingTrace* trace) {
  if (first) {
    *trace = std::move(window);
    return;
  }
  DropFirstPositions(window.num_positions - static_cast<int>(num_scored), &window);
  window.first_position = trace->first_position + trace->num_positions;
  trace->Append(std::move(window));
}

}  // namespace

void DropFirstPositions(int positions, engine::RoutingTrace* trace) {
  if (positions <= 0 || trace->num_positions == 0) return;
  const size_t share = static_cast<size_t>(positions);
  const size_t all = static_cast<size_t>(trace->num_positions);
  CHECK_LE(share, all);
  const size_t rows = share * static_cast<size_t>(trace->num_layers);
  if (!trace->counts.empty()) {
    const size_t slots = std::accumulate(
        trace->counts.begin(), trace->counts.begin() + static_cast<ptrdiff_t>(rows), size_t{0});
    EraseFront(rows, &trace->counts);
    EraseFront(slots, &trace->experts);
    if (!trace->weights.empty()) EraseFront(slots, &trace->weights);
  }
  EraseFront(trace->logits.size() / all * share, &trace->logits);
  trace->first_position += positions;
  trace->num_positions -= positions;
}

ScoreCollector::ScoreCollector(std::vector<ScoreItemLayout> items, size_t num_windows,
                               bool per_token)
    : items_(std::move(items)), per_token_(per_token), windows_(num_windows) {}

// A long text has millions of tokens; what is not wanted of them is not kept.
void ScoreCollector::Add(engine::WindowScores scores) {
  const size_t index = static_cast<size_t>(scores.window);
  CHECK_LT(index, windows_.size());
  Window& window = windows_[index];
  window.logprobs.reserve(scores.tokens.size());
  for (const engine::ScoredToken& token : scores.tokens) {
    window.logprobs.push_back(token.logprob);
    window.is_greedy = window.is_greedy && token.rank == 1;
  }
  if (per_token_) window.tokens = std::move(scores.tokens);
  window.trace = std::move(scores.trace);
}

v1::ScoreResult ScoreCollector::Result(size_t index) {
  const ScoreItemLayout& item = items_[index];
  v1::ScoreResult out;
  if (!item.error.empty()) {
    *out.mutable_error() = ToRpcStatus(MergedContinuations(std::span(&item, 1), index));
    return out;
  }
  double sum = 0;
  bool greedy = true;
  uint32_t tokens = 0;
  engine::RoutingTrace trace;
  for (int i = 0; i < item.num_windows; ++i) {
    // What is in the answer goes at once: with its trace a window can be the larger part of it.
    Window window = std::move(windows_[static_cast<size_t>(item.first_window + i)]);
    for (const float logprob : window.logprobs) sum += static_cast<double>(logprob);
    greedy = greedy && window.is_greedy;
    tokens += static_cast<uint32_t>(window.logprobs.size());
    for (const engine::ScoredToken& token : window.tokens) *out.add_tokens() = ToProto(token);
    AppendTrace(std::move(window.trace), window.logprobs.size(), i == 0, &trace);
  }
  out.set_logprob_sum(sum);
  out.set_is_greedy(greedy);
  out.set_token_count(tokens);
  out.set_byte_count(item.byte_count);
  out.set_context_tokens_dropped(static_cast<uint32_t>(item.context_tokens_dropped));
  if (trace.num_positions > 0) *out.mutable_trace() = ToProto(trace);
  return out;
}

v1::ScoreResponse ScoreCollector::Response(const engine::Completion& completion) {
  v1::ScoreResponse out;
  for (size_t item = 0; item < items_.size(); ++item) {
    *out.add_results() = Result(item);
    logprob_sum_ += out.results(out.results_size() - 1).logprob_sum();
    num_scored_ += out.results(out.results_size() - 1).token_count();
  }
  *out.mutable_usage() = UsageOf(completion);
  *out.mutable_timing() = ToProto(completion.timing);
  return out;
}

}  // namespace olmoe::api
