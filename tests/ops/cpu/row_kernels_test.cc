// The row kernels of every instruction set that runs here, against doubles; operands lie
// against pages that cannot be touched.
#include "server/ops/cpu/row_kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/ops/cpu/guarded.h"

namespace olmoe::ops {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kRound = 0x1p-24;
constexpr int kSizes[] = {1,  2,  3,  4,  5,  7,  8,   9,   15,  16,  17,   31,
                          32, 33, 47, 63, 64, 65, 100, 127, 128, 255, 1000, 2048};

Guarded<float> Random(int n, uint32_t seed, float scale = 1) {
  Guarded<float> values(static_cast<size_t>(n));
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  for (size_t i = 0; i < values.size(); ++i) values[i] = normal(generator);
  return values;
}

float Wide(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

class RowKernelsTest : public ::testing::TestWithParam<CpuIsa> {
 protected:
  const RowKernels& kernels() const { return RowKernelsFor(GetParam()); }
};

// n / 64 or so additions in a lane and a few across lanes; the root and three products.
double NormBound(int n) { return (n / 4 + 16) * kRound; }

TEST_P(RowKernelsTest, RmsNormDividesByTheRootOfTheMeanSquareAndEpsilon) {
  for (const int n : kSizes) {
    const Guarded<float> x = Random(n, 1, 0.05f), weight = Random(n, 2);
    double squares = 0;
    for (const float value : x.span()) squares += double{value} * value;
    const double scale = 1 / std::sqrt(squares / n + 1e-3f);
    Guarded<float> found(x.size());
    kernels().rms_norm(x.data(), weight.data(), n, 1e-3f, found.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = x[i] * scale * weight[i];
      ASSERT_NEAR(found[i], expected, NormBound(n) * std::abs(expected)) << n;
    }
    Guarded<float> in_place = Random(n, 1, 0.05f);
    kernels().rms_norm(in_place.data(), weight.data(), n, 1e-3f, in_place.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(in_place[i], found[i]);
  }
}

TEST_P(RowKernelsTest, RmsNormOfARowWithNaNIsNaN) {
  Guarded<float> x = Random(100, 1);
  const Guarded<float> weight = Random(100, 2);
  x[77] = kNaN;
  kernels().rms_norm(x.data(), weight.data(), 100, 1e-5f, x.data());
  for (const float value : x.span()) EXPECT_TRUE(std::isnan(value));
}

TEST_P(RowKernelsTest, RopeRotatesTheTwoHalvesOfEveryHead) {
  for (const int head_size : {2, 6, 8, 10, 16, 34, 64, 96, 128}) {
    const int half = head_size / 2;
    const Guarded<float> x = Random(3 * head_size, 1);
    Guarded<float> cosines(static_cast<size_t>(half)), sines(static_cast<size_t>(half));
    for (size_t i = 0; i < cosines.size(); ++i) {
      cosines[i] = std::cos(0.7f * static_cast<float>(i + 1));
      sines[i] = std::sin(0.7f * static_cast<float>(i + 1));
    }
    Guarded<float> found = Random(3 * head_size, 1);
    kernels().rope(found.data(), 3, head_size, cosines.data(), sines.data());
    for (int head = 0; head < 3; ++head) {
      for (int i = 0; i < half; ++i) {
        const size_t first = static_cast<size_t>(head * head_size + i);
        const size_t second = first + static_cast<size_t>(half), at = static_cast<size_t>(i);
        const double a = x[first], b = x[second], c = cosines[at], s = sines[at];
        const double bound = 2 * kRound * (std::abs(a) + std::abs(b));
        ASSERT_NEAR(found[first], a * c - b * s, bound);
        ASSERT_NEAR(found[second], b * c + a * s, bound);
      }
    }
  }
}

TEST_P(RowKernelsTest, ClampKeepsNaNAndWhatLiesWithin) {
  for (const int n : kSizes) {
    Guarded<float> x = Random(n, 3, 3);
    x[0] = kNaN;
    if (n > 2) x[1] = kInfinity, x[2] = -kInfinity;
    std::vector<float> before(x.span().begin(), x.span().end());
    kernels().clamp(x.data(), n, 2.5f);
    EXPECT_TRUE(std::isnan(x[0]));
    for (size_t i = 1; i < x.size(); ++i) {
      ASSERT_EQ(x[i], std::clamp(before[i], -2.5f, 2.5f)) << n;
    }
  }
}

TEST_P(RowKernelsTest, AddIsExact) {
  for (const int n : kSizes) {
    const Guarded<float> x = Random(n, 4), before = Random(n, 5);
    Guarded<float> sum = Random(n, 5);
    kernels().add(x.data(), n, sum.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(sum[i], before[i] + x[i]);
  }
}

TEST_P(RowKernelsTest, AddWeightedSumsInTheOrderOfTheSlots) {
  for (const int n : kSizes) {
    std::vector<Guarded<float>> slots;
    std::vector<const float*> pointers;
    for (uint32_t slot = 0; slot < 8; ++slot) slots.push_back(Random(n, 10 + slot));
    for (const Guarded<float>& slot : slots) pointers.push_back(slot.data());
    const Guarded<float> weights = Random(8, 6), before = Random(n, 7);
    for (const int number : {0, 1, 3, 8}) {
      Guarded<float> sum = Random(n, 7);
      kernels().add_weighted(pointers.data(), weights.data(), number, n, sum.data());
      for (size_t i = 0; i < sum.size(); ++i) {
        double expected = before[i], absolute = std::abs(before[i]);
        for (size_t slot = 0; slot < static_cast<size_t>(number); ++slot) {
          expected += double{weights[slot]} * slots[slot][i];
          absolute += std::abs(double{weights[slot]} * slots[slot][i]);
        }
        ASSERT_NEAR(sum[i], expected, 2 * number * kRound * absolute) << n;
      }
    }
  }
}

TEST_P(RowKernelsTest, AddWeightedFollowsTheOrderWhereItShows) {
  // 2^30 + 1 - 2^30 + 1 is 1 from left to right in float32, and 2 in another order.
  const float large = 0x1p30f, one = 1, minus = -0x1p30f;
  const float* slots[] = {&large, &one, &minus, &one};
  const float weights[] = {1, 1, 1, 1};
  float sum = 0;
  kernels().add_weighted(slots, weights, 4, 1, &sum);
  EXPECT_EQ(sum, 1);
}

TEST_P(RowKernelsTest, WideningAndNarrowingKeepEveryNormalBFloat16) {
  constexpr int kAll = 1 << 16;
  Guarded<uint16_t> bits(kAll);
  for (size_t i = 0; i < kAll; ++i) bits[i] = static_cast<uint16_t>(i);
  Guarded<float> wide(kAll);
  kernels().widen(bits.data(), kAll, wide.data());
  Guarded<uint16_t> narrow(kAll);
  kernels().narrow(wide.data(), kAll, narrow.data());
  for (size_t i = 0; i < kAll; ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(wide[i]), static_cast<uint32_t>(i) << 16);
    if (std::isnan(wide[i])) {
      ASSERT_TRUE(std::isnan(Wide(narrow[i])));
    } else if (wide[i] == 0 || std::isnormal(wide[i]) || std::isinf(wide[i])) {
      ASSERT_EQ(narrow[i], bits[i]);
    } else {
      ASSERT_TRUE(narrow[i] == bits[i] || Wide(narrow[i]) == 0);
    }
  }
}

TEST_P(RowKernelsTest, NarrowingRoundsToNearestEven) {
  for (const int n : kSizes) {
    Guarded<float> x = Random(n, 11, 100);
    if (n > 4) {
      x[0] = std::bit_cast<float>(0x3f808000u);  // halfway, to the even one below
      x[1] = std::bit_cast<float>(0x3f818000u);  // halfway, to the even one above
      x[2] = std::bit_cast<float>(0x7f7fffffu);  // the largest number, to infinity
      x[3] = std::bit_cast<float>(0x7f800001u);  // a NaN whose leading bits are infinity's
      x[4] = std::bit_cast<float>(0x7fffffffu);  // a NaN that a carry would make -0
    }
    Guarded<uint16_t> found(x.size());
    kernels().narrow(x.data(), n, found.data());
    for (size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {
        ASSERT_TRUE(std::isnan(Wide(found[i])));
        continue;
      }
      const uint32_t bits = std::bit_cast<uint32_t>(x[i]);
      ASSERT_EQ(found[i], (bits + 0x7fff + ((bits >> 16) & 1)) >> 16) << x[i];
    }
  }
}

TEST_P(RowKernelsTest, FinishingARowNormsClipsAndRotatesItsParts) {
  constexpr int kHeads = 4, kKvHeads = 2, kSize = 6;
  constexpr int kQuery = kHeads * kSize, kKv = kKvHeads * kSize;
  const Guarded<float> query_norm = Random(kQuery, 1), key_norm = Random(kKv, 2);
  const Guarded<float> cosines = Random(kSize / 2, 3), sines = Random(kSize / 2, 4);
  for (const float clip : {0.0f, 0.5f}) {
    Guarded<float> expected = Random(kQuery + 2 * kKv, 5), found = Random(kQuery + 2 * kKv, 5);
    float* parts[] = {expected.data(), expected.data() + kQuery, expected.data() + kQuery + kKv};
    kernels().rms_norm(parts[0], query_norm.data(), kQuery, 1e-5f, parts[0]);
    kernels().rms_norm(parts[1], key_norm.data(), kKv, 1e-5f, parts[1]);
    if (clip > 0) {
      for (size_t i = 0; i < expected.size(); ++i) {
        expected[i] = std::clamp(expected[i], -clip, clip);
      }
    }
    kernels().rope(parts[0], kHeads, kSize, cosines.data(), sines.data());
    kernels().rope(parts[1], kKvHeads, kSize, cosines.data(), sines.data());
    const QkvFinish finish = {
        query_norm.data(), key_norm.data(), 1e-5f, clip, kHeads, kKvHeads, kSize};
    FinishQkvRow(kernels(), finish, cosines.data(), sines.data(), found.data());
    for (size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], expected[i]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, RowKernelsTest, ::testing::ValuesIn(SupportedIsas()),
                         [](const auto& info) {
                           std::string name(IsaName(info.param));
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace olmoe::ops
