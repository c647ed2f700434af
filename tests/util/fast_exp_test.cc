#include "server/util/fast_exp.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace olmoe {
namespace {

// Calls `check` with every 1009th float from 0 down to `lowest`.
template <typename Check>
void ForFloatsDownTo(float lowest, const Check& check) {
  constexpr uint32_t kNegativeZero = 0x80000000u;
  for (uint32_t bits = kNegativeZero; bits <= std::bit_cast<uint32_t>(lowest); bits += 1009) {
    check(std::bit_cast<float>(bits));
  }
}

template <typename Exp>
uint64_t HashOfBits(float lowest, const Exp& exp) {
  uint64_t hash = 0;
  ForFloatsDownTo(lowest, [&](float x) {
    hash = hash * 0x9E3779B97F4A7C15u + std::bit_cast<uint32_t>(exp(x));
  });
  return hash;
}

// Replies depend on these bits: log-probabilities and samples, weights of experts.
TEST(FastExpTest, BitsAreWhatTheyHaveAlwaysBeen) {
  EXPECT_EQ(HashOfBits(-100, ExpOfNonPositive), 0x39ec36f280e2a5au);
  EXPECT_EQ(HashOfBits(-110, ExpWithDenormals), 0x638fa519c02dc59au);
}

TEST(FastExpTest, IsWithinOneUnitInTheLastPlace) {
  constexpr float kSmallestNormal = -87;
  ForFloatsDownTo(kSmallestNormal, [](float x) {
    const double exact = std::exp(static_cast<double>(x));
    const double unit = std::ldexp(1.0, std::ilogb(exact) - 23);
    ASSERT_LT(std::abs(ExpOfNonPositive(x) - exact), unit) << x;
    ASSERT_LT(std::abs(ExpWithDenormals(x) - exact), unit) << x;
  });
}

TEST(FastExpTest, EndsAreExact) {
  EXPECT_EQ(ExpOfNonPositive(0), 1);
  EXPECT_EQ(ExpWithDenormals(0), 1);
  EXPECT_EQ(ExpOfNonPositive(-87.5f), 0);
  EXPECT_EQ(ExpOfNonPositive(-std::numeric_limits<float>::infinity()), 0);
  EXPECT_EQ(ExpWithDenormals(-103), std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(ExpWithDenormals(-110), 0);
}

}  // namespace
}  // namespace olmoe
