#include "client/eval/result.h"

#include <algorithm>
#include <cmath>

#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::eval {
namespace {

void AddTokens(const v1::ScoreResult& scored, UnitResult* result) {
  result->nll -= scored.logprob_sum();
  result->tokens += scored.token_count();
  result->bytes += scored.byte_count();
  result->greedy += static_cast<uint64_t>(
      std::count_if(scored.tokens().begin(), scored.tokens().end(),
                    [](const v1::ScoredToken& token) { return token.rank() == 1; }));
}

void Judge(const v1::ScoreResponse& response, const Choice& choice, UnitResult* result) {
  std::vector<double> sums, norms;
  for (size_t i = 0; i < choice.bytes.size(); ++i) {
    const double sum = response.results(static_cast<int>(i)).logprob_sum();
    sums.push_back(sum);
    norms.push_back(sum / std::max(choice.bytes[i], 1u));
  }
  result->choice = ArgMax(sums);
  result->correct = result->choice == choice.label ? 1 : 0;
  result->correct_norm = ArgMax(norms) == choice.label ? 1 : 0;
  AddTokens(response.results(static_cast<int>(choice.label)), result);
}

}  // namespace

void UnitResult::Add(const UnitResult& other) {
  units += other.units;
  skipped += other.skipped;
  nll += other.nll;
  tokens += other.tokens;
  greedy += other.greedy;
  rows += other.rows;
  activations += other.activations;
  bytes += other.bytes;
  analyzed_slots += other.analyzed_slots;
  analyzed += other.analyzed;
  common += other.common;
  either += other.either;
  seconds += other.seconds;
  correct += other.correct;
  correct_norm += other.correct_norm;
}

double UnitResult::Perplexity() const { return std::exp(Loss()); }

size_t ArgMax(std::span<const double> values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

absl::StatusOr<UnitResult> ReadResult(const v1::ScoreResponse& response, size_t windows,
                                      const std::optional<Choice>& choice) {
  if (std::any_of(response.results().begin(), response.results().end(),
                  [](const v1::ScoreResult& result) { return result.has_error(); })) {
    return kSkippedUnit;
  }
  const size_t wanted = choice ? choice->bytes.size() : 1;
  if (static_cast<size_t>(response.results_size()) != wanted ||
      response.usage().prompt_tokens() <= windows) {
    return absl::InternalError("the server's reply does not have what was asked for");
  }
  UnitResult result;
  // The last token of a sequence is predicted and never run.
  result.rows = response.usage().prompt_tokens() - windows;
  result.activations =
      response.usage().expert_activations() + response.usage().cached_expert_activations();
  if (choice) {
    Judge(response, *choice, &result);
  } else {
    AddTokens(response.results(0), &result);
  }
  if (result.tokens == 0 || !std::isfinite(result.nll)) {
    return absl::InternalError("the server's reply has no finite log-probabilities");
  }
  return result;
}

}  // namespace olmoe::client::eval
