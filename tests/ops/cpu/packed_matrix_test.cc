#include "server/ops/cpu/packed_matrix.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "tests/ops/cpu/guarded.h"

namespace olmoe::ops {
namespace {

// Element (row, i) of a weight: exact in bfloat16.
float ValueAt(int64_t row, int64_t i) { return static_cast<float>((row * 7 + i * 3) % 251 - 120); }

// Packs rows first .. first + number - 1 as one block, from memory without surroundings.
void PackRows(int64_t first, int64_t number, PackedMatrix* matrix) {
  const int64_t in = matrix->in();
  Guarded<uint16_t> narrow(static_cast<size_t>(number * in));
  Guarded<float> wide(static_cast<size_t>(number * in));
  for (int64_t row = 0; row < number; ++row) {
    for (int64_t i = 0; i < in; ++i) {
      const float value = ValueAt(first + row, i);
      wide[static_cast<size_t>(row * in + i)] = value;
      narrow[static_cast<size_t>(row * in + i)] =
          static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    }
  }
  const void* rows = matrix->precision() == Precision::kFloat32
                         ? static_cast<const void*>(wide.data())
                         : narrow.data();
  const PackedMatrix::Place place{.first_row = first, .number = number, .group = 32};
  for (int64_t panel = place.begin(); panel < place.end(); ++panel) {
    matrix->PackPanel(rows, place, panel);
  }
}

class PackedMatrixTest : public ::testing::TestWithParam<Precision> {};

TEST_P(PackedMatrixTest, RowsOfBlocksThatEndInsidePanelsAreReadBack) {
  for (const int64_t in : {1, 2, 31, 32, 33, 100}) {
    PackedMatrix matrix(75, in, GetParam());
    PackRows(40, 35, &matrix);
    PackRows(0, 9, &matrix);
    PackRows(9, 31, &matrix);
    for (int64_t row = 0; row < 75; ++row) {
      Guarded<float> found(static_cast<size_t>(in));
      matrix.UnpackRow(row, found.data());
      for (int64_t i = 0; i < in; ++i) {
        ASSERT_EQ(found[static_cast<size_t>(i)], ValueAt(row, i)) << row << ", " << i;
      }
    }
  }
}

TEST_P(PackedMatrixTest, PaddingIsZero) {
  PackedMatrix matrix(33, 5, GetParam());
  PackRows(0, 33, &matrix);
  int64_t zeros = 0;
  const int64_t elements = matrix.num_panels() * matrix.depth() * 32;
  for (int64_t i = 0; i < elements; ++i) {
    zeros += GetParam() == Precision::kFloat32
                 ? reinterpret_cast<const float*>(matrix.panel(0))[i] == 0
                 : reinterpret_cast<const uint16_t*>(matrix.panel(0))[i] == 0;
  }
  int64_t zeros_of_weight = 0;
  for (int64_t row = 0; row < 33; ++row) {
    for (int64_t i = 0; i < 5; ++i) zeros_of_weight += ValueAt(row, i) == 0;
  }
  EXPECT_EQ(zeros, elements - 33 * 5 + zeros_of_weight);
  EXPECT_EQ(matrix.num_panels(), 2);
  EXPECT_EQ(matrix.depth(), GetParam() == Precision::kFloat32 ? 5 : 32);
}

// The layout that the header of the kernels draws.
TEST(PackedMatrix, PairsOfInputsLieSideBySide) {
  PackedMatrix matrix(3, 4, Precision::kBFloat16);
  const uint16_t rows[3][4] = {{10, 11, 12, 13}, {20, 21, 22, 23}, {30, 31, 32, 33}};
  matrix.PackPanel(rows, {.number = 3, .group = 32}, 0);
  const uint16_t* panel = reinterpret_cast<const uint16_t*>(matrix.panel(0));
  for (size_t row = 0; row < 3; ++row) {
    EXPECT_EQ(panel[2 * row], rows[row][0]);
    EXPECT_EQ(panel[2 * row + 1], rows[row][1]);
    EXPECT_EQ(panel[32 + 2 * row], rows[row][2]);
    EXPECT_EQ(panel[32 + 2 * row + 1], rows[row][3]);
  }
}

INSTANTIATE_TEST_SUITE_P(, PackedMatrixTest,
                         ::testing::Values(Precision::kFloat32, Precision::kBFloat16),
                         [](const auto& info) {
                           return info.param == Precision::kFloat32 ? "float32" : "bfloat16";
                         });

}  // namespace
}  // namespace olmoe::ops
