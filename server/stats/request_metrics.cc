#include "server/stats/request_metrics.h"

#include <string>

#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

constexpr const char* kMethods[] = {"Generate", "GenerateStream", "Score", "ScoreStream"};
constexpr const char* kAssignmentNames[] = {"default", "split", "random_unit", "explicit_arm",
                                            "inline_policy"};
constexpr const char* kOutcomeNames[] = {"applied", "unchanged", "conflict", "rejected"};

// The families, filled arm by arm.
struct Families {
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
  FamilyBuilder scored = FamilyBuilder::Counter(kScoredTokens);

  void AddCodes(const std::string& arm, const ArmRequests& counts);
  void AddDurations(const std::string& arm, const std::string& method,
                    const ArmRequests::Durations& durations);
  void AddMethods(const std::string& arm, const ArmRequests& counts);
  void AddArm(const std::string& arm, const ArmRequests& counts);
};

void Families::AddCodes(const std::string& arm, const ArmRequests& counts) {
  for (const auto& [key, count] : counts.requests) {
    requests.Add({{"arm", arm}, {"method", key.first}, {"code", key.second}},
                 static_cast<double>(count));
  }
}

void Families::AddDurations(const std::string& arm, const std::string& method,
                            const ArmRequests::Durations& durations) {
  total.Add({{"arm", arm}, {"method", method}}, durations.total);
  queue.Add({{"arm", arm}, {"method", method}}, durations.queue);
}

void Families::AddMethods(const std::string& arm, const ArmRequests& counts) {
  AddCodes(arm, counts);
  for (const auto& [method, durations] : counts.durations) AddDurations(arm, method, durations);
  const ArmRequests::Durations nothing;
  for (const char* method : kMethods) {
    if (!counts.requests.contains({method, "OK"})) {
      requests.Add({{"arm", arm}, {"method", method}, {"code", "OK"}}, 0);
    }
    if (!counts.durations.contains(method)) AddDurations(arm, method, nothing);
  }
}

void Families::AddArm(const std::string& arm, const ArmRequests& counts) {
  AddMethods(arm, counts);
  for (size_t i = 0; i < counts.finished.size(); ++i) {
    finished.Add({{"arm", arm}, {"reason", engine::kFinishReasonNames[i]}},
                 static_cast<double>(counts.finished[i]));
  }
  for (size_t i = 0; i < counts.assignments.size(); ++i) {
    assignments.Add({{"arm", arm}, {"reason", kAssignmentNames[i]}},
                    static_cast<double>(counts.assignments[i]));
  }
  first_token.Add({{"arm", arm}}, counts.time_to_first_token);
  per_token.Add({{"arm", arm}}, counts.time_per_output_token);
  prompt.Add({{"arm", arm}}, counts.prompt_tokens);
  completion.Add({{"arm", arm}}, counts.completion_tokens);
  score.Add({{"arm", arm}}, counts.score_nats);
  scored.Add({{"arm", arm}}, static_cast<double>(counts.scored_tokens));
}

void AppendSwaps(const RequestCounts& counts, std::vector<prometheus::MetricFamily>* families) {
  FamilyBuilder swaps = FamilyBuilder::Counter(kSwaps);
  for (const char* outcome : kOutcomeNames) {
    const auto found = counts.swaps.find(outcome);
    swaps.Add({{"outcome", outcome}},
              found == counts.swaps.end() ? 0 : static_cast<double>(found->second));
  }
  swaps.AppendTo(families);
  FamilyBuilder seconds = FamilyBuilder::Histograms(kSwapSeconds);
  seconds.Add({}, counts.swap_seconds);
  seconds.AppendTo(families);
}

}  // namespace

void AppendRequestMetrics(const RequestCounts& counts, const ShownArms& shown,
                          std::vector<prometheus::MetricFamily>* families) {
  Families out;
  const auto refused = counts.arms.find("");
  if (refused != counts.arms.end()) out.AddCodes("", *refused->second);
  const ArmRequests nothing;
  for (const auto& [arm, how] : shown) {
    const auto found = counts.arms.find(arm);
    out.AddArm(arm, found == counts.arms.end() ? nothing : *found->second);
  }
  for (FamilyBuilder* family :
       {&out.requests, &out.finished, &out.assignments, &out.total, &out.queue, &out.first_token,
        &out.per_token, &out.prompt, &out.completion, &out.score, &out.scored}) {
    family->AppendTo(families);
  }
  AppendSwaps(counts, families);
}

}  // namespace olmoe::stats
