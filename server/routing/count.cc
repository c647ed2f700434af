#include "server/routing/count.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "glog/logging.h"
#include "server/routing/calibration.h"

namespace olmoe::routing {
namespace {

using PRow = std::array<double, kMaxExperts>;

// p-values of the first `count` ranks, in order.
std::span<const double> Ranked(const PRow& p, int count, LogitRow* row, PRow* ranked) {
  int rank = 0;
  for (const uint8_t expert : row->Order(count)) (*ranked)[rank++] = p[expert];
  return {ranked->data(), static_cast<size_t>(count)};
}

// Ranks down to the last expert that could pass at any rank. (By rank and not by
// counting: interpolation may give the lower of two logits the smaller p-value, by
// an ulp.)
int RanksThatCanPass(const PRow& p, double alpha, const LogitRow& row) {
  const int num_experts = row.num_experts();
  int lowest = -1;
  for (int expert = 0; expert < num_experts; ++expert) {
    const bool can_pass = p[expert] * num_experts <= alpha * num_experts;
    // Of equal logits the larger id is the later rank.
    if (can_pass && (lowest < 0 || row.logits()[expert] <= row.logits()[lowest])) lowest = expert;
  }
  return lowest < 0 ? 0 : row.Rank(lowest);
}

// The count of one rule on one row.
class Counter {
 public:
  Counter(const CdfTable* cdf, LogitRow* row) : cdf_(cdf), row_(*row) {}

  int operator()(const std::monostate&) const {
    LOG(FATAL) << "a rule of no kind was not validated";
  }

  int operator()(const TopK& rule) const { return static_cast<int>(rule.k); }

  int operator()(const TopP& rule) const {
    double mass = 0;
    for (int k = 1; k < row_.num_experts(); ++k) {
      mass += row_.probabilities()[row_.Order(k).back()];
      if (mass >= rule.p) return k;
    }
    return row_.num_experts();
  }

  int operator()(const MinP& rule) const {
    const double least = rule.ratio * row_.probabilities()[row_.Order(1).front()];
    return static_cast<int>(std::count_if(row_.probabilities().begin(), row_.probabilities().end(),
                                          [least](float prob) { return prob >= least; }));
  }

  int operator()(const BenjaminiHochberg& rule) const {
    PRow p, ranked;
    PValues(rule.p_values, cdf_, &row_, p);
    const int ranks = RanksThatCanPass(p, rule.alpha, row_);
    return BenjaminiHochbergCount(Ranked(p, ranks, &row_, &ranked), row_.num_experts(), rule.alpha);
  }

  int operator()(const HigherCriticism& rule) const {
    const int num_experts = row_.num_experts();
    const int last =
        rule.beta ? std::max(1, static_cast<int>(num_experts * *rule.beta)) : num_experts;
    PRow p, ranked;
    PValues(rule.p_values, cdf_, &row_, p);
    return HigherCriticismCount(Ranked(p, last, &row_, &ranked), num_experts,
                                static_cast<int>(rule.bounds.min_k.value_or(1)), last, !rule.beta);
  }

 private:
  const CdfTable* const cdf_;
  LogitRow& row_;
};

}  // namespace

int BenjaminiHochbergCount(std::span<const double> ranked_p, int num_experts, double alpha) {
  for (int k = static_cast<int>(ranked_p.size()); k >= 1; --k) {
    if (ranked_p[k - 1] * num_experts <= alpha * k) return k;
  }
  return 0;
}

int HigherCriticismCount(std::span<const double> ranked_p, int num_experts, int first_rank,
                         int last_rank, bool only_below_line) {
  constexpr double kEpsilon = 1e-10;
  const double n = num_experts;
  int best_rank = 0;
  double best = 0;
  for (int rank = first_rank; rank <= last_rank; ++rank) {
    const double p = ranked_p[rank - 1];
    if (only_below_line && !(p < rank / n)) continue;
    const double hc = std::sqrt(n) * (rank / n - p) / std::sqrt(p * (1 - p) + kEpsilon);
    if (best_rank == 0 || hc > best) {
      best_rank = rank;
      best = hc;
    }
  }
  return best_rank;
}

void PValues(const PValueSource& source, const CdfTable* cdf, LogitRow* row, std::span<double> p) {
  const size_t num_experts = row->logits().size();
  if (source.kind == PValueKind::kLayerCdf) {
    cdf->PValues(row->logits(), p.first(num_experts));
  } else {
    const std::span<const float> probabilities = row->ProbabilitiesAt(source.temperature);
    for (size_t i = 0; i < num_experts; ++i) p[i] = ClampPValue(1 - double{probabilities[i]});
  }
}

int RawCount(const LayerRule& rule, LogitRow* row) {
  return std::visit(Counter(rule.cdf, row), rule.rule.kind);
}

}  // namespace olmoe::routing
