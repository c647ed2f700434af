// Intervals and tests, by known answers and by experiments that are simulated many times.
#include <cmath>
#include <random>
#include <vector>

#include "client/eval/bootstrap.h"
#include "client/eval/hypotheses.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace olmoe::client::eval {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

using Sums = std::vector<UnitSum>;

Sums Constant(double value, size_t units) { return Sums(units, {value, 1}); }

TEST(BootstrapContrast, OfConstantsIsTheirDifference) {
  const Contrast relative =
      BootstrapContrast(Constant(2, 30), Constant(2.2, 40), Scale::kRelative, 0.95, 1);
  EXPECT_NEAR(relative.difference, 0.1, 1e-12);
  EXPECT_NEAR(*relative.low, 0.1, 1e-12);
  EXPECT_NEAR(*relative.high, 0.1, 1e-12);
  EXPECT_NEAR(relative.p_value, 2.0 / (kResamples + 1), 1e-12);
  const Contrast nats =
      BootstrapContrast(Constant(-3, 30), Constant(-3.5, 40), Scale::kDifference, 0.95, 1);
  EXPECT_NEAR(nats.difference, -0.5, 1e-12);
  EXPECT_NEAR(*nats.high, -0.5, 1e-12);
}

TEST(BootstrapContrast, WhatIsRoundedOtherwiseIsEqual) {
  // 0.1 + 0.1 + 0.1 is not 3 * 0.1.
  const Sums one(30, {0.1, 1}), three(30, {0.1 + 0.1 + 0.1, 3});
  for (const Scale scale : {Scale::kDifference, Scale::kRelative}) {
    const Contrast contrast = BootstrapContrast(one, three, scale, 0.95, 1);
    EXPECT_EQ(contrast.difference, 0);
    EXPECT_EQ(*contrast.low, 0);
    EXPECT_EQ(*contrast.high, 0);
    EXPECT_EQ(contrast.p_value, 1);
  }
}

TEST(BootstrapContrast, IsThatOfItsSeed) {
  const Sums first = {{1, 1}, {2, 1}, {5, 2}, {0, 3}}, other = {{4, 1}, {2, 2}, {9, 1}};
  const auto low = [&](uint64_t seed) {
    return *BootstrapContrast(first, other, Scale::kDifference, 0.9, seed).low;
  };
  EXPECT_EQ(low(1), low(1));
  EXPECT_NE(low(1), low(2));
}

TEST(BootstrapContrast, AMoreConfidentIntervalIsWider) {
  Sums first, other;
  for (int i = 0; i < 50; ++i) {
    first.push_back({i * 1.0, 1});
    other.push_back({60.0 - i, 1});
  }
  const Contrast usual = BootstrapContrast(first, other, Scale::kRelative, 0.95, 1);
  const Contrast strict = BootstrapContrast(first, other, Scale::kRelative, 0.99, 1);
  EXPECT_LT(*strict.low, *usual.low);
  EXPECT_GT(*strict.high, *usual.high);
  EXPECT_EQ(strict.p_value, usual.p_value);
}

TEST(BootstrapContrast, WhatDoesNotExistHasNoInterval) {
  EXPECT_FALSE(BootstrapContrast(Constant(1, 1), Constant(2, 9), Scale::kDifference, 0.95, 1).low);
  EXPECT_FALSE(BootstrapContrast({}, Constant(2, 9), Scale::kDifference, 0.95, 1).low);
  // Some draws of the first have a mean of 0.
  const Sums rarely = {{0, 1}, {0, 1}, {1, 1}};
  EXPECT_FALSE(BootstrapContrast(rarely, Constant(2, 9), Scale::kRelative, 0.95, 1).low);
}

// An arm of an experiment: units that differ from each other, with 1 to 9 requests each that
// differ less.
Sums SimulateArm(double mean, std::mt19937_64* random) {
  std::normal_distribution<double> of_unit(mean, 1), of_request(0, 0.3);
  Sums units(40);
  for (UnitSum& unit : units) {
    const double level = of_unit(*random);
    unit.weight = static_cast<double>(1 + (*random)() % 9);
    for (int i = 0; i < static_cast<int>(unit.weight); ++i) unit.sum += level + of_request(*random);
  }
  return units;
}

// The same requests as if each were a unit.
Sums Split(const Sums& units) {
  Sums requests;
  for (const UnitSum& unit : units) {
    for (int i = 0; i < static_cast<int>(unit.weight); ++i) {
      requests.push_back({unit.sum / unit.weight, 1});
    }
  }
  return requests;
}

bool HoldsZero(const Contrast& contrast) { return *contrast.low <= 0 && 0 <= *contrast.high; }

TEST(BootstrapContrast, MissesAsOftenAsItSaysAndOnlyByUnits) {
  std::mt19937_64 random(5);
  constexpr int kExperiments = 100;
  int missed = 0, missed_by_requests = 0, found = 0;
  for (int i = 0; i < kExperiments; ++i) {
    const Sums control = SimulateArm(10, &random), same = SimulateArm(10, &random);
    const Sums better = SimulateArm(11.5, &random);
    const auto contrast = [](const Sums& first, const Sums& other) {
      return BootstrapContrast(first, other, Scale::kRelative, 0.95, 1);
    };
    missed += !HoldsZero(contrast(control, same));
    found += !HoldsZero(contrast(control, better));
    if (i < 40) missed_by_requests += !HoldsZero(contrast(Split(control), Split(same)));
  }
  EXPECT_LE(missed, 12);  // 5 of 100 are meant
  EXPECT_GE(missed, 1);
  EXPECT_GE(found, 95);
  EXPECT_GE(missed_by_requests, 10);  // of 40
}

TEST(SampleRatioTest, GivesKnownValues) {
  const ChiSquare two = SampleRatioTest(std::vector<uint64_t>{60, 40}, std::vector<uint32_t>{1, 1});
  EXPECT_DOUBLE_EQ(two.value, 4);
  EXPECT_EQ(two.degrees, 1);
  EXPECT_NEAR(two.p_value, std::erfc(std::sqrt(2.0)), 1e-12);
  const ChiSquare three =
      SampleRatioTest(std::vector<uint64_t>{10, 20, 30}, std::vector<uint32_t>{5, 5, 5});
  EXPECT_DOUBLE_EQ(three.value, 10);
  EXPECT_EQ(three.degrees, 2);
  EXPECT_NEAR(three.p_value, std::exp(-5.0), 1e-12);
  const ChiSquare exact =
      SampleRatioTest(std::vector<uint64_t>{90, 10}, std::vector<uint32_t>{90, 10});
  EXPECT_EQ(exact.value, 0);
  EXPECT_EQ(exact.p_value, 1);
}

TEST(SampleRatioTest, AnArmWithoutWeightMayHaveNoUnits) {
  const std::vector<uint32_t> weights = {1, 1, 0};
  EXPECT_EQ(SampleRatioTest(std::vector<uint64_t>{50, 50, 0}, weights).p_value, 1);
  EXPECT_EQ(SampleRatioTest(std::vector<uint64_t>{50, 50, 1}, weights).p_value, 0);
  EXPECT_EQ(SampleRatioTest(std::vector<uint64_t>{0, 0, 0}, weights).p_value, 1);
}

TEST(HolmAdjusted, GivesKnownValues) {
  EXPECT_THAT(HolmAdjusted(std::vector<double>{0.01, 0.04, 0.03, 0.005}),
              ElementsAre(DoubleNear(0.03, 1e-12), DoubleNear(0.06, 1e-12), DoubleNear(0.06, 1e-12),
                          DoubleNear(0.02, 1e-12)));
  EXPECT_THAT(HolmAdjusted(std::vector<double>{0.7, 0.6}), ElementsAre(1, 1));
  EXPECT_TRUE(HolmAdjusted({}).empty());
}

TEST(AlwaysValidInterval, GivesKnownValues) {
  // Variance and prior of 1: half^2 = 2 (ln 2 + 2 ln 20).
  const double half = std::sqrt(2 * (std::log(2.0) + 2 * std::log(20.0)));
  const AlwaysValid at_half = AlwaysValidInterval(half, 1, 1, 0.95);
  EXPECT_NEAR(at_half.low, 0, 1e-12);
  EXPECT_NEAR(at_half.high, 2 * half, 1e-12);
  EXPECT_NEAR(at_half.p_value, 0.05, 1e-12);
  EXPECT_EQ(AlwaysValidInterval(0, 1, 1, 0.95).p_value, 1);
}

TEST(AlwaysValidInterval, WithoutVarianceIsThePoint) {
  const AlwaysValid point = AlwaysValidInterval(-0.2, 0, 0.1, 0.95);
  EXPECT_EQ(point.low, -0.2);
  EXPECT_EQ(point.high, -0.2);
  EXPECT_EQ(point.p_value, 0);
  EXPECT_EQ(AlwaysValidInterval(0, 0, 0.1, 0.95).p_value, 1);
}

TEST(AlwaysValidInterval, IsWiderThanOneThatIsLookedAtOnce) {
  for (const double error : {1e-4, 1e-3, 0.01, 0.1, 1.0}) {
    const AlwaysValid valid = AlwaysValidInterval(0, error, 0.1, 0.95);
    EXPECT_GT(valid.high, 2.2 * error);
  }
}

TEST(AlwaysValidInterval, MayBeLookedAtAfterEveryUnit) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> noise(0, 1);
  constexpr int kExperiments = 400, kUnits = 500;
  int ever_missed = 0, ever_missed_fixed = 0;
  for (int i = 0; i < kExperiments; ++i) {
    double sum = 0;
    bool missed = false, missed_fixed = false;
    for (int units = 1; units <= kUnits; ++units) {
      sum += noise(random);
      const double mean = sum / units, error = 1 / std::sqrt(units);
      const AlwaysValid valid = AlwaysValidInterval(mean, error, 0.1, 0.95);
      missed = missed || valid.low > 0 || valid.high < 0;
      missed_fixed = missed_fixed || std::abs(mean) > 1.96 * error;
    }
    ever_missed += missed;
    ever_missed_fixed += missed_fixed;
  }
  EXPECT_LE(ever_missed, kExperiments * 5 / 100);
  EXPECT_GE(ever_missed_fixed, kExperiments * 30 / 100);
}

}  // namespace
}  // namespace olmoe::client::eval
