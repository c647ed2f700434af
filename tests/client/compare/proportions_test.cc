#include "client/compare/proportions.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "boost/math/distributions/hypergeometric.hpp"
#include "boost/math/distributions/normal.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::compare {
namespace {

using ::testing::IsEmpty;
using ::testing::Pointwise;

// Fisher's tea tasting: fisher.test(TeaTasting) of R prints 0.4857, which is 34/70.
TEST(TestSameShare, IsFishersTestWhereCountsAreSmall) {
  const ProportionTest tea = TestSameShare({3, 4}, {1, 4});
  EXPECT_TRUE(tea.exact);
  EXPECT_NEAR(tea.p, 34.0 / 70, 1e-14);
  // All of the first and none of the second: 1 of choose(8, 4) tables, and its mirror image.
  EXPECT_NEAR(TestSameShare({4, 4}, {0, 4}).p, 2.0 / 70, 1e-14);
  EXPECT_NEAR(TestSameShare({0, 4}, {4, 4}).p, 2.0 / 70, 1e-14);
}

// Fisher's twins (1970), dizygotic and monozygotic: chisq.test(Convictions, correct = FALSE) of R
// prints X-squared = 13.032, p-value = 0.0003063. The least expected count is 5.2.
TEST(TestSameShare, IsChiSquaredWithoutCorrectionElsewhere) {
  const ProportionTest twins = TestSameShare({2, 17}, {10, 13});
  EXPECT_FALSE(twins.exact);
  EXPECT_NEAR(twins.p, 0.0003063, 5e-8);
}

// The slow, obvious sum over all tables of the same margins.
double SlowFisher(const Proportion& a, const Proportion& b) {
  const auto hits = static_cast<unsigned>(a.hits + b.hits);
  const boost::math::hypergeometric_distribution<> tables(
      hits, static_cast<unsigned>(a.trials), static_cast<unsigned>(a.trials + b.trials));
  const double observed = pdf(tables, static_cast<double>(a.hits));
  const auto [low, high] = range(tables);
  double p = 0;
  for (unsigned x = low; x <= high; ++x) {
    const double table = pdf(tables, x);
    if (table <= observed * (1 + 1e-7)) p += table;
  }
  return p;
}

double SlowChiSquared(const Proportion& a, const Proportion& b) {
  const double all = static_cast<double>(a.trials + b.trials);
  const double share = static_cast<double>(a.hits + b.hits) / all;
  double statistic = 0;
  for (const Proportion& one : {a, b}) {
    const double expected = share * static_cast<double>(one.trials);
    const double off = static_cast<double>(one.hits) - expected;
    statistic += off * off / expected + off * off / (static_cast<double>(one.trials) - expected);
  }
  return 2 * cdf(complement(boost::math::normal(), std::sqrt(statistic)));
}

TEST(TestSameShare, EqualsTheSlowReferenceForAllTables) {
  std::mt19937 random(1);
  const auto below = [&](uint64_t end) { return random() % end; };
  int exact = 0;
  for (int i = 0; i < 5000; ++i) {
    const uint64_t most = i % 2 == 0 ? 12 : 400;
    Proportion a{.hits = 0, .trials = 1 + below(most)}, b{.hits = 0, .trials = 1 + below(400)};
    a.hits = below(a.trials + 1);
    b.hits = below(std::min<uint64_t>(b.trials + 1, 1 + below(400)));
    if (a.hits + b.hits == 0 || a.hits + b.hits == a.trials + b.trials) continue;
    const ProportionTest test = TestSameShare(a, b);
    exact += test.exact ? 1 : 0;
    const double reference = test.exact ? SlowFisher(a, b) : SlowChiSquared(a, b);
    ASSERT_NEAR(test.p, reference, 1e-9 * reference)
        << a.hits << " of " << a.trials << ", " << b.hits << " of " << b.trials;
    EXPECT_NEAR(TestSameShare(b, a).p, test.p, 1e-9 * test.p);
  }
  EXPECT_GT(exact, 1000);
  EXPECT_LT(exact, 4000);
}

TEST(TestSameShare, HasAnAnswerForEveryCount) {
  EXPECT_EQ(TestSameShare({0, 0}, {3, 4}).p, 1);
  EXPECT_EQ(TestSameShare({0, 5}, {0, 7}).p, 1);
  EXPECT_EQ(TestSameShare({5, 5}, {7, 7}).p, 1);
  EXPECT_EQ(TestSameShare({50, 100}, {50, 100}).p, 1);
  EXPECT_EQ(TestSameShare({0, 1 << 30}, {1 << 30, 1 << 30}).p, 0);
  const uint64_t most = uint64_t{1} << 53;
  EXPECT_NEAR(TestSameShare({most / 2, most}, {most / 2, most}).p, 1, 1e-9);
  EXPECT_NEAR(TestSameShare({most - 1, most}, {most, most}).p, 1, 1e-9);  // one of two: either
  EXPECT_NEAR(TestSameShare({1, most}, {0, most}).p, 1, 1e-9);
}

MATCHER(IsNear, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) < 1e-15; }

TEST(QValues, AreThoseOfBenjaminiAndHochberg) {
  // p.adjust(p, "BH") of R, by its definition: the least p_(j) * m / j of all j >= i.
  EXPECT_THAT(QValues({0.01, 0.04, 0.03, 0.02, 0.05}),
              Pointwise(IsNear(), std::vector<double>(5, 0.05)));
  EXPECT_THAT(QValues({0.5, 0.001, 0.04, 0.008, 1}),
              Pointwise(IsNear(), std::vector<double>{0.625, 0.005, 0.2 / 3, 0.02, 1}));
  EXPECT_THAT(QValues({}), IsEmpty());
}

// The 15 p-values of Benjamini and Hochberg (1995), section 3: four discoveries at 0.05.
TEST(QValues, GiveTheDiscoveriesOfThePaper) {
  const std::vector<double> q_values =
      QValues({0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240,
               0.4262, 0.5719, 0.6528, 0.7590, 1.0000});
  EXPECT_EQ(std::count_if(q_values.begin(), q_values.end(), [](double q) { return q <= 0.05; }), 4);
}

}  // namespace
}  // namespace olmoe::client::compare
