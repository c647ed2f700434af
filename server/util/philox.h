#ifndef OLMOE_SERVER_UTIL_PHILOX_H_
#define OLMOE_SERVER_UTIL_PHILOX_H_

#include <array>
#include <cstdint>

namespace olmoe {

// Philox4x32-10: a random function of (key, counter), without state. Salmon, Moraes,
// Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// The uniform number in [0, 1), in steps of 2^-53, that belongs to a seed and a
// position. Nothing else has an influence.
double UniformAt(uint64_t seed, uint64_t position);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_PHILOX_H_
