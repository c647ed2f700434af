// Whether a share is the same in two samples: a test on exact counts.
#ifndef OLMOE_CLIENT_COMPARE_PROPORTIONS_H_
#define OLMOE_CLIENT_COMPARE_PROPORTIONS_H_

#include <cstdint>
#include <vector>

namespace olmoe::client::compare {

// `hits` of `trials`, of which there are at least as many.
struct Proportion {
  uint64_t hits = 0;
  uint64_t trials = 0;

  double Share() const {
    return trials > 0 ? static_cast<double>(hits) / static_cast<double>(trials) : 0;
  }
};

// What came of a test.
struct ProportionTest {
  double p = 1;        // two-sided p-value, [0, 1]; 0 below about 1e-300
  bool exact = false;  // Fisher's exact test, else chi-squared
};

// Tests whether `a` and `b` have the same share, trials being independent draws: Pearson's
// chi-squared test of the 2x2 table with one degree of freedom, which is the z test with pooled
// variance, without a correction of continuity; and where an expected count is below 5 (Cochran
// 1954) Fisher's exact test, two-sided as R's fisher.test: over the tables that are at most as
// likely as this one. p = 1 where all trials of both came out alike, or one has none.
ProportionTest TestSameShare(const Proportion& a, const Proportion& b);

// The q-value of each p-value: the smallest level of Benjamini and Hochberg (1995) at which it is
// among the discoveries. Same order; R's p.adjust(p, "BH").
std::vector<double> QValues(const std::vector<double>& p_values);

}  // namespace olmoe::client::compare

#endif  // OLMOE_CLIENT_COMPARE_PROPORTIONS_H_
