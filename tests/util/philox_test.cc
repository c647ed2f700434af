#include "server/util/philox.h"

#include <array>
#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace olmoe {
namespace {

// Known answers of the authors' distribution (Random123, kat_vectors).
TEST(Philox, GivesThePublishedKnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformNumbersAreInRangeAndUncorrelatedWithThePosition) {
  double sum = 0;
  constexpr int kNumber = 10000;
  for (uint64_t position = 0; position < kNumber; ++position) {
    const double uniform = UniformAt(99, position);
    ASSERT_GE(uniform, 0);
    ASSERT_LT(uniform, 1);
    sum += uniform;
  }
  EXPECT_NEAR(sum / kNumber, 0.5, 4 / std::sqrt(12.0 * kNumber));
}

}  // namespace
}  // namespace olmoe
