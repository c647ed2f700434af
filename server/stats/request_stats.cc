#include "server/stats/request_stats.h"

#include <algorithm>

#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

using Method = ArmRequests::Method;

const Method kMethods[] = {{"Generate", std::string(engine::kGrpc)},
                           {"GenerateStream", std::string(engine::kGrpc)},
                           {"Score", std::string(engine::kGrpc)},
                           {"ScoreStream", std::string(engine::kGrpc)},
                           {"Completions", std::string(engine::kHttp)}};
constexpr const char* kAssignmentNames[] = {"default", "split", "random_unit", "explicit_arm",
                                            "inline_policy"};
constexpr const char* kOutcomeNames[] = {"published", "unchanged", "conflict", "rejected"};

bool IsCompletion(std::string_view method) {
  return method.starts_with("Generate") || method == "Completions";
}

Labels LabelsOf(const std::string& arm, const Method& method) {
  return {{"arm", arm}, {"method", method.name}, {"protocol", method.protocol}};
}

Labels LabelsOf(const std::string& arm, const Method& method, const std::string& code) {
  Labels labels = LabelsOf(arm, method);
  labels.emplace_back("code", code);
  return labels;
}

void AddCodes(const std::string& arm, const ArmRequests& counts, FamilySet* families) {
  for (const auto& [key, count] : counts.requests) {
    families->Add(kRequests, LabelsOf(arm, key.first, key.second), static_cast<double>(count));
  }
}

void AddDurations(const std::string& arm, const Method& method,
                  const ArmRequests::Durations& durations, FamilySet* families) {
  families->Add(kRequestDuration, LabelsOf(arm, method), durations.total);
  families->Add(kRequestQueue, LabelsOf(arm, method), durations.queue);
}

void AddMethods(const std::string& arm, const ArmRequests& counts, FamilySet* families) {
  AddCodes(arm, counts, families);
  for (const auto& [method, durations] : counts.durations) {
    AddDurations(arm, method, durations, families);
  }
  const ArmRequests::Durations nothing;
  for (const Method& method : kMethods) {
    if (!counts.requests.contains({method, "OK"})) {
      families->Add(kRequests, LabelsOf(arm, method, "OK"), 0);
    }
    if (!counts.durations.contains(method)) AddDurations(arm, method, nothing, families);
  }
}

void AddArm(const std::string& arm, const ArmRequests& counts, FamilySet* families) {
  AddMethods(arm, counts, families);
  for (size_t i = 0; i < counts.finished.size(); ++i) {
    families->Add(kRequestFinish, {{"arm", arm}, {"reason", engine::kFinishReasonNames[i]}},
                  static_cast<double>(counts.finished[i]));
  }
  for (size_t i = 0; i < counts.assignments.size(); ++i) {
    families->Add(kAssignments, {{"arm", arm}, {"reason", kAssignmentNames[i]}},
                  static_cast<double>(counts.assignments[i]));
  }
  families->Add(kTimeToFirstToken, {{"arm", arm}}, counts.time_to_first_token);
  families->Add(kTimePerOutputToken, {{"arm", arm}}, counts.time_per_output_token);
  families->Add(kPromptTokens, {{"arm", arm}}, counts.prompt_tokens);
  families->Add(kCachedTokens, {{"arm", arm}}, static_cast<double>(counts.cached_tokens));
  families->Add(kCompletionTokens, {{"arm", arm}}, counts.completion_tokens);
  families->Add(kScoreLogprob, {{"arm", arm}}, counts.score_nats);
  families->Add(kScoredTokens, {{"arm", arm}}, static_cast<double>(counts.scored_tokens));
}

void AddSwaps(const RequestCounts& counts, FamilySet* families) {
  for (const char* outcome : kOutcomeNames) {
    const auto found = counts.swaps.find(outcome);
    families->Add(kSwaps, {{"outcome", outcome}},
                  found == counts.swaps.end() ? 0 : static_cast<double>(found->second));
  }
  families->Add(kSwapSeconds, {}, counts.swap_seconds);
}

}  // namespace

void RequestStats::AddCompletion(const engine::Completion& completion, ArmRequests* arm) {
  arm->prompt_tokens.Add(completion.prompt_tokens);
  arm->cached_tokens += completion.cached_prompt_tokens;
  arm->completion_tokens.Add(completion.completion_tokens);
  uint32_t longest = 0;  // of completions that are written side by side
  for (const engine::ChoiceEnd& choice : completion.choices) {
    longest = std::max(longest, choice.completion_tokens);
    if (completion.status.ok()) ++arm->finished[static_cast<size_t>(choice.finish_reason)];
  }
  if (completion.completion_tokens == 0) return;
  arm->time_to_first_token.Add(absl::ToDoubleSeconds(completion.timing.time_to_first_token));
  if (longest <= 1) return;
  arm->time_per_output_token.Add(absl::ToDoubleSeconds(completion.timing.decode) / (longest - 1));
}

void RequestStats::Add(const engine::RequestOutcome& outcome) {
  absl::MutexLock lock(&mu_);
  ArmRequests& arm = arms_.Get(outcome.arm_id).Mutable();
  ++arm.num_requests;
  const Method method{std::string(outcome.method), std::string(outcome.protocol)};
  ++arm.requests[{method, outcome.code()}];
  if (outcome.assignment) ++arm.assignments[static_cast<size_t>(*outcome.assignment)];
  if (outcome.completion == nullptr) return;
  ArmRequests::Durations& durations = arm.durations[method];
  durations.total.Add(absl::ToDoubleSeconds(outcome.completion->timing.total));
  durations.queue.Add(absl::ToDoubleSeconds(outcome.completion->timing.queue));
  arm.score_nats -= outcome.scored_logprob_sum;
  arm.scored_tokens += outcome.scored_tokens;
  if (IsCompletion(outcome.method)) AddCompletion(*outcome.completion, &arm);
}

void RequestStats::AddSwap(std::string_view outcome, absl::Duration swap_duration) {
  absl::MutexLock lock(&mu_);
  ++swaps_[std::string(outcome)];
  if (outcome == "published") swap_seconds_.Add(absl::ToDoubleSeconds(swap_duration));
}

RequestCounts RequestStats::Snapshot() const {
  RequestCounts out;
  absl::MutexLock lock(&mu_);
  out.arms = ShareAll(arms_);
  out.swaps = swaps_;
  out.swap_seconds = swap_seconds_;
  return out;
}

void AppendRequestMetrics(const RequestCounts& counts, const ShownArms& shown,
                          std::vector<prometheus::MetricFamily>* families) {
  FamilySet out = {&kRequests,     &kRequestFinish,    &kAssignments,        &kRequestDuration,
                   &kRequestQueue, &kTimeToFirstToken, &kTimePerOutputToken, &kPromptTokens,
                   &kCachedTokens, &kCompletionTokens, &kScoreLogprob,       &kScoredTokens,
                   &kSwaps,        &kSwapSeconds};
  const auto refused = counts.arms.find("");
  if (refused != counts.arms.end()) AddCodes("", *refused->second, &out);
  const ArmRequests nothing;
  for (const auto& [arm, how] : shown) {
    const auto found = counts.arms.find(arm);
    AddArm(arm, found == counts.arms.end() ? nothing : *found->second, &out);
  }
  AddSwaps(counts, &out);
  out.AppendTo(families);
}

}  // namespace olmoe::stats
