#include "server/model/log_softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "server/util/fast_exp.h"

namespace olmoe::model {
namespace {

// Independent partial results: loops over them become vector instructions, and their
// order does not depend on the width of those.
constexpr size_t kLanes = 16;

float Maximum(std::span<const float> values) {
  std::array<float, kLanes> lanes;
  lanes.fill(values[0]);
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    }
  }
  for (; i < values.size(); ++i) lanes[0] = std::max(lanes[0], values[i]);
  return *std::max_element(lanes.begin(), lanes.end());
}

}  // namespace

bool AllFinite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bad = 0;
  for (const float value : values) {
    bad |= (std::bit_cast<uint32_t>(value) & kExponent) == kExponent ? 1u : 0u;
  }
  return bad == 0;
}

double LogSumExp(std::span<const float> values) {
  const float maximum = Maximum(values);
  std::array<double, kLanes> lanes = {};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += static_cast<double>(ExpOfNonPositive(values[i + lane] - maximum));
    }
  }
  double sum = 0;
  for (; i < values.size(); ++i) sum += static_cast<double>(ExpOfNonPositive(values[i] - maximum));
  for (const double lane : lanes) sum += lane;
  return static_cast<double>(maximum) + std::log(sum);
}

}  // namespace olmoe::model
