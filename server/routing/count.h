// How many experts each rule wants for a row, before min_k and max_k. Every rule but an expression
// keeps a prefix of the order (score descending, id ascending), so the count is the whole decision.
// Score, order and number of experts are those of the row: LogitRow, or AdjustedRow where the
// rule adjusts it.
//
// Top-k, top-p and min-p look at the probabilities alone. The other two ask a
// statistical question: which logits are too high to be "background"?
//
// Benjamini-Hochberg
// ------------------
// Y. Benjamini, Y. Hochberg (1995), Controlling the false discovery rate: a
// practical and powerful approach to multiple testing, J. R. Statist. Soc. B 57(1),
// 289-300. Each expert gets a p-value: how often the background gives a logit at
// least this high. With the p-values in ascending order p_(1) <= ... <= p_(E), the
// rule keeps the first
//
//   k = max{ k : p_(k) * E <= alpha * k },  0 if there is none.
//
// Read it as a line through the origin with slope alpha / E: the *last* rank that
// lies on or below the line counts, also when earlier ranks lie above it. That is
// what "step-up" means, and the usual mistake is to stop at the first failure:
//
//   E = 4, alpha = .05    rank      1      2      3      4
//                         p_(k)   .030   .040   .040   .045
//                         line    .0125  .025   .0375  .050
//                         passes    no     no     no    yes     ->  k = 4
//
//   E = 4, alpha = .05    p_(k)   .010   .030   .040   .060
//                         passes   yes     no     no     no     ->  k = 1
//
//   E = 64, p_(k) = (k - 1) / 64: k = 1, 2, 3, 3, 4 for alpha = .49, .5, .6667, 2/3, .75
//   E = 64, p_(k) = k / 64:       k = 0 for every alpha < 1, 64 for alpha = 1
//
// All E ranks are examined whatever max_k is; max_k then cuts the result. Both
// products are taken in double exactly as written, so that equality is equality: a
// p-value of .03125 passes rank 2 of 64 at alpha = 1, and the next double does not.
// bf16 would be hopeless here: 1 - bf16(1 - p) is a multiple of .0039, while rank 1
// of 64 at alpha = .05 asks for p <= .00078.
//
// Order of the logits and order of the p-values are the same because a p-value
// never grows with the logit; ties in p (a clamped or flat table) are broken by the
// logit, which is finer.
//
// Cost: E table look-ups. Only experts with p * E <= alpha * E can be the last
// passing rank, so only the order down to the lowest of them is found: a handful
// of ranks for a small alpha.
//
// What it means: alpha is a knob for the number of experts, not a guarantee. The
// false discovery rate of the paper is that of independent tests with a truth
// behind them; router logits have neither. Tests: tests/routing/vectors_test.cc
// (an oracle in rational arithmetic), property_test.cc (a million random rows).
//
// Higher criticism
// ----------------
// D. Donoho, J. Jin (2004), Higher criticism for detecting sparse heterogeneous
// mixtures, Ann. Statist. 32(3), 962-994. How many standard deviations is the share
// of p-values up to p_(i) above what uniform p-values would give?
//
//   HC(i) = sqrt(E) * (i/E - p_(i)) / sqrt(p_(i) * (1 - p_(i)) + 1e-10)
//
// The first maximum over the candidate ranks is the count. Candidates are the
// first max(1, floor(E * beta)) ranks, or without beta the ranks with p_(i) < i/E;
// never a rank below min_k. The maximum may be negative and still counts.
//
//   E = 4, p = .01 .02 .60 .90   HC = 4.82 6.86 .61 .67  ->  2
#ifndef OLMOE_SERVER_ROUTING_COUNT_H_
#define OLMOE_SERVER_ROUTING_COUNT_H_

#include <span>

#include "server/routing/adjusted_row.h"
#include "server/routing/logit_row.h"
#include "server/routing/route.h"

namespace olmoe::routing {

// `ranked_p`: the p-values of the first ranks, p_(1), p_(2), ...; later ranks are
// known not to pass.
int BenjaminiHochbergCount(std::span<const double> ranked_p, int num_experts, double alpha);

// `ranked_p`: the p-values of at least the first `last_rank` ranks. `only_below_line`:
// candidates are the ranks with p_(i) < i/E.
int HigherCriticismCount(std::span<const double> ranked_p, int num_experts, int first_rank,
                         int last_rank, bool only_below_line);

// p-values by expert id into `p`, which has a place for each expert of the model. kLayerCdf needs
// `cdf`. `Row`: LogitRow or AdjustedRow.
template <class Row>
void PValues(const PValueSource& source, const CdfTable* cdf, Row* row, std::span<double> p);

// What the rule itself says: 0..num_experts of the row. A rule on a layer CDF has its table.
// REQUIRES: it is no Expression.
template <class Row>
int RawCount(const LayerRule& rule, Row* row);

// The experts for which the expression of the rule holds, in the order, into `kept`. Returns their
// number.
int KeptBy(const LayerRule& rule, const RouterShape& shape, const RowPlace& place,
           std::span<const float> logits, AdjustedRow* row, std::span<uint8_t> kept);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_COUNT_H_
