#include "server/model/convert.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace olmoe::model {
namespace {

constexpr int kAllBits = 1 << 16;

// Slow and obvious: sign, exponent and mantissa as the format defines them.
double ValueOfF16(int bits) {
  const double sign = (bits & 0x8000) ? -1.0 : 1.0;
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

double ValueOfBf16(int bits) {
  const double sign = (bits & 0x8000) ? -1.0 : 1.0;
  const int exponent = (bits >> 7) & 0xff;
  const int mantissa = bits & 0x7f;
  if (exponent == 255) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, -133);
  return sign * std::ldexp(128 + mantissa, exponent - 134);
}

// The nearest bf16: of the two neighbours the closer one, of two equally close ones the
// even one. Infinity counts as the number that would follow the largest.
uint16_t NearestBf16(float value) {
  if (std::isnan(value)) return 0x7fc0;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(double{value});
  int low = 0;  // the largest finite or infinite bits with ValueOfBf16 <= magnitude
  int high = 0x7f80;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (ValueOfBf16(middle) <= magnitude) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  if (low == 0x7f80) return sign | 0x7f80;
  const double next = low + 1 == 0x7f80 ? std::ldexp(1.0, 128) : ValueOfBf16(low + 1);
  const double below = magnitude - ValueOfBf16(low);
  const double above = next - magnitude;
  const bool up = above < below || (above == below && low % 2 == 1);
  return sign | static_cast<uint16_t>(low + (up ? 1 : 0));
}

bool IsBf16Nan(uint16_t bits) { return (bits & 0x7fff) > 0x7f80; }

void ExpectSame(double expected, float actual, int bits) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(actual)) << bits;
  } else {
    ASSERT_EQ(expected, actual) << bits;
  }
  ASSERT_EQ(bits >> 15 != 0, std::signbit(actual)) << bits;
}

TEST(ConvertTest, EveryBf16IsExactInFloat32) {
  for (int bits = 0; bits < kAllBits; ++bits) {
    ExpectSame(ValueOfBf16(bits), FloatFromBf16(static_cast<uint16_t>(bits)), bits);
  }
}

TEST(ConvertTest, EveryF16IsExactInFloat32) {
  for (int bits = 0; bits < kAllBits; ++bits) {
    ExpectSame(ValueOfF16(bits), FloatFromF16(static_cast<uint16_t>(bits)), bits);
  }
}

TEST(ConvertTest, EveryBf16ComesBackFromFloat32) {
  for (int bits = 0; bits < kAllBits; ++bits) {
    const auto bf16 = static_cast<uint16_t>(bits);
    const uint16_t back = Bf16FromFloat(FloatFromBf16(bf16));
    // A NaN keeps sign and payload, and becomes quiet.
    ASSERT_EQ(back, IsBf16Nan(bf16) ? bf16 | 0x40 : bf16);
  }
}

TEST(ConvertTest, EveryF16RoundsToTheNearestBf16) {
  std::vector<uint16_t> halves(kAllBits);
  for (int bits = 0; bits < kAllBits; ++bits) halves[bits] = static_cast<uint16_t>(bits);
  std::vector<uint16_t> rounded(kAllBits);
  ConvertElements(halves.data(), DType::kFloat16, rounded.data(), DType::kBFloat16, kAllBits);
  for (int bits = 0; bits < kAllBits; ++bits) {
    const auto value = static_cast<float>(ValueOfF16(bits));
    if (std::isnan(value)) {
      ASSERT_TRUE(IsBf16Nan(rounded[bits])) << bits;
    } else {
      ASSERT_EQ(rounded[bits], NearestBf16(value)) << bits;
    }
  }
}

TEST(ConvertTest, Float32RoundsToTheNearestBf16TiesToEven) {
  std::mt19937_64 random(1);
  std::vector<float> values;
  for (int high = 0; high < kAllBits; ++high) {
    // Around every bf16: exact, just off, half-way to the next, and just off that.
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      values.push_back(std::bit_cast<float>(static_cast<uint32_t>(high) << 16 | low));
    }
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  }
  std::vector<uint16_t> rounded(values.size());
  ConvertElements(values.data(), DType::kFloat32, rounded.data(), DType::kBFloat16, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[i]);
    if (std::isnan(values[i])) {
      ASSERT_TRUE(IsBf16Nan(rounded[i])) << std::hex << bits;
      ASSERT_EQ(rounded[i] >> 15, bits >> 31) << std::hex << bits;
    } else {
      ASSERT_EQ(rounded[i], NearestBf16(values[i])) << std::hex << bits;
    }
  }
}

TEST(ConvertTest, TheSameDTypeIsCopiedBitForBit) {
  std::vector<uint32_t> source;
  for (uint32_t i = 0; i < 1000; ++i) source.push_back(i * 0x9e3779b9);  // signalling NaN too
  std::vector<uint32_t> target(source.size());
  ConvertElements(source.data(), DType::kFloat32, target.data(), DType::kFloat32, source.size());
  EXPECT_EQ(source, target);
  ConvertElements(source.data(), DType::kBFloat16, target.data(), DType::kBFloat16,
                  2 * source.size());
  EXPECT_EQ(source, target);
}

TEST(ConvertTest, ArraysOfAnyLengthAreConvertedToTheirEnd) {
  for (size_t count = 0; count < 70; ++count) {
    std::vector<uint16_t> source(count, 0x3f80);  // 1
    std::vector<float> target(count + 1, -7);
    ConvertElements(source.data(), DType::kBFloat16, target.data(), DType::kFloat32, count);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(target[i], 1);
    ASSERT_EQ(target[count], -7);
  }
}

}  // namespace
}  // namespace olmoe::model
