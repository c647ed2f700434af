#include "tests/support/synthetic_weights.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string_view>

#include "glog/logging.h"
#include "server/model/convert.h"

namespace olmoe::testing {
namespace {

using model::OlmoeConfig;
using model::TensorRole;

constexpr size_t kQuantiles = 1 << 16;
constexpr uint64_t kLanes = 4;  // elements out of one 64-bit random number

// The finalizer of splitmix64: a bijection that mixes every bit into every other.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t Fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// x with Phi(x) = probability, by Newton's method from a near guess.
double NormalQuantile(double probability, double guess) {
  double x = guess;
  for (int step = 0; step < 6; ++step) {
    const double error = 0.5 * std::erfc(-x / std::numbers::sqrt2) - probability;
    const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
    x -= error / density;
  }
  return x;
}

// The (i + 1/2) / 65536 quantiles of the standard normal distribution, ascending; made
// from the middle outwards, each from its neighbour.
const std::array<float, kQuantiles>& NormalQuantiles() {
  static const auto* const quantiles = [] {
    auto* table = new std::array<float, kQuantiles>;
    double x = 0;
    for (size_t i = kQuantiles / 2; i < kQuantiles; ++i) {
      x = NormalQuantile((static_cast<double>(i) + 0.5) / kQuantiles, x);
      (*table)[i] = static_cast<float>(x);
      (*table)[kQuantiles - 1 - i] = -static_cast<float>(x);
    }
    return table;
  }();
  return *quantiles;
}

struct Normal {
  double mean = 0;
  double deviation = 0;
};

// An element of W x has the deviation of W times sqrt(length of x) times the root mean
// square of x, and that is about 1 behind a norm.
Normal Distribution(const OlmoeConfig& config, TensorRole role) {
  const double per_hidden = 1 / std::sqrt(config.hidden_size);
  const double per_width = 1 / std::sqrt(config.intermediate_size);
  switch (role) {
    case TensorRole::kEmbedding: return {0, config.tie_word_embeddings ? 2.5 * per_hidden : 1};
    case TensorRole::kHead: return {0, 2.5 * per_hidden};
    case TensorRole::kRouter:
    case TensorRole::kExpertGate:
    case TensorRole::kExpertUp: return {0, 1.25 * per_hidden};
    case TensorRole::kExpertDown: return {0, 2 * per_width};
    case TensorRole::kQueryWeight:
    case TensorRole::kKeyWeight:
    case TensorRole::kValueWeight: return {0, per_hidden};
    case TensorRole::kOutputWeight: return {0, 0.5 * per_hidden};
    case TensorRole::kQueryBias:
    case TensorRole::kKeyBias:
    case TensorRole::kValueBias:
    case TensorRole::kOutputBias: return {0, 0.1};
    case TensorRole::kInputNorm:
    case TensorRole::kPostAttentionNorm:
    case TensorRole::kFinalNorm:
    case TensorRole::kQueryNorm:
    case TensorRole::kKeyNorm: return {1, 0.1};
    case TensorRole::kUnused: break;
  }
  LOG(FATAL) << "no such role";
}

template <typename Bits, typename Round>
std::vector<Bits> ScaledTable(Normal normal, Round round) {
  std::vector<Bits> table(kQuantiles);
  for (size_t i = 0; i < kQuantiles; ++i) {
    table[i] = round(static_cast<float>(normal.mean + normal.deviation * NormalQuantiles()[i]));
  }
  return table;
}

}  // namespace

uint16_t F16FromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // half-way above the largest half
  if (magnitude < 0x1p-14f) {
    // Subnormal: a whole number of steps of 2^-24; nearbyint rounds ties to even.
    return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f));
  }
  const uint32_t rounded = (bits & 0x7fffffff) + 0xfff + ((bits >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded - (112u << 23)) >> 13);
}

SyntheticWeights::SyntheticWeights(const OlmoeConfig& config, const model::TensorSpec& spec,
                                   DType dtype, uint64_t seed)
    : key_(Mix(Mix(seed) ^ Fnv1a(spec.name))) {
  CHECK(IsWeightDType(dtype)) << DTypeName(dtype);
  const Normal normal = Distribution(config, spec.role);
  if (dtype == DType::kBFloat16) {
    table16_ = ScaledTable<uint16_t>(normal, Bf16FromFloat);
  } else if (dtype == DType::kFloat16) {
    table16_ = ScaledTable<uint16_t>(normal, F16FromFloat);
  } else {
    table32_ = ScaledTable<uint32_t>(normal, std::bit_cast<uint32_t, float>);
  }
}

void SyntheticWeights::Fill(uint64_t first, std::span<std::byte> target) const {
  CHECK_EQ(first % kLanes, 0u);
  if (!table16_.empty()) {
    FillFrom(table16_, first, target);
  } else {
    FillFrom(table32_, first, target);
  }
}

template <typename Bits>
void SyntheticWeights::FillFrom(const std::vector<Bits>& table, uint64_t first,
                                std::span<std::byte> target) const {
  const size_t count = target.size() / sizeof(Bits);
  for (size_t i = 0; i < count; i += kLanes) {
    const uint64_t random = Mix(key_ + (first + i) / kLanes * 0x9e3779b97f4a7c15);
    std::array<Bits, kLanes> elements;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      elements[lane] = table[(random >> (16 * lane)) & 0xffff];
    }
    const size_t wanted = std::min<size_t>(kLanes, count - i);
    std::memcpy(target.data() + i * sizeof(Bits), elements.data(), wanted * sizeof(Bits));
  }
}

}  // namespace olmoe::testing
