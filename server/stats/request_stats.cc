#include "server/stats/request_stats.h"

namespace olmoe::stats {
namespace {

bool IsGeneration(std::string_view method) { return method.starts_with("Generate"); }

}  // namespace

void RequestStats::AddGeneration(const engine::Completion& completion, ArmRequests* arm) {
  arm->prompt_tokens.Add(completion.prompt_tokens);
  arm->completion_tokens.Add(completion.completion_tokens);
  if (completion.status.ok()) ++arm->finished[static_cast<size_t>(completion.finish_reason)];
  if (completion.completion_tokens == 0) return;
  arm->time_to_first_token.Add(absl::ToDoubleSeconds(completion.timing.time_to_first_token));
  if (completion.completion_tokens == 1) return;
  arm->time_per_output_token.Add(absl::ToDoubleSeconds(completion.timing.decode) /
                                 (completion.completion_tokens - 1));
}

void RequestStats::Add(const engine::RequestOutcome& outcome) {
  absl::MutexLock lock(&mu_);
  ArmRequests& arm = arms_.Get(outcome.arm_id).Mutable();
  ++arm.num_requests;
  ++arm.requests[{std::string(outcome.method), outcome.code()}];
  if (outcome.assignment) ++arm.assignments[static_cast<size_t>(*outcome.assignment)];
  if (outcome.completion == nullptr) return;
  ArmRequests::Durations& durations = arm.durations[std::string(outcome.method)];
  durations.total.Add(absl::ToDoubleSeconds(outcome.completion->timing.total));
  durations.queue.Add(absl::ToDoubleSeconds(outcome.completion->timing.queue));
  arm.score_nats -= outcome.scored_logprob_sum;
  arm.scored_tokens += outcome.scored_tokens;
  if (IsGeneration(outcome.method)) AddGeneration(*outcome.completion, &arm);
}

void RequestStats::AddSwap(std::string_view outcome, absl::Duration swap_duration) {
  absl::MutexLock lock(&mu_);
  ++swaps_[std::string(outcome)];
  if (outcome == "applied") swap_seconds_.Add(absl::ToDoubleSeconds(swap_duration));
}

RequestCounts RequestStats::Snapshot() const {
  RequestCounts out;
  absl::MutexLock lock(&mu_);
  arms_.ForEach([&out](const std::string& arm_id, const CopyOnWrite<ArmRequests>& arm) {
    out.arms.emplace(arm_id, arm.Share());
  });
  out.swaps = swaps_;
  out.swap_seconds = swap_seconds_;
  return out;
}

}  // namespace olmoe::stats
