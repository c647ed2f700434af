#ifndef OLMOE_SERVER_ROUTING_ADJUSTED_ROW_H_
#define OLMOE_SERVER_ROUTING_ADJUSTED_ROW_H_

#include <array>
#include <cstdint>
#include <span>

#include "server/routing/logit_row.h"
#include "server/routing/route.h"

namespace olmoe::routing {

// One row as a rule with an adjustment sees it: scores in place of logits, candidates in place of
// all experts. It answers what LogitRow answers, so that rules need not know which of the two they
// count in; slower, because it sorts all candidates. In the words of
// tests/data/selection/README.md, section 1: s are its scores, v what weights are made of, x its
// scores in logit units, C its candidates. Refers to the row of logits. Thread-compatible.
class AdjustedRow {
 public:
  // `logits`: finite, alive as long as this row. `adjust`: valid for as many experts.
  AdjustedRow(const LogitRow& logits, const Adjust& adjust, const RowPlace& place);
  AdjustedRow(const AdjustedRow&) = delete;
  AdjustedRow& operator=(const AdjustedRow&) = delete;

  // False where a sum overflowed: such a row has no order.
  bool finite() const;

  // Candidates: those that are not banned.
  int num_experts() const { return num_candidates_; }
  // The first `count` candidates by (score descending, id ascending), whether forced or not.
  std::span<const uint8_t> Order(int count) const {
    return {order_.data(), static_cast<size_t>(count)};
  }
  double score(int expert) const { return scores_[static_cast<size_t>(expert)]; }

  // By expert id, of all experts: softmax of the scores over the candidates, or over all with
  // BanMass::kKeep. Valid until the next call.
  std::span<const float> probabilities() { return ProbabilitiesAt(1); }
  std::span<const float> ProbabilitiesAt(double temperature);
  // Candidates with at least that probability.
  int CountAtLeast(double probability);
  // By expert id: the logits that p-values of a table are of.
  std::span<const double> logit_scores() const { return {logit_scores_.data(), size_}; }

  // The same softmax of what weights are made of.
  std::span<const float> WeightsAt(double temperature);
  // Those of `selected` divided by their sum, however small it is. [selected]
  void SharesAt(double temperature, std::span<const uint8_t> selected, std::span<float> shares);

 private:
  using Values = std::array<double, kMaxExperts>;

  void AddBias(const Bias& bias);
  void Steer(const olmoe::routing::Steer& steer);
  void AddNoise(const Noise& noise, const RowPlace& place);
  void OrderCandidates(const Adjust& adjust);
  // Softmax of `values` over mass_over_; 0 elsewhere.
  std::span<const float> SoftmaxOf(const Values& values, double temperature);

  const size_t size_;
  int num_candidates_ = 0;
  size_t num_mass_over_ = 0;
  Values scores_, weight_scores_, logit_scores_;
  std::array<uint8_t, kMaxExperts> order_;      // [num_candidates_]
  std::array<uint8_t, kMaxExperts> mass_over_;  // [num_mass_over_] ids, ascending
  std::array<float, kMaxExperts> softmax_;      // of the last call
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_ADJUSTED_ROW_H_
