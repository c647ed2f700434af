#ifndef OLMOE_TESTS_SUPPORT_SYNTHETIC_WEIGHTS_H_
#define OLMOE_TESTS_SUPPORT_SYNTHETIC_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "server/model/checkpoint_layout.h"
#include "server/model/config.h"
#include "server/util/dtype.h"

namespace olmoe::testing {

// The random elements of one tensor: element i is a function of (seed, tensor name, i),
// so any part of it can be made anywhere, in any order. 16 random bits choose one of
// 65536 quantiles of the normal distribution, and those have been scaled and rounded to
// the dtype beforehand. Immutable.
class SyntheticWeights {
 public:
  // `config` decides the scale, `spec` is one of its tensors.
  SyntheticWeights(const model::OlmoeConfig& config, const model::TensorSpec& spec, DType dtype,
                   uint64_t seed);

  // Elements first, first + 1, ... until `target` (bytes, whole elements) is full.
  // `first` is a multiple of 4.
  void Fill(uint64_t first, std::span<std::byte> target) const;

 private:
  template <typename Bits>
  void FillFrom(const std::vector<Bits>& table, uint64_t first, std::span<std::byte> target) const;

  uint64_t key_;
  // One of the two, by the size of the dtype; [65536].
  std::vector<uint16_t> table16_;
  std::vector<uint32_t> table32_;
};

// Rounds to nearest, ties to even; beyond the largest half to infinity. Not for NaN.
uint16_t F16FromFloat(float value);

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_SYNTHETIC_WEIGHTS_H_
