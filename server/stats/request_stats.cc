#include "server/stats/request_stats.h"

#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

constexpr const char* kFinishNames[] = {"length", "eos", "stop_string", "stop_token"};
constexpr const char* kAssignmentNames[] = {"default", "split", "random_unit", "explicit_arm",
                                            "inline_policy"};
constexpr const char* kOutcomeNames[] = {"applied", "unchanged", "conflict", "rejected"};

bool IsGeneration(std::string_view method) { return method.starts_with("Generate"); }

}  // namespace

void RequestStats::AddGeneration(const engine::Completion& completion, Arm* arm) {
  arm->prompt_tokens.Add(completion.prompt_tokens);
  arm->completion_tokens.Add(completion.completion_tokens);
  if (completion.status.ok()) ++arm->finished[static_cast<size_t>(completion.finish_reason)];
  if (completion.completion_tokens == 0) return;
  arm->time_to_first_token.Add(absl::ToDoubleSeconds(completion.timing.time_to_first_token));
  if (completion.completion_tokens == 1) return;
  arm->time_per_output_token.Add(absl::ToDoubleSeconds(completion.timing.decode) /
                                 (completion.completion_tokens - 1));
}

void RequestStats::Add(const RequestSample& sample) {
  absl::MutexLock lock(&mu_);
  Arm& arm = arms_.Get(sample.arm_id);
  ++arm.requests[{std::string(sample.method), std::string(sample.code)}];
  if (sample.assignment) ++arm.assignments[static_cast<size_t>(*sample.assignment)];
  if (sample.completion == nullptr) return;
  Durations& durations = arm.durations[std::string(sample.method)];
  durations.total.Add(absl::ToDoubleSeconds(sample.completion->timing.total));
  durations.queue.Add(absl::ToDoubleSeconds(sample.completion->timing.queue));
  arm.score_nats -= sample.scored_logprob_sum;
  if (IsGeneration(sample.method)) AddGeneration(*sample.completion, &arm);
}

void RequestStats::AddSwap(std::string_view outcome, absl::Duration swap_duration) {
  absl::MutexLock lock(&mu_);
  ++swaps_[std::string(outcome)];
  if (outcome == "applied") swap_seconds_.Add(absl::ToDoubleSeconds(swap_duration));
}

void RequestStats::AppendTo(std::vector<prometheus::MetricFamily>* families) const {
  FamilyBuilder requests = FamilyBuilder::Counter(kRequests);
  FamilyBuilder finished = FamilyBuilder::Counter(kRequestFinish);
  FamilyBuilder assignments = FamilyBuilder::Counter(kAssignments);
  FamilyBuilder total = FamilyBuilder::Histograms(kRequestDuration);
  FamilyBuilder queue = FamilyBuilder::Histograms(kRequestQueue);
  FamilyBuilder first_token = FamilyBuilder::Histograms(kTimeToFirstToken);
  FamilyBuilder per_token = FamilyBuilder::Histograms(kTimePerOutputToken);
  FamilyBuilder prompt = FamilyBuilder::Histograms(kPromptTokens);
  FamilyBuilder completion = FamilyBuilder::Histograms(kCompletionTokens);
  FamilyBuilder score = FamilyBuilder::Counter(kScoreLogprob);
  FamilyBuilder swaps = FamilyBuilder::Counter(kSwaps);
  FamilyBuilder swap_seconds = FamilyBuilder::Histograms(kSwapSeconds);

  absl::MutexLock lock(&mu_);
  arms_.ForEach([&](const std::string& id, const Arm& arm) {
    for (const auto& [key, count] : arm.requests) {
      requests.Add({{"arm", id}, {"method", key.first}, {"code", key.second}},
                   static_cast<double>(count));
    }
    if (id.empty()) return;  // refused requests have no more than a code
    for (size_t i = 0; i < arm.finished.size(); ++i) {
      finished.Add({{"arm", id}, {"reason", kFinishNames[i]}},
                   static_cast<double>(arm.finished[i]));
    }
    for (size_t i = 0; i < arm.assignments.size(); ++i) {
      assignments.Add({{"arm", id}, {"reason", kAssignmentNames[i]}},
                      static_cast<double>(arm.assignments[i]));
    }
    for (const auto& [method, durations] : arm.durations) {
      total.Add({{"arm", id}, {"method", method}}, durations.total);
      queue.Add({{"arm", id}, {"method", method}}, durations.queue);
    }
    first_token.Add({{"arm", id}}, arm.time_to_first_token);
    per_token.Add({{"arm", id}}, arm.time_per_output_token);
    prompt.Add({{"arm", id}}, arm.prompt_tokens);
    completion.Add({{"arm", id}}, arm.completion_tokens);
    score.Add({{"arm", id}}, arm.score_nats);
  });
  for (const char* outcome : kOutcomeNames) {
    const auto found = swaps_.find(outcome);
    swaps.Add({{"outcome", outcome}},
              found == swaps_.end() ? 0 : static_cast<double>(found->second));
  }
  swap_seconds.Add({}, swap_seconds_);
  for (FamilyBuilder* family : {&requests, &finished, &assignments, &total, &queue, &first_token,
                                &per_token, &prompt, &completion, &score, &swaps, &swap_seconds}) {
    family->AppendTo(families);
  }
}

std::vector<RequestStats::ArmReading> RequestStats::Read() const {
  std::vector<ArmReading> out;
  absl::MutexLock lock(&mu_);
  arms_.ForEach([&out](const std::string& arm_id, const Arm& arm) {
    ArmReading& reading = out.emplace_back();
    reading.arm_id = arm_id;
    for (const auto& [method_and_code, count] : arm.requests) {
      (method_and_code.second == "OK" ? reading.ok_requests : reading.failed_requests) += count;
    }
    reading.time_to_first_token = arm.time_to_first_token;
    reading.time_per_output_token = arm.time_per_output_token;
  });
  return out;
}

}  // namespace olmoe::stats
