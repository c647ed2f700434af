#include "server/api/request_cost.h"

#include <algorithm>
#include <vector>

namespace olmoe::api {
namespace {

constexpr int64_t kTokenBytes = sizeof(TokenId);
// An answer is there as the engine gave it, or as bytes, beside the message it is made into.
constexpr int64_t kCopies = 2;
// One token of text, ids and their growing vectors.
constexpr int64_t kGeneratedBytes = 32;
// A GeneratedToken with its piece, and each of its alternatives, as messages.
constexpr int64_t kLogprobBytes = 160, kTopBytes = 48;
// Of a score without per_token: its log-probability.
constexpr int64_t kScoredSumBytes = 4;
constexpr int64_t kScoredTokenBytes = 96;

// Each completion has its own.
int64_t PromptBytes(const engine::GenerateWork& work) {
  return static_cast<int64_t>(work.prompt.size()) * kTokenBytes * work.num_choices;
}

int64_t OutputBytes(const engine::GenerateWork& work, const model::ModelInfo& model) {
  const int64_t prompt_tokens = static_cast<int64_t>(work.prompt.size());
  const int64_t new_tokens = int64_t{work.max_new_tokens} * work.num_choices;
  const int64_t per_token =
      kGeneratedBytes + (work.logprobs ? kLogprobBytes + kTopBytes * work.top_logprobs : 0);
  const int64_t per_scored =
      work.prompt_logprobs.has_value() ? kScoredTokenBytes + kTopBytes * *work.prompt_logprobs : 0;
  return new_tokens * per_token + prompt_tokens * per_scored +
         (prompt_tokens + new_tokens) * kCopies * TraceBytes(work.trace, model);
}

}  // namespace

int64_t TraceBytes(const engine::TraceOptions& trace, const model::ModelInfo& model) {
  int64_t per_layer = 0;
  if (trace.experts || trace.weights) per_layer += 1 + model.num_experts;
  if (trace.weights) per_layer += 4 * model.num_experts;
  if (trace.logits) per_layer += 4 * model.num_experts;
  return per_layer * model.num_layers;
}

int64_t AnswerBytes(const ScoreInput& input, const model::ModelInfo& model) {
  constexpr int64_t kWireTokenBytes = 24, kWireTopBytes = 16;
  const int64_t per_scored = input.per_token ? kWireTokenBytes + kWireTopBytes * input.work.top : 0;
  const int64_t per_position = TraceBytes(input.work.trace, model);
  int64_t bytes = 0;
  for (const engine::ScoreWindow& window : input.work.windows) {
    const int64_t tokens = static_cast<int64_t>(window.tokens.size());
    bytes += (tokens - window.first_scored) * per_scored + (tokens - 1) * per_position;
  }
  return bytes;
}

int64_t MemoryOf(const engine::GenerateWork& work, const model::ModelInfo& model) {
  return PromptBytes(work) + OutputBytes(work, model);
}

int64_t StreamMemoryOf(const engine::GenerateWork& work, const model::ModelInfo& model,
                       int64_t pending) {
  return PromptBytes(work) + std::min(OutputBytes(work, model), pending);
}

int64_t MemoryOf(const experiment::RoutingChoice& routing) {
  return routing.replay == nullptr ? 0 : static_cast<int64_t>(routing.replay->bytes());
}

// The windows, and the router logits of the largest group as the engine gives them.
int64_t MemoryOf(const experiment::CalibrationInput& input, const model::ModelInfo& model) {
  int64_t bytes = 0, largest = 0;
  for (const std::vector<engine::ScoreWindow>& group : input.groups) {
    int64_t rows = 0;
    for (const engine::ScoreWindow& window : group) {
      rows += static_cast<int64_t>(window.tokens.size());
    }
    bytes += rows * kTokenBytes + static_cast<int64_t>(group.size() * sizeof(group[0]));
    largest = std::max(largest, rows);
  }
  return bytes + largest * (kScoredTokenBytes + TraceBytes({.logits = true}, model));
}

int64_t MemoryOf(const ScoreInput& input, const model::ModelInfo& model) {
  const int64_t per_scored =
      input.per_token ? kScoredTokenBytes + kTopBytes * input.work.top : kScoredSumBytes;
  const int64_t per_position = kCopies * TraceBytes(input.work.trace, model);
  int64_t bytes = static_cast<int64_t>(input.items.size() * sizeof(v1::ScoreResult));
  for (const engine::ScoreWindow& window : input.work.windows) {
    const int64_t tokens = static_cast<int64_t>(window.tokens.size());
    bytes += static_cast<int64_t>(sizeof(window)) + tokens * kTokenBytes +
             (tokens - window.first_scored) * per_scored + (tokens - 1) * per_position;
  }
  return bytes;
}

}  // namespace olmoe::api
