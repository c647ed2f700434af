#include "server/engine/sequence.h"

#include <algorithm>
#include <span>
#include <utility>

#include "glog/logging.h"
#include "server/engine/live_request.h"

namespace olmoe::engine {
namespace {

// Whether `request` wants the scores of its prompt; they are those of its first sequence.
bool ScoresPrompt(const LiveRequest& request, int index) {
  return index == 0 && std::get<GenerateWork>(request.request().work).prompt_logprobs.has_value();
}

// The token after each input row from `first_scored` on; kNoTarget before.
std::vector<TokenId> Targets(std::span<const TokenId> tokens, int first_scored) {
  std::vector<TokenId> targets(tokens.begin() + 1, tokens.end());
  std::fill_n(targets.begin(), first_scored - 1, model::kNoTarget);
  return targets;
}

}  // namespace

Sequence::Sequence(LiveRequest* request, int index, std::vector<TokenId> prompt,
                   Placement placement)
    : request_(request),
      index_(index),
      pages_(std::move(placement.pages)),
      kept_(std::move(placement.kept)),
      cached_(std::move(placement.cached)),
      prompt_tokens_(static_cast<int>(prompt.size())),
      prompt_inputs_(prompt.size()),
      inputs_(std::move(prompt)),
      scores_prompt_(ScoresPrompt(*request, index)),
      prompt_scores_(std::move(placement.scores)),
      num_computed_(cached_.num_positions) {
  BeginUnkept();
  const auto& work = std::get<GenerateWork>(request->request().work);
  if (scores_prompt_) BeginScores(static_cast<size_t>(num_computed_));
  inputs_.reserve(inputs_.size() + static_cast<size_t>(work.max_new_tokens));
}

bool Sequence::is_window() const { return request_->scores(); }

Sequence::Sequence(LiveRequest* request, int index, ScoreWindow window, Placement placement)
    : request_(request),
      index_(index),
      pages_(std::move(placement.pages)),
      kept_(std::move(placement.kept)),
      cached_(std::move(placement.cached)),
      prompt_tokens_(window.prompt_tokens.value_or(window.first_scored)),
      inputs_(std::move(window.tokens)),
      targets_(Targets(inputs_, window.first_scored)),
      num_computed_(cached_.num_positions) {
  inputs_.pop_back();
  prompt_inputs_ = std::min(inputs_.size(), static_cast<size_t>(prompt_tokens_));
  BeginUnkept();
  scores_.window = index;
}

Phase Sequence::phase() const {
  if (is_window()) return Phase::kScore;
  return num_computed_ < prompt_tokens_ ? Phase::kPrefill : Phase::kDecode;
}

model::Chunk Sequence::NextChunk(int num_rows) const {
  CHECK(num_rows >= 1 && num_rows <= num_pending());
  const Request& request = request_->request();
  model::Chunk chunk;
  chunk.tokens = std::span(inputs_).subspan(num_computed_, num_rows);
  chunk.first_position = num_computed_;
  chunk.pages = pages_;
  chunk.policy = request.assignment.policy.get();
  chunk.replay = request.assignment.replay.get();
  chunk.prompt_tokens = prompt_tokens_;
  chunk.routing_seed = request.routing_seed;
  chunk.router_logits = request_->trace().logits;
  if (is_window()) {
    const auto& work = std::get<ScoreWork>(request.work);
    const auto targets = std::span(targets_).subspan(num_computed_, num_rows);
    if (targets.back() != model::kNoTarget) chunk.score = {.targets = targets, .top = work.top};
    chunk.last_logits = work.last_logits && num_rows == num_pending();
    return chunk;
  }
  const auto& work = std::get<GenerateWork>(request.work);
  if (scores_prompt_ && in_prompt()) {
    const auto targets = std::span(targets_).subspan(num_computed_, num_rows);
    // Others may want the most likely token where this request does not.
    const int top = std::max(*work.prompt_logprobs, request_->cache_root().empty() ? 0 : 1);
    if (targets.front() != model::kNoTarget) chunk.score = {.targets = targets, .top = top};
  }
  if (num_rows == num_pending() && work.max_new_tokens > 0) {
    chunk.sample = {.params = work.sampling,
                    .history = inputs_,
                    .position = static_cast<int>(inputs_.size()),
                    .logprob = work.logprobs,
                    .top = work.top_logprobs,
                    .prompt_tokens = prompt_tokens_};
    chunk.sample->params.seed += static_cast<uint64_t>(index_);
  }
  return chunk;
}

void Sequence::Advance(int num_rows) {
  CHECK_LE(num_rows, num_pending());
  num_computed_ += num_rows;
}

// What lies in the last, partly filled page of the cached positions was copied into a page of this
// sequence's own.
void Sequence::BeginUnkept() {
  int in_kept = 0;
  for (const PrefixNode* node : kept_) in_kept += static_cast<int>(node->tokens.size());
  unkept_ = cached_.Slice(in_kept, cached_.num_positions - in_kept);
}

void Sequence::Keep(RoutingTrace ran, int page_tokens, PrefixTree* tree) {
  const size_t first = kept_.size() * static_cast<size_t>(page_tokens);
  if (first >= prompt_inputs_) return;
  unkept_.Append(std::move(ran));
  const size_t computed = std::min(prompt_inputs_, static_cast<size_t>(num_computed_));
  int done = 0;  // of unkept_
  for (size_t begin = first; begin < computed; begin += static_cast<size_t>(page_tokens)) {
    const size_t num = std::min(computed - begin, static_cast<size_t>(page_tokens));
    const bool is_whole = num == static_cast<size_t>(page_tokens);
    if (!is_whole && computed < prompt_inputs_) break;
    const size_t page = begin / static_cast<size_t>(page_tokens);
    PrefixNode* const node =
        tree->Insert(request_->cache_root(), kept_.empty() ? nullptr : kept_.back(), pages_[page],
                     std::span(inputs_).subspan(begin, num),
                     unkept_.Slice(done, static_cast<int>(num)), ScoresOf(begin, num));
    done += static_cast<int>(num);
    if (node == nullptr) break;
    pages_[page] = node->page;
    kept_.push_back(node);
  }
  unkept_ = unkept_.Slice(done, unkept_.num_positions - done);
}

std::vector<PromptScore> Sequence::ScoresOf(size_t begin, size_t num) const {
  if (!scores_prompt_ || begin + num > prompt_scores_.size()) return {};
  const auto first = prompt_scores_.begin() + static_cast<ptrdiff_t>(begin);
  return {first, first + static_cast<ptrdiff_t>(num)};
}

void Sequence::Append(TokenId token) {
  CHECK_LT(inputs_.size(), inputs_.capacity());
  inputs_.push_back(token);
}

void Sequence::BeginScores(size_t num_computed) {
  targets_.assign(inputs_.begin() + 1, inputs_.end());
  targets_.push_back(model::kNoTarget);
  prompt_scores_.resize(num_computed + 1);
  for (size_t i = 1; i < prompt_scores_.size(); ++i) {
    const PromptScore& score = prompt_scores_[i];
    scores_.tokens.push_back(
        {.token = inputs_[i], .logprob = score.logprob, .rank = score.rank, .top = {score.first}});
  }
}

void Sequence::AddScores(std::vector<model::ScoredRow> rows, int first_position) {
  for (model::ScoredRow& row : rows) {
    if (scores_prompt_) {
      prompt_scores_.push_back({.logprob = row.logprob, .rank = row.rank, .first = {}});
      if (!row.top.empty()) prompt_scores_.back().first = row.top.front();
    }
    scores_.tokens.push_back({.token = targets_.at(first_position + row.row),
                              .logprob = row.logprob,
                              .rank = row.rank,
                              .top = std::move(row.top)});
  }
}

std::vector<ScoredToken> Sequence::TakePromptScores() {
  std::vector<ScoredToken> taken = std::exchange(scores_.tokens, {});
  if (!scores_prompt_) return taken;
  const auto& work = std::get<GenerateWork>(request_->request().work);
  const size_t wanted = static_cast<size_t>(*work.prompt_logprobs);
  for (ScoredToken& token : taken) token.top.resize(std::min(token.top.size(), wanted));
  return taken;
}

}  // namespace olmoe::engine
