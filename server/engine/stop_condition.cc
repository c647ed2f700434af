#include "server/engine/stop_condition.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"

namespace olmoe::engine {

StopStringMatcher::StopStringMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    CHECK(!stop.empty());
    longest_ = std::max(longest_, stop.size());
  }
}

std::string StopStringMatcher::Push(std::string_view piece, bool hidden) {
  CHECK(matched_ == nullptr);
  if (stops_.empty()) return hidden ? std::string() : std::string(piece);
  pending_ += piece;
  hidden_.resize(pending_.size(), hidden);
  const Shown shown = ShownPart();
  const size_t match = FindMatch(shown);
  if (match == std::string::npos) {
    std::string decided = Take(pending_.size() - HeldBackBytes(shown));
    ForgetHidden();
    return decided;
  }
  std::string decided = Take(match);
  pending_.clear();
  return decided;
}

std::string StopStringMatcher::Take(size_t bytes) {
  std::string shown;
  for (size_t i = 0; i < bytes; ++i) {
    if (!hidden_[i]) shown += pending_[i];
  }
  pending_.erase(0, bytes);
  hidden_.erase(hidden_.begin(), hidden_.begin() + static_cast<ptrdiff_t>(bytes));
  return shown;
}

void StopStringMatcher::ForgetHidden() {
  constexpr char kForgotten = '\xFF';  // in no UTF-8, so in no stop string
  if (pending_.size() <= 3 * longest_) return;
  const size_t recent = pending_.size() - longest_;
  size_t kept = 0;
  for (size_t i = 0; i < pending_.size(); ++i) {
    const bool forgotten = hidden_[i] && i < recent;
    if (forgotten && kept > 0 && pending_[kept - 1] == kForgotten) continue;
    pending_[kept] = forgotten ? kForgotten : pending_[i];
    hidden_[kept] = hidden_[i];
    ++kept;
  }
  pending_.resize(kept);
  hidden_.resize(kept);
}

StopStringMatcher::Shown StopStringMatcher::ShownPart() const {
  Shown shown;
  for (size_t i = 0; i < pending_.size(); ++i) {
    if (hidden_[i]) continue;
    shown.text += pending_[i];
    shown.at.push_back(i);
  }
  shown.at.push_back(pending_.size());
  return shown;
}

size_t StopStringMatcher::FindMatch(const Shown& shown) {
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    size_t found = pending_.find(stop);
    const size_t found_shown = shown.text.find(stop);
    if (found_shown != std::string::npos) found = std::min(found, shown.at[found_shown]);
    if (found == std::string::npos || found > first) continue;
    if (found == first && stop.size() <= matched_->size()) continue;
    first = found;
    matched_ = &stop;
  }
  return first;
}

size_t StopStringMatcher::HeldBackBytes(const Shown& shown) const {
  // The longest end of `text` that is a proper prefix of a stop string.
  const auto longest_end = [this](std::string_view text) {
    size_t longest = 0;
    for (const std::string& stop : stops_) {
      for (size_t bytes = std::min(stop.size() - 1, text.size()); bytes > longest; --bytes) {
        if (stop.compare(0, bytes, text.substr(text.size() - bytes)) == 0) longest = bytes;
      }
    }
    return longest;
  };
  const size_t held_shown = longest_end(shown.text);
  return std::max(longest_end(pending_),
                  pending_.size() - shown.at[shown.text.size() - held_shown]);
}

StopCondition::StopCondition(const GenerateWork& work, const std::vector<int64_t>& end_token_ids,
                             const text::Tokenizer* tokenizer)
    : end_token_ids_(work.ignore_eos ? std::vector<int64_t>() : end_token_ids),
      stop_token_ids_(work.stop_token_ids),
      include_stop_(work.include_stop),
      skip_special_tokens_(work.skip_special_tokens),
      tokens_left_(work.max_new_tokens),
      tokenizer_(tokenizer),
      matcher_(work.stop) {
  if (tokenizer != nullptr) detokenizer_.emplace(tokenizer, work.skip_special_tokens);
}

StopCondition::Outcome StopCondition::Add(TokenId token) {
  CHECK_GT(tokens_left_, 0);
  --tokens_left_;
  Outcome outcome;
  outcome.finish = FinishById(token);
  const bool ended_by_id = outcome.finish.has_value();
  if (!ended_by_id && tokens_left_ == 0) outcome.finish = FinishReason::kLength;
  if (tokenizer_ == nullptr) return outcome;
  outcome.text = Decide(token, !ended_by_id || include_stop_, outcome.finish.has_value());
  if (matcher_.matched() != nullptr) {
    outcome.finish = FinishReason::kStopString;
    outcome.matched_stop = *matcher_.matched();
    if (include_stop_) outcome.text += outcome.matched_stop;
  } else if (outcome.finish.has_value()) {
    outcome.text += matcher_.Flush();
  }
  return outcome;
}

std::string StopCondition::Decide(TokenId token, bool in_text, bool is_last) {
  std::string text;
  // A special token that has no text for the reader may have some for a stop string.
  const bool is_shown = in_text && !skip_special_tokens_;
  if (tokenizer_->IsSpecial(token) && !is_shown) {
    text = matcher_.Push(tokenizer_->TokenBytes(token), /*hidden=*/true);
    if (matcher_.matched() != nullptr) return text;
  }
  std::string piece;
  if (in_text) piece = detokenizer_->Add(token);
  if (is_last) piece += detokenizer_->Flush();
  return text + matcher_.Push(piece);
}

std::optional<FinishReason> StopCondition::FinishById(TokenId token) const {
  if (std::ranges::find(end_token_ids_, token) != end_token_ids_.end()) return FinishReason::kEos;
  if (std::ranges::find(stop_token_ids_, token) != stop_token_ids_.end()) {
    return FinishReason::kStopToken;
  }
  return std::nullopt;
}

}  // namespace olmoe::engine
