#ifndef OLMOE_CLIENT_EVAL_RANDOM_H_
#define OLMOE_CLIENT_EVAL_RANDOM_H_

#include <cstddef>
#include <cstdint>

namespace olmoe::client::eval {

// SplitMix64: the standard library's distributions differ between implementations.
// Thread-compatible.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  // 0..count-1
  size_t Below(size_t count) {
    return static_cast<size_t>((static_cast<unsigned __int128>(Next()) * count) >> 64);
  }

  // [0, 1)
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_RANDOM_H_
