#include "server/routing/count.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "glog/logging.h"
#include "server/routing/calibration.h"
#include "server/routing/expression.h"

namespace olmoe::routing {
namespace {

using PRow = std::array<double, kMaxExperts>;

// p-values of the first `count` ranks, in order.
template <class Row>
std::span<const double> Ranked(const PRow& p, int count, Row* row, PRow* ranked) {
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
// Its order is there already.
int RanksThatCanPass(const PRow&, double, const AdjustedRow& row) { return row.num_experts(); }

std::span<const float> LogitsOf(const LogitRow& row) { return row.logits(); }
std::span<const double> LogitsOf(const AdjustedRow& row) { return row.logit_scores(); }

// The count of one rule on one row.
template <class Row>
class Counter {
 public:
  Counter(const CdfTable* cdf, Row* row) : cdf_(cdf), row_(*row) {}

  int operator()(const std::monostate&) const {
    LOG(FATAL) << "a rule of no kind was not validated";
    return 0;
  }

  int operator()(const TopK& rule) const { return static_cast<int>(rule.k); }

  int operator()(const TopP& rule) const {
    const std::span<const float> probabilities = row_.probabilities();
    double mass = 0;
    for (int k = 1; k < row_.num_experts(); ++k) {
      mass += probabilities[row_.Order(k).back()];
      if (mass >= rule.p) return k;
    }
    return row_.num_experts();
  }

  int operator()(const MinP& rule) const {
    return row_.CountAtLeast(rule.ratio * row_.probabilities()[row_.Order(1).front()]);
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

  int operator()(const Expression&) const {
    LOG(FATAL) << "an expression keeps no prefix: KeptBy";
    return 0;
  }

 private:
  const CdfTable* const cdf_;
  Row& row_;
};

// The variables that all experts of a row share.
void SetVariablesOfRow(const RouterShape& shape, const RowPlace& place,
                       std::span<const double> ranked_p, ExpressionVariables* variables) {
  double* const largest[] = {&variables->p1, &variables->p2, &variables->p3, &variables->p4,
                             &variables->p5, &variables->p6, &variables->p7, &variables->p8};
  for (size_t i = 0; i < std::size(largest); ++i)
    *largest[i] = i < ranked_p.size() ? ranked_p[i] : 0;
  double sum = 0;
  for (const double p : ranked_p) sum += p > 0 ? p * std::log(p) : 0;
  variables->entropy = -sum;
  variables->experts = shape.num_experts;
  variables->k0 = shape.default_k;
  variables->layer = place.layer;
  variables->layers = shape.num_layers;
  variables->position = static_cast<double>(place.position);
  variables->decode = place.late ? 1 : 0;
}

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

template <class Row>
void PValues(const PValueSource& source, const CdfTable* cdf, Row* row, std::span<double> p) {
  if (source.kind == PValueKind::kLayerCdf) {
    const auto logits = LogitsOf(*row);
    cdf->PValues(logits, p.first(logits.size()));
  } else {
    const std::span<const float> probabilities = row->ProbabilitiesAt(source.temperature);
    for (size_t i = 0; i < probabilities.size(); ++i) {
      p[i] = ClampPValue(1 - double{probabilities[i]});
    }
  }
}

template <class Row>
int RawCount(const LayerRule& rule, Row* row) {
  return std::visit(Counter<Row>(rule.cdf, row), rule.rule.kind);
}

template void PValues(const PValueSource&, const CdfTable*, LogitRow*, std::span<double>);
template void PValues(const PValueSource&, const CdfTable*, AdjustedRow*, std::span<double>);
template int RawCount(const LayerRule&, LogitRow*);
template int RawCount(const LayerRule&, AdjustedRow*);

int KeptBy(const LayerRule& rule, const RouterShape& shape, const RowPlace& place,
           std::span<const float> logits, AdjustedRow* row, std::span<uint8_t> kept) {
  const std::span<const uint8_t> order = row->Order(row->num_experts());
  PRow ranked_p;
  const std::span<const float> probabilities = row->probabilities();
  for (size_t i = 0; i < order.size(); ++i) ranked_p[i] = probabilities[order[i]];
  const CompiledExpression::Loan expression = rule.expression->Borrow();
  ExpressionVariables& variables = expression->variables();
  SetVariablesOfRow(shape, place, std::span(ranked_p).first(order.size()), &variables);
  int num_kept = 0;
  double before = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const uint8_t expert = order[i];
    variables.z = logits[expert];
    variables.s = row->score(expert);
    variables.p = ranked_p[i];
    variables.rank = static_cast<double>(i + 1);
    variables.before = before;
    variables.expert = expert;
    if (rule.cdf != nullptr) variables.pvalue = rule.cdf->PValue(row->logit_scores()[expert]);
    if (expression->Keeps()) kept[static_cast<size_t>(num_kept++)] = expert;
    before += ranked_p[i];
  }
  return num_kept;
}

}  // namespace olmoe::routing
