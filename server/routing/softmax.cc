#include "server/routing/softmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "glog/logging.h"
#include "server/routing/rule.h"
#include "server/util/fast_exp.h"

namespace olmoe::routing {
namespace {

// Rows are worked on in groups of kLanes floats: the loops below have no order
// between lanes, so the compiler makes vector instructions of them on any CPU.
constexpr size_t kLanes = 8;
static_assert(kMaxExperts % kLanes == 0);
using Lanes = std::array<float, kLanes>;
using Row = std::array<float, kMaxExperts>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// exp(x) is 0 in fp32, denormals included, below this.
constexpr float kLowestExponent = -110;

float Sum(const Lanes& lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// max z over the row, which is padded with -infinity to a multiple of kLanes.
float Max(const Row& row, size_t padded) {
  Lanes max;
  max.fill(-kInfinity);
  for (size_t i = 0; i < padded; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      max[lane] = row[i + lane] > max[lane] ? row[i + lane] : max[lane];
    }
  }
  return *std::max_element(max.begin(), max.end());
}

// row[i] = max(z_i - max z, -infinity) / T, at least kLowestExponent.
void Shift(Row& row, size_t padded, float max, double temperature) {
  for (size_t i = 0; i < padded; ++i) row[i] -= max;
  if (temperature != 1) {
    for (size_t i = 0; i < padded; ++i) row[i] = static_cast<float>(row[i] / temperature);
  }
  for (size_t i = 0; i < padded; ++i) {
    row[i] = row[i] > kLowestExponent ? row[i] : kLowestExponent;
  }
}

}  // namespace

float Softmax(std::span<const float> logits, double temperature, std::span<float> probabilities) {
  const size_t size = logits.size();
  CHECK(size >= 1 && size <= kMaxExperts && probabilities.size() == size);
  const size_t padded = (size + kLanes - 1) / kLanes * kLanes;

  alignas(32) Row exponents;
  std::copy(logits.begin(), logits.end(), exponents.begin());
  std::fill(exponents.begin() + size, exponents.begin() + padded, -kInfinity);
  Shift(exponents, padded, Max(exponents, padded), temperature);

  alignas(32) Row terms;
  Lanes sums{}, weighted_sums{};
  for (size_t i = 0; i < padded; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      terms[i + lane] = ExpWithDenormals(exponents[i + lane]);
      sums[lane] += terms[i + lane];
      weighted_sums[lane] += terms[i + lane] * exponents[i + lane];
    }
  }
  const float sum = Sum(sums);
  for (size_t i = 0; i < size; ++i) probabilities[i] = terms[i] / sum;
  // -sum p log p with log p_i = exponent_i - log(sum); rounding must not take it below 0.
  return std::max(0.0f, std::log(sum) - Sum(weighted_sums) / sum);
}

}  // namespace olmoe::routing
