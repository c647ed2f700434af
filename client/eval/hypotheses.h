// What is concluded from a measurement beside an interval: whether a split is as planned, many
// comparisons at once, and looking at an experiment before its end.
#ifndef OLMOE_CLIENT_EVAL_HYPOTHESES_H_
#define OLMOE_CLIENT_EVAL_HYPOTHESES_H_

#include <cstdint>
#include <span>
#include <vector>

namespace olmoe::client::eval {

struct ChiSquare {
  double value = 0;
  int degrees = 0;  // of freedom: groups that may have units, less one
  double p_value = 1;
};

// Pearson's test that units fall into groups in the ratio of `weights`, one weight a count. A
// group of weight 0 that has a unit: infinite, p = 0. p = 1 where there are no units.
ChiSquare SampleRatioTest(std::span<const uint64_t> counts, std::span<const uint32_t> weights);

// p-values adjusted for being several (S. Holm, A Simple Sequentially Rejective Multiple Test
// Procedure, 1979), in the order given: those below alpha are rejected, and the chance that a
// true hypothesis is among them is at most alpha, however they depend on each other.
std::vector<double> HolmAdjusted(std::span<const double> p_values);

struct AlwaysValid {
  double low = 0, high = 0;
  double p_value = 1;  // of a difference of 0
};

// The mixture sequential probability ratio test of an estimate that is about normal (R. Johari,
// L. Pekelis, D. Walsh, Always Valid Inference, arXiv:1512.04922, section 4): the chance that
// the interval EVER misses the truth, at whatever moments it is looked at, is at most
// 1 - confidence, so that one may look as often as one likes, and stop when one likes. That the
// standard error is itself estimated, and the estimate a mean of unknown distribution, changes
// it only at the beginning (I. Waudby-Smith et al., arXiv:2103.06476, asymptotic confidence
// sequences, whose boundary is the same). `tau` > 0, the effect at whose size the interval is
// tightest, has to be chosen before the data is seen.
AlwaysValid AlwaysValidInterval(double estimate, double standard_error, double tau,
                                double confidence);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_HYPOTHESES_H_
