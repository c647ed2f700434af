#include "server/routing/logit_row.h"

#include <algorithm>
#include <bit>

#include "glog/logging.h"
#include "server/routing/softmax.h"

namespace olmoe::routing {
namespace {

// Unsigned keys in the order of the floats: positive numbers get the sign bit,
// negative ones are inverted. -0.0 becomes 0.0. No finite float maps to 0. Integer
// operations, so that denormals keep their order whatever the thread's FP mode.
inline uint32_t Ascending(float logit) {
  uint32_t bits = std::bit_cast<uint32_t>(logit);
  bits = bits == 0x80000000u ? 0 : bits;
  const uint32_t sign = static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31);
  return bits ^ (sign | 0x80000000u);
}

// The logit above the id: of equal logits, the smaller id has the larger key.
inline uint64_t Key(float logit, uint32_t expert) {
  return uint64_t{Ascending(logit)} << 8 | (0xFF - expert);
}

inline uint32_t ExpertOf(uint64_t key) { return 0xFF - static_cast<uint32_t>(key & 0xFF); }

template <int kSize>
inline uint64_t LargestOf(const uint64_t* keys) {
  if constexpr (kSize == 1) {
    return *keys;
  } else {
    return std::max(LargestOf<kSize / 2>(keys), LargestOf<kSize / 2>(keys + kSize / 2));
  }
}

}  // namespace

bool AllFinite(std::span<const float> logits) {
  // Exponent bits all set, in any of them. No early exit, so that it is vector code.
  constexpr uint32_t kExponent = 0x7F800000u;
  uint32_t non_finite = 0;
  for (const float logit : logits) {
    non_finite |= (std::bit_cast<uint32_t>(logit) & kExponent) == kExponent ? 1u : 0u;
  }
  return non_finite == 0;
}

LogitRow::LogitRow(std::span<const float> logits) : logits_(logits) {
  const size_t size = logits.size();
  CHECK(size >= 1 && size <= kMaxExperts);
  num_groups_ = static_cast<int>((size + kGroup - 1) / kGroup);
  for (size_t expert = 0; expert < size; ++expert) {
    keys_[expert] = Key(logits[expert], static_cast<uint32_t>(expert));
  }
  std::fill(keys_.begin() + size, keys_.begin() + num_groups_ * kGroup, 0);
  for (int group = 0; group < num_groups_; ++group) {
    best_[group] = LargestOf<kGroup>(&keys_[group * kGroup]);
  }
  std::fill(best_.begin() + num_groups_, best_.end(), 0);
  entropy_ = Softmax(logits, 1, {probabilities_.data(), size});
}

void LogitRow::OrderNext() {
  DCHECK_LT(num_ordered_, num_experts());
  uint64_t best = LargestOf<8>(best_.data());
  if (num_groups_ > 8) best = std::max(best, LargestOf<8>(best_.data() + 8));
  const uint32_t expert = ExpertOf(best);
  const uint32_t group = expert / kGroup;
  order_[num_ordered_++] = static_cast<uint8_t>(expert);
  keys_[expert] = 0;
  best_[group] = LargestOf<kGroup>(&keys_[group * kGroup]);
}

int LogitRow::Rank(int expert) const {
  const uint64_t key = Key(logits_[expert], static_cast<uint32_t>(expert));
  int not_after = 0;
  for (int other = 0; other < num_experts(); ++other) {
    not_after += Key(logits_[other], static_cast<uint32_t>(other)) >= key ? 1 : 0;
  }
  return not_after;
}

std::span<const float> LogitRow::ProbabilitiesAt(double temperature) {
  if (temperature == 1) return probabilities();
  const std::span<float> tempered(tempered_.data(), logits_.size());
  if (temperature != tempered_at_) {
    Softmax(logits_, temperature, tempered);
    tempered_at_ = temperature;
  }
  return tempered;
}

int LogitRow::CountAtLeast(double probability) const {
  return static_cast<int>(
      std::count_if(probabilities().begin(), probabilities().end(),
                    [probability](float of_expert) { return of_expert >= probability; }));
}

double LogitRow::MassOfFirst(int count) {
  double mass = 0;
  for (const uint8_t expert : Order(count)) mass += probabilities_[expert];
  return mass;
}

}  // namespace olmoe::routing
