#include "client/bench/outcome.h"

#include <utility>

namespace olmoe::client::bench {
namespace {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace

OutcomeTimer::OutcomeTimer(absl::Time due, absl::Time sent, TimeWindow window, uint64_t unit)
    : window_(window) {
  outcome_.unit = unit;
  outcome_.due = due;
  outcome_.send_delay = sent - due;
}

void OutcomeTimer::OnEvent(const v1::GenerateStreamResponse& event, absl::Time now) {
  if (event.has_started()) {
    outcome_.stamp = event.started().routing();
    outcome_.prompt_tokens = event.started().prompt_tokens();
  } else if (event.has_delta()) {
    OnTokens(static_cast<uint32_t>(event.delta().token_ids_size()), now);
  } else if (event.has_done()) {
    outcome_.queue = ToDuration(event.done().timing().queue());
  }
}

void OutcomeTimer::OnTokens(uint32_t count, absl::Time now) {
  if (count == 0) return;  // text that was held back
  outcome_.completion_tokens += count;
  if (window_.Has(now)) outcome_.tokens_in_window += count;
  if (outcome_.first_token) {
    outcome_.gaps.push_back({now - last_, count});
  } else {
    outcome_.first_token = now - outcome_.due;
    // Tokens beside the first in its message came no time after it.
    if (count > 1) outcome_.gaps.push_back({absl::ZeroDuration(), count - 1});
  }
  last_ = now;
}

Outcome OutcomeTimer::Finish(const absl::Status& status, absl::Time now) {
  outcome_.status = status;
  outcome_.done = now;
  return std::move(outcome_);
}

Outcome OutcomeTimer::Finish(const absl::StatusOr<v1::ScoreResponse>& response, absl::Time now) {
  outcome_.is_score = true;
  if (response.ok()) {
    outcome_.stamp = response->routing();
    outcome_.prompt_tokens = response->usage().prompt_tokens();
    outcome_.queue = ToDuration(response->timing().queue());
    for (const v1::ScoreResult& result : response->results()) {
      outcome_.scored_tokens += result.token_count();
      outcome_.logprob_sum += result.logprob_sum();
    }
  }
  return Finish(response.status(), now);
}

}  // namespace olmoe::client::bench
