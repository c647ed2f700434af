#include "server/engine/request.h"

#include <algorithm>

#include "glog/logging.h"

namespace olmoe::engine {
namespace {

void CheckGenerate(const GenerateWork& work, int max_context) {
  CHECK(!work.prompt.empty());
  CHECK_GE(work.max_new_tokens, work.prompt_logprobs.has_value() ? 0 : 1);
  CHECK_GE(work.num_choices, 1);
  CHECK_LE(static_cast<int64_t>(work.prompt.size()) + work.max_new_tokens, max_context);
}

void CheckWindow(const ScoreWindow& window, int max_context) {
  CHECK_LE(window.tokens.size(), static_cast<size_t>(max_context) + 1);
  CHECK_GE(window.first_scored, 1);
  CHECK_LT(static_cast<size_t>(window.first_scored), window.tokens.size());
}

}  // namespace

int KvPositions(const GenerateWork& work) {
  return static_cast<int>(work.prompt.size()) + std::max(work.max_new_tokens, 1) - 1;
}

int KvPositions(const ScoreWindow& window) { return static_cast<int>(window.tokens.size()) - 1; }

int MaxKvPositions(const Request& request) {
  if (const auto* generate = std::get_if<GenerateWork>(&request.work)) {
    return KvPositions(*generate);
  }
  int largest = 0;
  for (const ScoreWindow& window : std::get<ScoreWork>(request.work).windows) {
    largest = std::max(largest, KvPositions(window));
  }
  return largest;
}

uint32_t PromptTokens(const Request& request) {
  if (const auto* generate = std::get_if<GenerateWork>(&request.work)) {
    return static_cast<uint32_t>(generate->prompt.size());
  }
  size_t sum = 0;
  for (const ScoreWindow& window : std::get<ScoreWork>(request.work).windows) {
    sum += window.tokens.size();
  }
  return static_cast<uint32_t>(sum);
}

void CheckValid(const Request& request, const model::ModelInfo& model) {
  CHECK(request.assignment.policy != nullptr);
  CHECK(request.assignment.policy->shape() == model.router_shape());
  const bool replays = request.assignment.replay != nullptr;
  if (replays) {
    CHECK_EQ(request.assignment.replay->num_layers(), static_cast<uint64_t>(model.num_layers));
  }
  if (const auto* generate = std::get_if<GenerateWork>(&request.work)) {
    CheckGenerate(*generate, model.max_context);
    return;
  }
  const auto& windows = std::get<ScoreWork>(request.work).windows;
  CHECK(!windows.empty());
  CHECK(!replays || windows.size() == 1) << "a replay is of one sequence";
  for (const ScoreWindow& window : windows) CheckWindow(window, model.max_context);
}

}  // namespace olmoe::engine
