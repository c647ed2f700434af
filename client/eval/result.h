// The arithmetic of an evaluation: from replies to numbers.
#ifndef OLMOE_CLIENT_EVAL_RESULT_H_
#define OLMOE_CLIENT_EVAL_RESULT_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace olmoe::v1 {
class ScoreResponse;
}

namespace olmoe::client::eval {

// The question behind a unit, as far as it is needed to judge the answer.
struct Choice {
  size_t label = 0;
  // Bytes of each continuation without its first space: the length that acc_norm
  // divides by.
  std::vector<uint32_t> bytes;
};

// What one unit (a window, a document or a question) gave under one policy. Sums of
// units are what a report shows.
struct UnitResult {
  uint64_t units = 1;
  uint64_t skipped = 0;  // questions that cannot be asked: a continuation merges into the context
  double nll = 0;  // nats; of a question: of its right continuation
  uint64_t tokens = 0;  // predicted for `nll`
  uint64_t greedy = 0;  // of these, those that were the most likely token
  uint64_t rows = 0;  // tokens run through the layers, contexts included
  uint64_t activations = 0;  // (token, layer, expert) triples run
  double seconds = 0;  // share of the wall time
  uint64_t correct = 0;  // questions whose likeliest continuation is right
  uint64_t correct_norm = 0;  // the same by log-probability per byte
  uint64_t bytes = 0;  // of the text that was predicted for `nll`
  uint64_t choice = 0;  // of a question: index of its likeliest continuation
  // Of an analyzed rule, over all rows of the traces and all layers that it is for: their number,
  // what it selects, and of what it selects and what ran the common ones and all together.
  uint64_t analyzed_slots = 0, analyzed = 0, common = 0, either = 0;
  bool operator==(const UnitResult&) const = default;

  void Add(const UnitResult& other);

  double Loss() const { return nll / static_cast<double>(tokens); }
  double Perplexity() const;
  double TokenAccuracy() const { return static_cast<double>(greedy) / static_cast<double>(tokens); }
  double Accuracy() const { return static_cast<double>(correct) / static_cast<double>(units); }
  double AccuracyNorm() const {
    return static_cast<double>(correct_norm) / static_cast<double>(units);
  }
  // Expert activations per token, in all layers together.
  double ActivationsPerToken() const {
    return static_cast<double>(activations) / static_cast<double>(rows);
  }
  // Of an analyzed rule: experts per token and layer, and the Jaccard index of its experts and those
  // that ran. NaN where nothing was analyzed.
  double AnalyzedExperts() const {
    return static_cast<double>(analyzed) / static_cast<double>(analyzed_slots);
  }
  double AnalyzedOverlap() const {
    return static_cast<double>(common) / static_cast<double>(either);
  }
  // 0 where no time was taken.
  double TokensPerSecond() const { return seconds > 0 ? static_cast<double>(rows) / seconds : 0; }
};

// Selections of every expert, [layer * num_experts + expert].
using ExpertCounts = std::vector<uint64_t>;

// The index of the largest value, the first of equals. Not empty.
size_t ArgMax(std::span<const double> values);

// What a question gives that cannot be asked.
inline constexpr UnitResult kSkippedUnit = {.units = 0, .skipped = 1};

// Reads the reply to a unit of `windows` sequences; kSkippedUnit where an item of it has an error. INTERNAL where it does not have what
// was asked for.
absl::StatusOr<UnitResult> ReadResult(const v1::ScoreResponse& response, size_t windows,
                                      const std::optional<Choice>& choice);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_RESULT_H_
