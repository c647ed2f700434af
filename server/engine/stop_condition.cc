#include "server/engine/stop_condition.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"

namespace olmoe::engine {

StopStringMatcher::StopStringMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) CHECK(!stop.empty());
}

std::string StopStringMatcher::Push(std::string_view piece) {
  CHECK(matched_ == nullptr);
  if (stops_.empty()) return std::string(piece);
  pending_ += piece;
  const size_t match = FindMatch();
  if (match != std::string::npos) {
    std::string decided = pending_.substr(0, match);
    pending_.clear();
    return decided;
  }
  const size_t decided_bytes = pending_.size() - HeldBackBytes();
  std::string decided = pending_.substr(0, decided_bytes);
  pending_.erase(0, decided_bytes);
  return decided;
}

std::string StopStringMatcher::Flush() { return std::exchange(pending_, {}); }

size_t StopStringMatcher::FindMatch() {
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t found = pending_.find(stop);
    if (found == std::string::npos || found > first) continue;
    if (found == first && stop.size() <= matched_->size()) continue;
    first = found;
    matched_ = &stop;
  }
  return first;
}

size_t StopStringMatcher::HeldBackBytes() const {
  const std::string_view pending = pending_;
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t bytes = std::min(stop.size() - 1, pending.size()); bytes > longest; --bytes) {
      if (stop.compare(0, bytes, pending.substr(pending.size() - bytes)) == 0) longest = bytes;
    }
  }
  return longest;
}

StopCondition::StopCondition(const GenerateWork& work, std::optional<int64_t> eos_token_id,
                             const text::Tokenizer* tokenizer)
    : eos_token_id_(work.ignore_eos ? std::nullopt : eos_token_id),
      stop_token_ids_(work.stop_token_ids),
      tokens_left_(work.max_new_tokens),
      matcher_(work.stop) {
  if (tokenizer != nullptr) detokenizer_.emplace(tokenizer, /*skip_special_tokens=*/true);
}

StopCondition::Outcome StopCondition::Add(TokenId token) {
  CHECK_GT(tokens_left_, 0);
  --tokens_left_;
  Outcome outcome;
  outcome.finish = FinishById(token);
  if (!detokenizer_.has_value()) {
    if (!outcome.finish.has_value() && tokens_left_ == 0) outcome.finish = FinishReason::kLength;
    return outcome;
  }
  std::string piece;
  if (!outcome.finish.has_value()) piece = detokenizer_->Add(token);
  if (!outcome.finish.has_value() && tokens_left_ == 0) outcome.finish = FinishReason::kLength;
  if (outcome.finish.has_value()) piece += detokenizer_->Flush();

  outcome.text = matcher_.Push(piece);
  if (matcher_.matched() != nullptr) {
    outcome.finish = FinishReason::kStopString;
    outcome.matched_stop = *matcher_.matched();
  } else if (outcome.finish.has_value()) {
    outcome.text += matcher_.Flush();
  }
  return outcome;
}

std::optional<FinishReason> StopCondition::FinishById(TokenId token) const {
  if (eos_token_id_ == token) return FinishReason::kEos;
  if (std::ranges::find(stop_token_ids_, token) != stop_token_ids_.end()) {
    return FinishReason::kStopToken;
  }
  return std::nullopt;
}

}  // namespace olmoe::engine
