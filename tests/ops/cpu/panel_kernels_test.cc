// Every kernel of every instruction set that this machine has, against double.
#include "server/ops/cpu/panel_kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "server/ops/cpu/packed_matrix.h"
#include "tests/ops/cpu/guarded.h"

namespace olmoe::ops {
namespace {

float Widen(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
uint16_t Narrow(float value) {  // of a finite value
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Row-major values that bfloat16 holds exactly.
std::vector<float> Random(int64_t rows, int64_t columns, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(rows * columns));
  for (float& value : values) value = Widen(Narrow(normal(random)));
  return values;
}

std::vector<uint16_t> NarrowAll(const std::vector<float>& values) {
  std::vector<uint16_t> narrow;
  for (const float value : values) narrow.push_back(Narrow(value));
  return narrow;
}

// A weight and its panels, between guard pages.
class Weight {
 public:
  Weight(std::vector<float> values, int64_t out, int64_t in, Precision precision)
      : values_(std::move(values)), matrix_(out, in, precision) {
    Pack({.number = out, .group = kPanelColumns}, values_);
  }

  // Gate and up, [n, in] each, 16 columns of a panel each.
  Weight(const std::vector<float>& gate, const std::vector<float>& up, int64_t n, int64_t in,
         Precision precision)
      : matrix_(RoundUp(2 * n, kPanelColumns), in, precision) {
    Pack({.number = n, .group = kGateColumns}, gate);
    Pack({.number = n, .group = kGateColumns, .offset = kGateColumns}, up);
  }

  const PackedMatrix& matrix() const { return matrix_; }
  double at(int64_t out, int64_t in) const {
    return values_[static_cast<size_t>(out * matrix_.in() + in)];
  }

  // The panels alone, with nothing readable around them.
  Guarded<std::byte> Panels(Against against) const {
    const size_t bytes = static_cast<size_t>(matrix_.num_panels() * matrix_.panel_bytes());
    Guarded<std::byte> panels(bytes, against, 64);
    std::memcpy(panels.data(), matrix_.panel(0), bytes);
    return panels;
  }

 private:
  void Pack(const PackedMatrix::Place& place, const std::vector<float>& values) {
    const std::vector<uint16_t> narrow = NarrowAll(values);
    const void* rows = matrix_.precision() == Precision::kFloat32
                           ? static_cast<const void*>(values.data())
                           : narrow.data();
    for (int64_t panel = place.begin(); panel < place.end(); ++panel) {
      matrix_.PackPanel(rows, place, panel);
    }
  }

  std::vector<float> values_;
  PackedMatrix matrix_;
};

// x as a kernel takes it: rows far apart, and zeros from `in` to `depth`. Nothing but
// the rows is readable; between them is NaN.
template <typename T>
Guarded<T> Operand(const std::vector<float>& x, int64_t rows, int64_t in, int64_t depth,
                   int64_t stride, Against against) {
  Guarded<T> operand(static_cast<size_t>((rows - 1) * stride + depth), against);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < depth; ++i) {
      const float value = i < in ? x[static_cast<size_t>(row * in + i)] : 0.0f;
      T& to = operand[static_cast<size_t>(row * stride + i)];
      if constexpr (std::is_same_v<T, float>) {
        to = value;
      } else {
        to = Narrow(value);
      }
    }
  }
  return operand;
}

struct Sum {
  double value = 0, magnitude = 0;  // of the sum, and of what was summed

  // Of float32 sums in any order and any grouping of pairs: no more than two roundings
  // for each product, and values below the normal numbers may be zero.
  double Bound(int64_t terms) const {
    return 1.01 * std::ldexp(2.0 * static_cast<double>(terms) + 2, -24) * magnitude +
           std::ldexp(static_cast<double>(terms), -125);
  }
};

Sum Dot(const std::vector<float>& x, int64_t row, const std::vector<float>& w, int64_t out,
        int64_t in) {
  Sum sum;
  for (int64_t i = 0; i < in; ++i) {
    const double product = static_cast<double>(x[static_cast<size_t>(row * in + i)]) *
                           static_cast<double>(w[static_cast<size_t>(out * in + i)]);
    sum.value += product;
    sum.magnitude += std::abs(product);
  }
  return sum;
}

class PanelKernelsTest : public ::testing::TestWithParam<std::tuple<CpuIsa, Precision>> {
 protected:
  const PanelKernels& kernels() const { return PanelKernelsOf(std::get<0>(GetParam())); }
  Precision precision() const { return std::get<1>(GetParam()); }
  bool wide() const { return precision() == Precision::kFloat32; }

  // float32 [rows, out] of rows first .. first + rows - 1 of x. With `lines` every row of the
  // result begins with a cache line, which kernels may write as such.
  std::vector<float> Linear(const std::vector<float>& x, int64_t first, int64_t rows,
                            const Weight& weight, Against against,
                            const std::vector<float>& bias = {}, bool lines = false) {
    const PackedMatrix& matrix = weight.matrix();
    const Guarded<std::byte> panels = weight.Panels(against);
    const int64_t stride = matrix.depth() + 32, out = matrix.out();
    const int64_t out_stride = lines ? out / 16 * 16 + 16 : out + 3;
    const std::vector<float> picked(x.begin() + first * matrix.in(),
                                    x.begin() + (first + rows) * matrix.in());
    Guarded<float> result(static_cast<size_t>((rows - 1) * out_stride + out), against);
    Guarded<float> guarded_bias(bias.size(), against);
    std::copy(bias.begin(), bias.end(), guarded_bias.data());
    PanelTask task{.x_stride = stride,
                   .rows = rows,
                   .panels = panels.data(),
                   .num_panels = matrix.num_panels(),
                   .depth = matrix.depth(),
                   .out = result.data(),
                   .out_stride = out_stride,
                   .columns = out,
                   .bias = bias.empty() ? nullptr : guarded_bias.data()};
    if (wide()) {
      const auto operand =
          Operand<float>(picked, rows, matrix.in(), matrix.depth(), stride, against);
      task.x = operand.data();
      kernels().linear_f32(task);
    } else {
      const auto operand =
          Operand<uint16_t>(picked, rows, matrix.in(), matrix.depth(), stride, against);
      task.x = operand.data();
      kernels().linear_bf16(task);
    }
    std::vector<float> rows_of_result;
    for (int64_t row = 0; row < rows; ++row) {
      const float* from = result.data() + row * out_stride;
      rows_of_result.insert(rows_of_result.end(), from, from + out);
      for (int64_t i = out; row + 1 < rows && i < out_stride; ++i) {
        EXPECT_TRUE(std::isnan(from[i])) << "written between the rows";
      }
    }
    return rows_of_result;
  }

  // [rows, n] of what the kernel wrote, widened.
  std::vector<float> SwiGlu(const std::vector<float>& x, int64_t rows, const Weight& gate_up,
                            int64_t n, Against against, bool lines = false) {
    const PackedMatrix& matrix = gate_up.matrix();
    const Guarded<std::byte> panels = gate_up.Panels(against);
    const int64_t stride = matrix.depth() + 32, columns = matrix.num_panels() * kGateColumns;
    const int64_t out_stride = lines ? (columns + 31) / 32 * 32 : columns;
    PanelTask task{.x_stride = stride,
                   .rows = rows,
                   .panels = panels.data(),
                   .num_panels = matrix.num_panels(),
                   .depth = matrix.depth(),
                   .out_stride = out_stride};
    const auto run = [&](auto element, PanelKernels::Product product) {
      using T = decltype(element);
      const auto operand = Operand<T>(x, rows, matrix.in(), matrix.depth(), stride, against);
      Guarded<T> result(static_cast<size_t>((rows - 1) * out_stride + columns), against);
      task.x = operand.data();
      task.out = result.data();
      product(task);
      std::vector<float> values;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < columns; ++i) {
          const T value = result[static_cast<size_t>(row * out_stride + i)];
          if (i >= n) {
            EXPECT_EQ(value, 0) << "the padding of the next product";
          } else if constexpr (std::is_same_v<T, float>) {
            values.push_back(value);
          } else {
            values.push_back(Widen(value));
          }
        }
      }
      return values;
    };
    return wide() ? run(float{}, kernels().swiglu_f32) : run(uint16_t{}, kernels().swiglu_bf16);
  }
};

struct Shape {
  int64_t out, in;
};
constexpr Shape kShapes[] = {{1, 1},   {3, 2},  {16, 31}, {17, 32},  {32, 33},
                             {33, 64}, {64, 7}, {65, 96}, {97, 130}, {31, 257}};

TEST_P(PanelKernelsTest, LinearIsWithinTheBoundOfItsFormatForEveryShape) {
  for (const Shape& shape : kShapes) {
    for (const Against against : {Against::kPageBefore, Against::kPageAfter}) {
      const std::vector<float> w = Random(shape.out, shape.in, 1);
      const Weight weight(w, shape.out, shape.in, precision());
      const std::vector<float> bias = Random(1, shape.out, 2);
      for (const int64_t rows : {1, 2, 13, 40}) {
        const std::vector<float> x = Random(rows, shape.in, 3);
        const std::vector<float> found = Linear(x, 0, rows, weight, against, bias);
        for (int64_t row = 0; row < rows; ++row) {
          for (int64_t out = 0; out < shape.out; ++out) {
            Sum sum = Dot(x, row, w, out, shape.in);
            const double of_bias = bias[static_cast<size_t>(out)];
            sum.value += of_bias;
            sum.magnitude += std::abs(of_bias);
            ASSERT_NEAR(found[static_cast<size_t>(row * shape.out + out)], sum.value,
                        sum.Bound(shape.in + 1))
                << shape.out << " x " << shape.in << ", row " << row << " of " << rows;
          }
        }
      }
    }
  }
}

TEST_P(PanelKernelsTest, ARowHasTheSameBitsWithAnyNumberOfRowsAndAtAnyPlace) {
  constexpr int64_t kOut = 70, kIn = 300, kRows = 513;
  const std::vector<float> w = Random(kOut, kIn, 4);
  const Weight weight(w, kOut, kIn, precision());
  const std::vector<float> x = Random(kRows, kIn, 5);
  const std::vector<float> all = Linear(x, 0, kRows, weight, Against::kPageAfter);
  for (int64_t row = 0; row < kRows; row += 37) {  // the whole is right
    for (int64_t out = 0; out < kOut; ++out) {
      const Sum sum = Dot(x, row, w, out, kIn);
      ASSERT_NEAR(all[static_cast<size_t>(row * kOut + out)], sum.value, sum.Bound(kIn));
    }
  }
  std::vector<int64_t> numbers;
  for (int64_t rows = 1; rows <= 70; ++rows) numbers.push_back(rows);
  for (const int64_t rows : {127, 128, 129, 511, 512, 513}) numbers.push_back(rows);
  for (const int64_t rows : numbers) {
    const int64_t first = (rows * 7) % (kRows - rows + 1);
    for (const bool lines : {false, true}) {
      const Against against = lines ? Against::kPageBefore : Against::kPageAfter;
      const std::vector<float> some = Linear(x, first, rows, weight, against, {}, lines);
      ASSERT_EQ(std::memcmp(some.data(), all.data() + first * kOut, some.size() * sizeof(float)), 0)
          << rows << " rows from " << first << (lines ? ", in lines" : "");
    }
  }
}

TEST_P(PanelKernelsTest, ARowOfNaNOrInfinityTouchesNoOther) {
  constexpr int64_t kOut = 40, kIn = 66, kRows = 45;
  const Weight weight(Random(kOut, kIn, 6), kOut, kIn, precision());
  std::vector<float> x = Random(kRows, kIn, 7);
  const std::vector<float> before = Linear(x, 0, kRows, weight, Against::kPageAfter);
  for (const int64_t bad : {0, 15, 16, 31, 44}) {
    std::vector<float> spoilt = x;
    // Written as bits: the operand is made by rounding, which is for finite values.
    spoilt[static_cast<size_t>(bad * kIn + 5)] = std::numeric_limits<float>::infinity();
    spoilt[static_cast<size_t>(bad * kIn + 6)] = -std::numeric_limits<float>::infinity();
    spoilt[static_cast<size_t>(bad * kIn + 7)] = std::bit_cast<float>(0x7fc00000u);
    const std::vector<float> after = Linear(spoilt, 0, kRows, weight, Against::kPageAfter);
    for (int64_t i = 0; i < kRows * kOut; ++i) {
      const size_t index = static_cast<size_t>(i);
      if (i / kOut == bad) {
        EXPECT_TRUE(std::isnan(after[index]));
      } else {
        EXPECT_EQ(after[index], before[index]) << i;
      }
    }
  }
}

TEST_P(PanelKernelsTest, SwiGluIsWithinTheBoundOfItsFormat) {
  const double unit = std::ldexp(1.0, wide() ? -24 : -8);  // of what is written
  for (const int64_t n : {16, 48, 13, 40}) {
    for (const int64_t in : {1, 24, 33, 160}) {
      const std::vector<float> gate = Random(n, in, 8, 2), up = Random(n, in, 9);
      const Weight weight(gate, up, n, in, precision());
      for (const int64_t rows : {1, 3, 16, 17, 37}) {
        const std::vector<float> x = Random(rows, in, 10);
        const std::vector<float> found = SwiGlu(x, rows, weight, n, Against::kPageAfter);
        for (int64_t row = 0; row < rows; ++row) {
          for (int64_t out = 0; out < n; ++out) {
            const Sum g = Dot(x, row, gate, out, in), u = Dot(x, row, up, out, in);
            const double silu = g.value / (1 + std::exp(-g.value));
            const double expected = silu * u.value;
            // |silu'| < 1.1; eight roundings of the function besides that of the store.
            const double bound = 1.1 * g.Bound(in) * (std::abs(u.value) + u.Bound(in)) +
                                 std::abs(silu) * u.Bound(in) +
                                 std::abs(expected) * (1.01 * unit + std::ldexp(8.0, -24)) + 1e-37;
            ASSERT_NEAR(found[static_cast<size_t>(row * n + out)], expected, bound)
                << n << " x " << in << ", gate " << g.value << ", row " << row << " of " << rows;
          }
        }
      }
    }
  }
}

TEST_P(PanelKernelsTest, SwiGluOfLargeGatesAndOfNaN) {
  // One input, so the gate is what the weight is: silu(g) * 1.
  const std::vector<float> gates = {0.0f,    -0.0f,  1e30f,   -1e30f,  90.0f,    -90.0f,
                                    -100.0f, 128.0f, -128.0f, 1000.0f, -1000.0f, 1e-30f,
                                    20.0f,   -20.0f, -60.0f,  3.0f};
  const std::vector<float> ups(gates.size(), 1.0f);
  const int64_t n = static_cast<int64_t>(gates.size());
  std::vector<float> exact;
  for (const float gate : gates) exact.push_back(Widen(Narrow(gate)));
  const Weight weight(exact, ups, n, 1, precision());
  const std::vector<float> found = SwiGlu({1.0f}, 1, weight, n, Against::kPageAfter);
  for (size_t i = 0; i < gates.size(); ++i) {
    const double gate = exact[i], expected = gate / (1 + std::exp(-gate));
    // Below -87, e^-g nears the end of float32 and may be infinite: then the result is 0.
    const double bound = gate < -87 ? 1e-35 : std::abs(expected) * (wide() ? 1e-6 : 5e-3) + 1e-36;
    EXPECT_NEAR(found[i], expected, bound) << gate;
  }
  const std::vector<float> nan =
      SwiGlu({std::bit_cast<float>(0x7fc00000u)}, 1, weight, n, Against::kPageAfter);
  for (const float value : nan) EXPECT_TRUE(std::isnan(value));
}

TEST_P(PanelKernelsTest, SwiGluGivesARowTheSameBitsAmongAnyRows) {
  constexpr int64_t kIn = 130, kRows = 300;
  for (const int64_t n : {48, 64}) {  // an odd and an even number of panels
    const Weight weight(Random(n, kIn, 11), Random(n, kIn, 12), n, kIn, precision());
    const std::vector<float> x = Random(kRows, kIn, 13);
    const std::vector<float> all = SwiGlu(x, kRows, weight, n, Against::kPageAfter);
    for (int64_t rows = 1; rows <= kRows; rows += rows < 70 ? 1 : 23) {
      const std::vector<float> first(x.begin(), x.begin() + rows * kIn);
      for (const bool lines : {false, true}) {
        const Against against = lines ? Against::kPageBefore : Against::kPageAfter;
        const std::vector<float> some = SwiGlu(first, rows, weight, n, against, lines);
        ASSERT_EQ(std::memcmp(some.data(), all.data(), some.size() * sizeof(float)), 0)
            << n << " columns, " << rows << " rows" << (lines ? ", in lines" : "");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    , PanelKernelsTest,
    ::testing::Combine(::testing::ValuesIn(SupportedIsas()),
                       ::testing::Values(Precision::kFloat32, Precision::kBFloat16)),
    [](const auto& info) {
      std::string name(IsaName(std::get<0>(info.param)));
      std::erase(name, '-');
      return name + (std::get<1>(info.param) == Precision::kFloat32 ? "_float32" : "_bfloat16");
    });

}  // namespace
}  // namespace olmoe::ops
