#ifndef OLMOE_SERVER_UTIL_RANDOM_H_
#define OLMOE_SERVER_UTIL_RANDOM_H_

#include <cstdint>
#include <string>

namespace olmoe {

// From a generator of the thread, seeded by the system's entropy. Thread-safe.
uint64_t RandomBits();

// An id for a request that brings none: 16 hexadecimal digits.
std::string NewRequestId();

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_RANDOM_H_
