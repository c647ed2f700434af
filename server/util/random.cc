#include "server/util/random.h"

#include <random>

#include "absl/strings/str_format.h"

namespace olmoe {

uint64_t RandomBits() {
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return generator();
}

std::string NewRequestId() { return absl::StrFormat("%016x", RandomBits()); }

}  // namespace olmoe
