#include "client/bench/recorder.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"

namespace olmoe::client::bench {
namespace {

void AddError(const absl::Status& status, Numbers* numbers) {
  ErrorCount& error = numbers->errors[absl::StatusCodeToString(status.code())];
  if (error.count++ == 0) error.first_message = std::string(status.message());
}

void AddLatencies(const Outcome& outcome, Numbers* numbers) {
  const absl::Duration duration = outcome.done - outcome.due;
  numbers->queue.Add(outcome.queue);
  (outcome.is_score ? numbers->score_duration : numbers->duration).Add(duration);
  if (outcome.first_token) numbers->first_token.Add(*outcome.first_token);
  for (const Outcome::Gap& gap : outcome.gaps) {
    numbers->inter_token.Add(gap.gap / gap.tokens, gap.tokens);
  }
}

void AddTo(const Outcome& outcome, const TimeWindow& window, Numbers* numbers) {
  ++numbers->requests;
  numbers->completion_tokens += outcome.completion_tokens;
  if (!outcome.stamp.policy_id().empty()) numbers->policies.insert(outcome.stamp.policy_id());
  if (!outcome.status.ok()) return AddError(outcome.status, numbers);
  if (window.Has(outcome.done)) ++numbers->completed_in_window;
  numbers->prompt_tokens += outcome.prompt_tokens;
  numbers->scored_tokens += outcome.scored_tokens;
  numbers->logprob_sum += outcome.logprob_sum;
  AddLatencies(outcome, numbers);
}

}  // namespace

uint64_t Numbers::ErrorSum() const {
  uint64_t sum = 0;
  for (const auto& [code, error] : errors) sum += error.count;
  return sum;
}

double Measurement::Seconds() const {
  return std::max(0.0, absl::ToDoubleSeconds(end - window.begin));
}

double Measurement::ErrorRatio() const {
  const double due = static_cast<double>(all.requests + dropped);
  return due == 0 ? 0 : static_cast<double>(all.ErrorSum() + dropped) / due;
}

void Recorder::Add(const Outcome& outcome) {
  const std::string& arm = outcome.stamp.arm_id();
  measurement_.all.tokens_in_window += outcome.tokens_in_window;
  if (!arm.empty()) measurement_.arms[arm].tokens_in_window += outcome.tokens_in_window;
  if (outcome.due < measurement_.window.begin) {
    ++measurement_.warmup_requests;
    return;
  }
  if (outcome.abandoned) {
    ++measurement_.abandoned;
    return;
  }
  measurement_.send_delay.Add(outcome.send_delay);
  if (outcome.stamp.generation() > 0) measurement_.generations.insert(outcome.stamp.generation());
  AddTo(outcome, measurement_.window, &measurement_.all);
  if (arm.empty()) return;
  AddTo(outcome, measurement_.window, &measurement_.arms[arm]);
  measurement_.units[arm].Add(outcome);
}

void Recorder::AddDropped(absl::Time due) {
  if (due >= measurement_.window.begin) ++measurement_.dropped;
}

Measurement Recorder::Finish(absl::Time now) && {
  measurement_.end = std::min(now, measurement_.window.end);
  return std::move(measurement_);
}

}  // namespace olmoe::client::bench
