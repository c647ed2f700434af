#include "server/engine/live_request.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace olmoe::engine {
namespace {

int NumSequences(const Request& request) {
  const auto* score = std::get_if<ScoreWork>(&request.work);
  return score == nullptr ? std::get<GenerateWork>(request.work).num_choices
                          : static_cast<int>(score->windows.size());
}

// Prompts are routed by what the policy applies to them, whatever it analyzes and whatever it does
// later. A replay is of one request, and what runs alone computes all that it needs.
std::string CacheRoot(const Request& request) {
  const auto* score = std::get_if<ScoreWork>(&request.work);
  if (!request.cache_scope.has_value() || request.assignment.replay != nullptr ||
      (score != nullptr && score->last_logits)) {
    return "";
  }
  const std::string& digest = request.assignment.policy->prompt_digest();
  return digest.empty() ? "" : absl::StrCat(digest, " ", *request.cache_scope);
}

}  // namespace

LiveRequest::LiveRequest(Request request, Sink sink, absl::Time submitted,
                         const model::ModelInfo& model, const text::Tokenizer* tokenizer)
    : request_(std::move(request)),
      sink_(std::move(sink)),
      submitted_(submitted),
      prompt_tokens_(PromptTokens(request_)),
      num_sequences_(NumSequences(request_)),
      cache_root_(CacheRoot(request_)) {
  if (const auto* work = std::get_if<GenerateWork>(&request_.work)) {
    ends_.resize(static_cast<size_t>(work->num_choices));
    for (int i = 0; i < work->num_choices; ++i) {
      stops_.emplace_back(*work, model.end_token_ids, tokenizer);
    }
  }
}

// Completions of one prompt share it whatever is shared with others.
void LiveRequest::set_handle(RequestHandle handle) {
  handle_ = handle;
  if (scores() || num_sequences_ == 1 || !cache_root_.empty()) return;
  has_own_root_ = true;
  cache_root_ = absl::StrCat("request ", handle);
}

const TraceOptions& LiveRequest::trace() const {
  return std::visit([](const auto& work) -> const TraceOptions& { return work.trace; },
                    request_.work);
}

bool LiveRequest::runs_alone() const {
  const auto* score = std::get_if<ScoreWork>(&request_.work);
  return score != nullptr && score->last_logits;
}

void LiveRequest::TransitionTo(RequestState next) {
  CHECK(IsLegalTransition(state_, next))
      << "request " << request_.request_id << ": " << static_cast<int>(state_) << " -> "
      << static_cast<int>(next);
  state_ = next;
}

void LiveRequest::Pause(absl::Time now) {
  TransitionTo(RequestState::kPaused);
  paused_since_ = now;
}

int LiveRequest::NextPositions() const {
  if (const auto* score = std::get_if<ScoreWork>(&request_.work)) {
    return KvPositions(score->windows.at(num_started_));
  }
  return KvPositions(std::get<GenerateWork>(request_.work));
}

LiveRequest::Prompt LiveRequest::NextPrompt() const {
  Prompt prompt;
  if (const auto* score = std::get_if<ScoreWork>(&request_.work)) {
    const ScoreWindow& window = score->windows.at(static_cast<size_t>(num_started_));
    const int tokens = window.prompt_tokens.value_or(window.first_scored);
    prompt.tokens = std::span(window.tokens).first(static_cast<size_t>(tokens));
    prompt.reusable = std::min(tokens, window.first_scored - 1);
  } else {
    const auto& work = std::get<GenerateWork>(request_.work);
    prompt.tokens = work.prompt;
    prompt.reusable = static_cast<int>(work.prompt.size()) - 1;
    prompt.scored = num_started_ == 0 && work.prompt_logprobs.has_value();
    // The cache has one alternative of each token.
    if (prompt.scored && *work.prompt_logprobs > 1) prompt.reusable = 0;
  }
  // The cache has no weights and no logits; completions behind the first tell none of the prompt.
  const bool tells_prompt = num_started_ == 0 || scores();
  if (tells_prompt && (trace().weights || trace().logits)) prompt.reusable = 0;
  return prompt;
}

std::unique_ptr<Sequence> LiveRequest::StartNext(Placement placement) {
  CHECK(has_unstarted());
  const int index = num_started_++;
  const bool is_shared = !scores() && index > 0;
  (is_shared ? shared_prompt_tokens_ : cached_prompt_tokens_) +=
      static_cast<uint32_t>(placement.cached.num_positions);
  (is_shared ? shared_expert_activations_ : cached_expert_activations_) +=
      placement.cached.experts.size();
  if (auto* score = std::get_if<ScoreWork>(&request_.work)) {
    return std::make_unique<Sequence>(this, index, std::move(score->windows[index]),
                                      std::move(placement));
  }
  auto& work = std::get<GenerateWork>(request_.work);
  std::vector<TokenId> prompt = has_unstarted() ? work.prompt : std::move(work.prompt);
  return std::make_unique<Sequence>(this, index, std::move(prompt), std::move(placement));
}

bool LiveRequest::OnSequenceDone() { return ++num_done_ == num_sequences_; }

bool LiveRequest::OnStepBegin(absl::Time now) {
  if (first_step_.has_value()) return false;
  first_step_ = now;
  return true;
}

void LiveRequest::OnOutput(absl::Time now) {
  if (!first_output_.has_value()) first_output_ = now;
  last_output_ = now;
}

std::optional<absl::Duration> LiveRequest::SinceOutput(absl::Time now) const {
  if (!first_output_.has_value()) return std::nullopt;
  return now - last_output_;
}

StopCondition::Outcome LiveRequest::AddToken(int choice, TokenId token) {
  ++completion_tokens_;
  ChoiceEnd& end = ends_.at(static_cast<size_t>(choice));
  ++end.completion_tokens;
  StopCondition::Outcome outcome = stops_.at(static_cast<size_t>(choice)).Add(token);
  if (outcome.finish.has_value()) {
    end.finish_reason = *outcome.finish;
    end.matched_stop = outcome.matched_stop;
  }
  return outcome;
}

Completion LiveRequest::MakeCompletion(absl::Status status, absl::Time now) const {
  Completion completion;
  completion.status = std::move(status);
  completion.choices = ends_;
  completion.prompt_tokens = prompt_tokens_;
  completion.completion_tokens = completion_tokens_;
  completion.expert_activations = expert_activations_;
  completion.routed_tokens = routed_tokens_;
  completion.cached_prompt_tokens = cached_prompt_tokens_;
  completion.cached_expert_activations = cached_expert_activations_;
  completion.shared_prompt_tokens = shared_prompt_tokens_;
  completion.shared_expert_activations = shared_expert_activations_;
  RequestTiming& timing = completion.timing;
  timing.total = now - submitted_;
  if (first_step_.has_value()) timing.queue = *first_step_ - submitted_;
  if (first_output_.has_value()) {
    timing.prefill = *first_output_ - *first_step_;
    timing.time_to_first_token = *first_output_ - submitted_;
    timing.decode = last_output_ - *first_output_;
  }
  return completion;
}

}  // namespace olmoe::engine
